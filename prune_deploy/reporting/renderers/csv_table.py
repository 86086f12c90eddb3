"""Report as CSV in long format, for pandas and similar tools.

There is one line per case, and every figure is a column.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args, get_type_hints

from prune_deploy.reporting.figures.report import Line, Report, ReportedRun
from prune_deploy.reporting.figures.rows import Row

_BOUNDS = {f"{name.replace('.', '_')}_bound_ms": name for name in ("p50", "p90", "p95", "p99", "p99.9")}
_FORMULA = tuple("=+-@\t\r")


def render_csv(report: Report) -> bytes:
    """Return a header and one line per case.

    Figures that a case lacks are empty. Booleans are `true` and `false`.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(columns()), lineterminator="\n")
    writer.writeheader()
    for run in report.runs:
        writer.writerows({name: _text(value) for name, value in case_values(run, line).items()} for line in run.lines)
    return stream.getvalue().encode(errors="backslashreplace")


@functools.cache
def columns() -> Mapping[str, type]:
    """Return the columns in their order, with the type of their values."""
    found: dict[str, type] = {"run": str, "machine": str, "rigor": str, "mode": str}
    for name, hint in get_type_hints(Row).items():
        if name == "backend":
            found |= {"backend": str, "variant": str}
        elif name == "percentile_bounds_ms":
            found |= dict.fromkeys(_BOUNDS, float)
        elif name != "warnings":
            found[name] = next((kind for kind in get_args(hint) if kind is not NoneType), hint)
    return found | {"warnings": str, "command": str}


def case_values(run: ReportedRun, line: Line) -> dict[str, Any]:
    """Return the values of a case by column.

    Figures that it lacks are None.
    """
    row, spec = line.row, run.run.record.spec
    base, _, variant = row.backend.partition(":")
    apart: dict[str, Any] = {
        "run": line.run,
        "machine": line.machine,
        "rigor": spec.rigor,
        "mode": spec.mode,
        "backend": base,
        "variant": variant,
        "warnings": "; ".join(row.warnings),
        "command": " && ".join(line.commands),
        **{column: row.percentile_bounds_ms.get(name) for column, name in _BOUNDS.items()},
    }
    return {name: apart[name] if name in apart else getattr(row, name) for name in columns()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    # Spreadsheets run a text that begins so as a formula. Labels come from unknown sources.
    return f"'{text}" if isinstance(value, str) and text[:1] in _FORMULA else text
