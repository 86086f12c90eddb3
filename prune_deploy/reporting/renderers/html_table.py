"""Table of cases on a page: texts, sort keys and details.

It is plain HTML with a short script of our own instead of a table library. The rows are readable and printable without JavaScript,
they unfold into their details, and the page stays one file that opens offline.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prune_deploy.reporting.charts.forest import Interval, LogSpan, place_interval, speedup_span
from prune_deploy.reporting.figures.formatting import (
    MISSING,
    amount,
    interval,
    number,
    percent,
    plus_minus,
    ratio,
    share,
    times,
    units,
    with_half_width,
)
from prune_deploy.reporting.figures.report import Line, Report
from prune_deploy.reporting.figures.rows import Row, has_marks
from prune_deploy.reporting.figures.run_warnings import compile_sentence

NOT_TIMED = "not timed"

SIGNS = {"FASTER": "▲", "SLOWER": "▼", "SAME": "=", "INCONCLUSIVE": "?", "baseline": "•", "not timed": "•"}
"""Signs of the verdicts, for readers who cannot see the colours.

Every other word is a status.
"""


TONES = {
    "FASTER": "better",
    "SLOWER": "worse",
    "SAME": "even",
    "INCONCLUSIVE": "open",
    "baseline": "baseline",
    NOT_TIMED: "baseline",
}
"""Colours of the verdicts, by their names in the style sheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Column of the table.

    `help` explains its title. `is_number` aligns it to the right.
    """

    key: str
    title: str
    help: str
    is_number: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Cell of the table.

    `sort` is its sort key, and None comes last.
    """

    key: str
    text: str
    sort: float | str | None
    is_number: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One case: its cells, its filter values, and its details."""

    line: Line
    cells: tuple[Cell, ...]
    facets: dict[str, str]
    sign: str
    tone: str
    whisker: Interval | None
    details: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All cases.

    `facets` are the filters that leave a choice, with their choices. `same` is what all cases have in common.
    """

    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    facets: dict[str, tuple[str, ...]]
    same: str


_COLUMNS = (
    Column(key="model", title="Model", help="The bundle that was measured", is_number=False),
    Column(key="machine", title="Machine", help="Where it ran", is_number=False),
    Column(key="backend", title="Backend", help="Runtime and its variant", is_number=False),
    Column(
        key="precision",
        title="Precision",
        help="Type of the weights and products, and how many of the layers really compute in it",
        is_number=False,
    ),
    Column(key="weights", title="Weights", help="Where the dense model's weights came from", is_number=False),
    Column(key="batch", title="Batch", help="Images per run"),
    Column(key="latency", title="Latency, ms", help="Median time of one batch, and half the width of its 97.5 % interval"),
    Column(key="image", title="ms / image", help="Latency divided by the batch"),
    Column(key="speedup", title="Speed-up", help="Dense time over this time, measured side by side, with its 97.5 % interval"),
    Column(key="verdict", title="Verdict", help="What the interval allows to say", is_number=False),
    Column(key="top1", title="Top-1, %", help="Images whose class the artifact names first, with the 97.5 % interval"),
    Column(key="macs", title="MACs ÷", help="Dense MACs over this model's, attention included"),
    Column(
        key="efficiency", title="Efficiency", help="Speed-up over MACs ÷, where decided: 1 if every removed MAC saved its time"
    ),
    Column(key="params", title="Params", help="Number of parameters; zeros included"),
    Column(key="file", title="File, MB", help="Size of the artifact's file, in millions of bytes"),
    Column(key="energy", title="mJ / image", help="Energy of the whole GPU per image, its time between runs included"),
    Column(key="gmacs", title="MACs", help="Multiply-accumulates per image"),
)


_OPTIONAL = ("machine", "precision", "batch", "weights")
"""Columns that are left out where all cases have the same value.

`same` of the table states it once.
"""


def table(report: Report) -> Table:
    """Return the table of a report."""
    lines = list(report.lines)
    left_out = {key for key in _OPTIONAL if not _differs(lines, key)}
    if all(line.row.batch == 1 for line in lines):
        left_out.add("image")  # the latency once more
    fields = {"top1": "top1", "file": "artifact_mb", "energy": "energy_mj"}
    left_out |= {key for key, field in fields.items() if all(getattr(line.row, field) is None for line in lines)}
    columns = tuple(column for column in _COLUMNS if column.key not in left_out)
    span, marks = speedup_span(line.row for line in lines), has_marks(line.row for line in lines)
    rows = tuple(_table_row(line, columns, span, marks) for line in lines)
    alike = {key: rows[0].facets[key] for key in _OPTIONAL if rows and not _differs(lines, key)}
    units_of = {"batch": "batch ", "weights": "weights "}
    labels = [f"{units_of.get(key, '')}{value}" for key, value in alike.items() if value]
    return Table(columns=columns, rows=rows, facets=_facets(rows), same=", ".join(labels))


def _differs(lines: Sequence[Line], key: str) -> bool:
    return len({line.machine if key == "machine" else getattr(line.row, key) for line in lines}) > 1


def _facets(rows: Sequence[TableRow]) -> dict[str, tuple[str, ...]]:
    names = ("machine", "model", "backend", "precision", "batch", "verdict")
    choices = {name: tuple(dict.fromkeys(row.facets[name] for row in rows)) for name in names}
    return {name: found for name, found in choices.items() if len(found) > 1}


def _table_row(line: Line, columns: Sequence[Column], span: LogSpan, marks: bool) -> TableRow:
    row = line.row
    cells = _cells(line, marks)
    verdict = row.verdict_text
    return TableRow(
        line=line,
        cells=tuple(cells[column.key] for column in columns),
        facets={
            "machine": line.machine,
            "model": row.model,
            "backend": row.backend,
            "precision": row.precision,
            "batch": str(row.batch),
            "weights": row.weights,
            "verdict": verdict,
        },
        sign=SIGNS.get(verdict, "✕"),
        tone=TONES.get(verdict, "lost"),
        whisker=place_interval(row, span),
        details=tuple((title, pairs) for title, pairs in _details(line) if pairs),
    )


def _cells(line: Line, marks: bool) -> dict[str, Cell]:
    row = line.row
    latency = NOT_TIMED if row.latency_ms is None else with_half_width(row.latency_ms, row.latency_high_ms)
    speedup = times(row.speedup, row.speedup_low, row.speedup_high)
    words = {"model": row.bundle, "machine": line.machine, "backend": row.backend, "precision": row.precision_text}
    words["weights"] = row.weights or MISSING
    cells = [Cell(key=key, text=text, sort=text, is_number=False) for key, text in words.items()]
    dense = row.role == "dense"
    cells += [
        Cell(key="verdict", text=row.marked_verdict(marks), sort=row.verdict_text, is_number=False),
        Cell(key="batch", text=str(row.batch), sort=row.batch),
        Cell(key="latency", text=latency, sort=row.latency_ms),
        Cell(key="image", text=number(row.per_image_ms), sort=row.per_image_ms),
        Cell(key="speedup", text=speedup, sort=row.speedup),
        Cell(key="top1", text=percent(row.top1, row.top1_low, row.top1_high), sort=row.top1),
        Cell(key="macs", text=MISSING if dense else ratio(row.macs_ratio), sort=1.0 if dense else row.macs_ratio),
        Cell(key="efficiency", text=row.efficiency_text, sort=row.known_efficiency),
        Cell(key="params", text=amount(row.params), sort=row.params),
        Cell(key="file", text=number(row.artifact_mb), sort=row.artifact_mb),
        Cell(key="energy", text=number(row.energy_mj), sort=row.energy_mj),
        Cell(key="gmacs", text=amount(row.macs), sort=row.macs),
    ]
    return {cell.key: cell for cell in cells}


def _details(line: Line) -> Iterable[tuple[str, tuple[tuple[str, str], ...]]]:
    """Yield all facts of a case that have no column.

    They are in groups of labels and texts.
    """
    row, record = line.row, line.record
    yield "Time", tuple(_time_pairs(row))
    yield "Against dense", tuple(_speedup_pairs(line))
    yield "Accuracy", tuple(_accuracy_pairs(line))
    yield "Size", tuple(_size_pairs(row))
    yield "Start and memory", tuple(_start_pairs(row))
    yield "In force", tuple(sorted(record.settings.items()))
    readings = [(name.replace("_", " "), number(value)) for name, value in sorted(record.telemetry.items())]
    yield "Telemetry", (*readings, *sorted(record.telemetry_notes.items()))


def _time_pairs(row: Row) -> Iterable[tuple[str, str]]:
    if row.latency_ms is None:
        return
    yield "median", f"{interval(row.latency_ms, row.latency_low_ms, row.latency_high_ms)} ms"
    yield "mean ± sd of runs", f"{plus_minus(row.mean_ms, row.stdev_ms)} ms"
    yield "fastest run", f"{number(row.minimum_ms)} ms"
    for name, bound_ms in row.percentile_bounds_ms.items():
        if bound_ms is not None:
            yield f"{name}, upper bound", f"{number(bound_ms)} ms"
    yield "images/s", number(row.images_per_s)
    yield "runs", f"{row.samples:,}, {row.outliers:,} of them outliers"


def _speedup_pairs(line: Line) -> Iterable[tuple[str, str]]:
    row, speedup = line.row, line.record.speedup
    if speedup is None:
        return
    yield "speed-up", times(row.speedup, row.speedup_low, row.speedup_high)
    yield "independent units", units(speedup.ratio)
    yield "margin to clear", share(speedup.margin)
    yield "by fastest blocks", ratio(speedup.minimum_ratio)
    if speedup.cycle_ratio is not None:
        yield "in clock cycles", ratio(speedup.cycle_ratio)
    if speedup.bootstrap_low is not None:
        yield "bootstrap interval", f"[{number(speedup.bootstrap_low)}, {number(speedup.bootstrap_high)}]"


def _accuracy_pairs(line: Line) -> Iterable[tuple[str, str]]:
    row, accuracy = line.row, line.record.accuracy
    if accuracy is None:
        return
    yield "top-1", f"{percent(accuracy.top1, accuracy.low, accuracy.high)} %"
    if accuracy.top5 is not None:
        yield "top-5", f"{percent(accuracy.top5)} %"
    yield "images", f"{accuracy.images:,} of {accuracy.data}, {accuracy.classes} classes"
    yield "run at batch", str(accuracy.batch)
    if row.accuracy_note:
        yield "note", row.accuracy_note


def _size_pairs(row: Row) -> Iterable[tuple[str, str]]:
    if row.params is None:
        return
    yield "parameters", f"{row.params:,}"
    if row.nonzero_params is not None:
        yield "of them not zero", f"{row.nonzero_params:,}"
    yield "MACs", f"{row.macs:,}"
    yield "MACs with attention", f"{row.macs_with_attention:,}"
    if row.artifact_mb is not None:
        yield "file", f"{number(row.artifact_mb)} MB"
    if row.weights:
        yield "weights", row.weights
    if row.method is not None:
        yield "method", row.method
    if row.ratio is not None:
        yield "ratio asked", f"{row.ratio:g}"
    if row.protocol:
        yield "protocol", row.protocol
    if row.seed is not None:
        yield "seed", str(row.seed)


def _start_pairs(row: Row) -> Iterable[tuple[str, str]]:
    if row.startup_s is not None:
        yield "until the first answer", f"{number(row.startup_s)} s"
    if sentence := compile_sentence(row):
        yield "compiling", sentence
    if row.peak_rss_mib is not None:
        yield "peak resident memory", f"{row.peak_rss_mib:,.0f} MiB"
    if row.peak_device_mib is not None:
        yield "peak device memory", f"{row.peak_device_mib:,.0f} MiB"
