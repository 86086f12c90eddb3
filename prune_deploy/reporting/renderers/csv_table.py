"""Report as CSV in long format, for pandas and similar tools.

There is one line per case, and every figure is a column.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

from prune_deploy.reporting.figures.report import Line, Report, ReportedRun
from prune_deploy.reporting.figures.rows import Row

_PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9")
_FORMULA = tuple("=+-@\t\r")
_APART = ("backend", "percentile_bounds_ms", "warnings")


def render_csv(report: Report) -> bytes:
    """Return a header and one line per case.

    Figures that a case lacks are empty. Booleans are `true` and `false`.
    """
    lines = [_line(run, line) for run in report.runs for line in run.lines]
    names = list(dict.fromkeys(name for line in lines for name in line))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue().encode(errors="backslashreplace")


def _line(run: ReportedRun, line: Line) -> dict[str, str]:
    row, spec = line.row, run.run.record.spec
    base, _, variant = row.backend.partition(":")
    values: dict[str, Any] = {"run": line.run, "machine": line.machine, "rigor": spec.rigor, "mode": spec.mode}
    for field in dataclasses.fields(Row):
        if field.name not in _APART:
            values[field.name] = getattr(row, field.name)
        elif field.name == "backend":
            values |= {"backend": base, "variant": variant}
        elif field.name == "percentile_bounds_ms":
            values |= {f"{name.replace('.', '_')}_bound_ms": row.percentile_bounds_ms.get(name) for name in _PERCENTILES}
        else:
            values["warnings"] = "; ".join(row.warnings)
    values["command"] = " && ".join(line.commands)
    return {name: _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    # Spreadsheets run a text that begins so as a formula. Labels come from unknown sources.
    return f"'{text}" if isinstance(value, str) and text[:1] in _FORMULA else text
