"""Report as Markdown, for pasting into a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prune_deploy.records import NO_DENSE_SPEEDUP
from prune_deploy.reporting.figures.formatting import MISSING, amount, interval, number, percent, ratio, with_half_width
from prune_deploy.reporting.figures.report import Line, Report
from prune_deploy.reporting.figures.rows import has_marks
from prune_deploy.reporting.figures.run_warnings import absences, accuracies, controls, warned, widths_note
from prune_deploy.reporting.figures.summary import summaries, weights_note
from prune_deploy.reporting.renderers.grids import Grid, curve_grids, side_by_side
from prune_deploy.specs.options import as_options


def render_markdown(report: Report) -> bytes:
    """Return summary, table, curves, reasons, controls and machines."""
    head = [f"# {_escape(report.title)}", *([f"**{_escape(note)}**"] if (note := weights_note(report)) else [])]
    parts = [*head, *_summary(report), _cases(report), *_warnings(report)]
    parts += [f"### {_escape(grid.name)}\n\n{_grid(grid)}" for grid in curve_grids(report)]
    shared = side_by_side(report)
    if shared is not None:
        parts.append(f"### Machines side by side\n\n{_grid(shared)}")
    # In the command line's words, as in the HTML page: who reads a report in a pull request runs commands.
    return as_options("\n\n".join([*parts, _machines(report)]) + "\n", quote="`").encode(errors="backslashreplace")


def _summary(report: Report) -> Iterable[str]:
    for summary in summaries(report):
        if len(report.runs) > 1:
            yield f"**{_escape(summary.machine)}**"
        yield _bullets([*summary.sentences, *summary.undecided, *([summary.caution] if summary.caution else [])])


def _cases(report: Report) -> str:
    several = len({line.machine for line in report.lines}) > 1
    titles = ["Model", *(["Machine"] if several else []), "Backend", "Precision", "Batch", "Latency, ms", "ms/image", "Speed-up"]
    scored = any(line.row.top1 is not None for line in report.lines)
    titles += ["Verdict", *(["Top-1, %"] if scored else []), "MACs ÷", "Efficiency", "Parameters"]
    extra = [title for title, field in _WHERE_KNOWN.items() if any(getattr(line.row, field) is not None for line in report.lines)]
    marks = has_marks(line.row for line in report.lines)
    rows = [
        [*_cells(line, several, scored, marks), *(number(getattr(line.row, _WHERE_KNOWN[title])) for title in extra)]
        for line in report.lines
    ]
    return _table([*titles, *extra], rows, words=5 if several else 4)


_WHERE_KNOWN = {"File, MB": "artifact_mb", "mJ/image": "energy_mj"}
"""Columns that stand where any case has their field."""


def _cells(line: Line, several: bool, scored: bool, marks: bool) -> list[str]:
    row = line.row
    return [
        f"{row.bundle} (zeroed)" if row.zeroed else row.bundle,
        *([line.machine] if several else []),
        row.backend,
        row.precision_text,
        str(row.batch),
        "not timed" if row.latency_ms is None else with_half_width(row.latency_ms, row.latency_high_ms),
        number(row.per_image_ms),
        interval(row.speedup, row.speedup_low, row.speedup_high),
        row.marked_verdict(marks),
        *([percent(row.top1, row.top1_low, row.top1_high)] if scored else []),
        MISSING if row.role == "dense" else ratio(row.macs_ratio),
        row.efficiency_text,
        amount(row.params),
    ]


def _warnings(report: Report) -> Iterable[str]:
    rows = [line.row for line in report.lines]
    points = [
        f"{entry.status}: {entry.reason}. Fix: {entry.fix} ({entry.configs}, batch {entry.batches}: {', '.join(entry.bundles)})"
        for entry in absences(rows)
    ]
    points += [f"{warning} ({len(cases)} of {len(rows)} cases)" for warning, cases in warned(rows)]
    points += accuracies(rows)
    if any(row.zeroed for row in rows):
        points.append(f"zeroed: {NO_DENSE_SPEEDUP}")
    if note := widths_note(rows):
        points.append(note.replace("* ", "\\*: ", 1))
    if points:
        yield _bullets(points)
    checked = [(run.machine, entry) for run in report.runs for entry in controls(run.run.cases)]
    if checked:
        table = _table(["Comparison", "Dense / its copy"], [[entry.comparison, entry.text] for _, entry in checked], words=1)
        yield f"<details><summary>Controls: the dense model against its own copy</summary>\n\n{table}\n\n</details>"


def _machines(report: Report) -> str:
    points = []
    for run in report.runs:
        environment, spec = run.run.record.environment, run.run.record.spec
        where = ", ".join([*environment.gpus, environment.cpu])
        libraries = ", ".join(f"{name} {version}" for name, version in sorted(environment.libraries.items()))
        points.append(f"{run.id}: {where}; rigor {spec.rigor}, mode {spec.mode}; {libraries}")
    return _bullets(points)


def _grid(grid: Grid) -> str:
    note = f"\n\n{_escape(grid.note)}" if grid.note else ""
    return _table(grid.titles, grid.rows, words=grid.words) + note


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, words: int) -> str:
    rule = ["---" if column < words else "---:" for column in range(len(titles))]
    return "\n".join(f"| {' | '.join(map(_escape, row))} |" for row in (titles, rule, *rows))


def _bullets(points: Iterable[str]) -> str:
    return "\n".join(f"- {_escape(point)}" for point in points)


def _escape(text: str) -> str:
    """Escape a text for a Markdown table.

    No cell ends early, no line breaks a table, and no HTML tag, link or image passes through. Labels come from unknown sources.
    """
    escaped = text.replace("\\|", "&#92;|").replace("|", "\\|").replace("<", "&lt;").replace("](", "]\\(")
    return " ".join(escaped.split())
