"""Report as one JSON document.

It has every case with all its figures, machines, curves, controls and explanations.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from prune_deploy.records import SCHEMA_VERSION, Estimate
from prune_deploy.reporting.figures.curve import curves
from prune_deploy.reporting.figures.report import Line, Report, ReportedRun
from prune_deploy.reporting.figures.run_warnings import controls
from prune_deploy.reporting.figures.summary import summaries


def render_json(report: Report) -> bytes:
    """Return the document as text."""
    return (json.dumps(document(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")


def document(report: Report) -> dict[str, Any]:
    """Return the document as plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "summary": [dataclasses.asdict(summary) for summary in summaries(report)],
        "runs": [_run(run) for run in report.runs],
        "cases": [_case(line) for line in report.lines],
    }


def _case(line: Line) -> dict[str, Any]:
    return {
        "run": line.run,
        "machine": line.machine,
        **dataclasses.asdict(line.row),
        "commands": line.commands,
        "trace": line.trace,
    }


def _run(run: ReportedRun) -> dict[str, Any]:
    record = run.run.record
    return {
        "id": run.id,
        "machine": run.machine,
        "command": list(record.command),
        "started_at": record.started_at,
        "spec": dataclasses.asdict(record.spec),
        "environment": dataclasses.asdict(record.environment),
        "dropped_lines": run.run.dropped_lines,
        "controls": [{"comparison": each.comparison, **_estimate(each.ratio)} for each in controls(run.run.cases)],
        "slower_steps": [
            {"curve": curve.name, "ratio": point.ratio}
            for curve in curves(run.run.cases)
            for point in curve.points
            if point.is_slower
        ],
        "explanations": [dataclasses.asdict(each) for each in run.explanations.values()],
        "traces": sorted(run.traces),
    }


def _estimate(figure: Estimate) -> dict[str, Any]:
    return dataclasses.asdict(figure)
