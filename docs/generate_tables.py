"""Fill the tables of README.md and docs/ from committed files.

    python docs/generate_tables.py [--check]

Run by `make docs`. A test compares the tables with the files.

A table stands between `<!-- table NAME ARGUMENTS -->` and `<!-- end of table -->`. NAME is a function of this file. An argument
names a run under profiles/reference/, or the part of it to show. Everything comes from those runs and from tests/golden/*.csv.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.curve import CurvePoint, curves
from prune_deploy.reporting.figures.formatting import MISSING, interval, number, plus_minus, ratio, with_half_width
from prune_deploy.reporting.figures.rows import Row, has_marks, row
from prune_deploy.runs import read_run
from prune_deploy.specs import SHORT_CODES

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
REFERENCE = ROOT / "profiles" / "reference"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_MARKED = re.compile(r"(<!-- table (?P<words>[^\n]*?) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_METHODS = {
    "none": ("dense", "dense"),
    "l1-unstructured": ("mask-l1-unstructured", "mask-l1-unstructured"),
    "l1-unstructured-global": ("mask-global-unstructured", "mask-global-unstructured"),
    "ln-structured-masked": ("mask-ln-structured", "mask-ln-structured"),
    "depgraph-l1": ("l1", "l1"),
    "depgraph-random": ("random", "random"),
    "depgraph-group": ("bn-scale", "l2"),
}
"""What the published methods are called here: under the published protocol, and with our defaults."""


def fill(text: str) -> str:
    """The text with every table made anew.

    Raises:
        ValueError: a marker names no table, or a table has no end.
    """
    if text.count("<!-- table ") != len(_MARKED.findall(text)):
        raise ValueError("a table has no <!-- end of table -->")
    return _MARKED.sub(lambda found: f"{found[1]}{_table(found['words'].split())}{found[3]}", text)


def _table(words: Sequence[str]) -> str:
    name, *arguments = words
    if name not in TABLES:
        raise ValueError(f"no table {name!r}; there are {', '.join(TABLES)}")
    return f"\n{TABLES[name](*arguments)}\n\n"


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A Markdown table with all but the first `left` columns aligned right."""
    rule = ["---" if number < left else "--:" for number in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *lines))


def golden(name: str) -> list[dict[str, str]]:
    """The rows of a golden file."""
    with (GOLDEN / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def reference(run: str) -> tuple[CaseRecord, ...]:
    """The records of a committed run."""
    return read_run(REFERENCE / run).cases


def pytorch_pruning_sizes() -> str:
    """Parameters of PyTorch-Pruning's vision benchmark, published and counted here.

    Rows with the same figures are merged.
    """
    counted = _counted()
    merged: dict[tuple[str, ...], list[str]] = {}
    for each in golden("pytorch_pruning_a2000.csv"):
        code, method, pruned = each["code"], each["method"], each["method"].startswith("depgraph")
        share = "" if method == "none" else each["ratio"]
        cells = [_params(counted[code, ours, share, protocol], counted) for ours, protocol in _protocols(method)]
        name = f"`{code}` {SHORT_CODES[code]}"
        shown = (name, share if pruned else "", f"{int(each['params']):,}", cells[0], cells[1] if pruned else MISSING)
        merged.setdefault(shown, []).append(method.removeprefix("depgraph-") if pruned else "dense and masked")
    lines = [
        (name, ", ".join(dict.fromkeys(message)), share or "all", str(len(message)), *figures)
        for (name, share, *figures), message in merged.items()
    ]
    header = ("model", "methods", "ratio", "rows", "published", "the same settings here", "our defaults")
    return markdown(header, lines, left=2)


def pytorch_pruning_additions() -> str:
    """Parameters of the DepGraph variants that the preset adds."""
    there = {
        (each["code"], each["ratio"]) for each in golden("pytorch_pruning_a2000.csv") if each["method"].startswith("depgraph")
    }
    counted = _counted()
    columns = {
        f"{method}, {protocol}": (method, protocol) for ours in _METHODS for method, protocol in _protocols(ours) if protocol
    }
    lines = [
        (
            f"`{code}` {name}",
            share,
            *(_params(counted[code, method, share, protocol], counted) for method, protocol in columns.values()),
        )
        for code, name in SHORT_CODES.items()
        for share in ("0.3", "0.5", "0.7")
        if (code, share) not in there
    ]
    return markdown(("model", "ratio", *columns), lines)


def _counted() -> dict[tuple[str, str, str, str], dict[str, str]]:
    """The sizes counted here, by model, method, ratio and protocol."""
    return {
        (each["model"], each["method"], each["ratio"], each["protocol"]): each for each in golden("pytorch-pruning-sizes.csv")
    }


def _protocols(published: str) -> list[tuple[str, str]]:
    """Method and protocol of the variants that a published method stands for."""
    theirs, ours = _METHODS[published]
    return [(theirs, "published"), (ours, "own")] if published.startswith("depgraph") else [(theirs, "")]


def _params(size: dict[str, str], counted: dict[tuple[str, str, str, str], dict[str, str]]) -> str:
    if not size["params"]:
        return "nothing removed" if size["reason"].startswith("nothing would be removed") else f"refused: {size['reason']}"
    removed = 1 - int(size["params"]) / int(counted[size["model"], "dense", "", ""]["params"])
    return f"{int(size['params']):,}" + (f" (−{removed:.0%})" if removed else "")


def curve_sizes() -> str:
    """MACs and parameters of Torch-Pruning's ResNet-50 curve, published and counted."""
    ours = golden("resnet50-curve-sizes.csv")
    lines = [
        [
            each["step"],
            each["pruning_ratio"],
            each["macs_g"],
            f"{int(size['macs']) / 1e9:.2f}",
            each["params_m"],
            f"{int(size['params']) / 1e6:.2f}",
        ]
        for each, size in zip(golden("torch_pruning_resnet50_curve.csv"), ours, strict=True)
    ]
    return markdown(("step", "ratio", "MACs G, published", "here", "parameters M, published", "here"), lines, left=0)


def bench(run: str) -> str:
    """The cases of a run: latency, speed-up and verdict or status."""
    rows = [row(record) for record in reference(run)]
    header = ("bundle", "backend", "batch", "ms", "ms/image", "speed-up", "verdict", "MACs", "efficiency")
    return markdown(header, _bench_cells(rows), left=2)


def bench_rows(run: str, backends: str, batch: str) -> str:
    """The cases of some backends at one batch size, in few columns."""
    rows = [row(record) for record in reference(run)]
    shown = [each for each in rows if each.backend in backends.split(",") and each.batch == int(batch)]
    header = ("bundle", "backend", "batch", "ms/image", "speed-up", "verdict")
    return markdown(header, [[cells[index] for index in (0, 1, 2, 4, 5, 6)] for cells in _bench_cells(shown)], left=2)


def _bench_cells(rows: Sequence[Row]) -> list[list[str]]:
    marks = has_marks(rows)
    return [
        [
            each.bundle,
            each.backend,
            str(each.batch),
            with_half_width(each.latency_ms, each.latency_high_ms),
            number(each.per_image_ms),
            interval(each.speedup, each.speedup_low, each.speedup_high),
            each.marked_verdict(marks),
            MISSING if each.role == "dense" else ratio(each.macs_ratio),
            each.efficiency_text,
        ]
        for each in rows
    ]


def precisions(run: str) -> str:
    """The cases of a comparison across precisions."""
    rows = [row(record) for record in reference(run)]
    marks = has_marks(rows)
    header = ("bundle", "precision", "ms", "images/s", "speed-up", "verdict", "peak MiB")
    return markdown(header, [_precision_cells(each, marks) for each in rows], left=2)


def _precision_cells(each: Row, marks: bool) -> list[str]:
    return [
        each.bundle,
        each.precision_text,
        with_half_width(each.latency_ms, each.latency_high_ms),
        number(each.images_per_s),
        interval(each.speedup, each.speedup_low, each.speedup_high),
        each.marked_verdict(marks),
        MISSING if each.peak_mib is None else f"{each.peak_mib:.0f}",
    ]


def curve(run: str, backend: str, batch: str) -> str:
    """The steps of a curve on one backend at one batch size.

    The last columns hold the latency that was published for another machine at batch 64.
    """
    published = {float(each["pruning_ratio"]): each for each in golden("torch_pruning_resnet50_curve.csv")}
    (found,) = (each for each in curves(reference(run)) if (each.backend, each.batch) == (backend, int(batch)))
    header = ("ratio", "MACs G", "params M", "median ms", "mean ± stdev ms", "speed-up", "efficiency", "published ms", "speed-up")
    return markdown(header, [_curve_cells(point, published) for point in found.points], left=0)


def _curve_cells(point: CurvePoint, published: dict[float, dict[str, str]]) -> list[str]:
    each, theirs, dense = point.row, published.get(point.ratio), published[0.0]
    return [
        f"{point.ratio:.2f}",
        point.macs_g,
        point.params_m,
        interval(each.latency_ms, each.latency_low_ms, each.latency_high_ms) if each.latency_ms else each.status,
        plus_minus(each.mean_ms, each.stdev_ms),
        interval(each.speedup, each.speedup_low, each.speedup_high) + (" slower than the step before" if point.is_slower else ""),
        each.efficiency_text,
        MISSING if theirs is None else f"{theirs['latency_mean_ms']} ± {theirs['latency_stdev_ms']}",
        MISSING if theirs is None else ratio(float(dense["latency_mean_ms"]) / float(theirs["latency_mean_ms"])),
    ]


def pytorch_pruning_latency(run: str, backend: str) -> str:
    """A run of the preset pytorch-pruning beside the published latencies per image.

    The published figures are those of an RTX A2000.
    """
    rows = {(r.model, r.method, r.ratio, r.protocol): r for r in map(row, reference(run)) if r.backend == backend}
    found: list[tuple[dict[str, str], str, Row]] = []
    for each in golden("pytorch_pruning_a2000.csv"):
        share = None if each["method"] == "none" else float(each["ratio"])
        for method, protocol in _protocols(each["method"]):
            names = (each["code"], each["timm_model"])
            keys = ((name, method, share, protocol) for name in names)
            found += [(each, protocol, rows[key]) for key in keys if key in rows][:1]
    marks = has_marks(ours for _, _, ours in found)
    lines = [
        [f"`{each['code']}`", each["method"], protocol or MISSING, *_latency_cells(each, ours, marks)]
        for each, protocol, ours in found
    ]
    header = ("model", "method", "protocol", "ratio", "published ms/image", "ms/image", "speed-up", "verdict")
    return markdown(header, lines, left=3)


def _latency_cells(published: dict[str, str], found: Row, marks: bool) -> list[str]:
    return [
        MISSING if found.ratio is None else f"{found.ratio:g}",
        published["latency_ms_per_image_batch16"],
        number(found.per_image_ms),
        interval(found.speedup, found.speedup_low, found.speedup_high),
        found.marked_verdict(marks),
    ]


TABLES: dict[str, Callable[..., str]] = {
    each.__name__: each
    for each in (
        bench,
        bench_rows,
        curve,
        curve_sizes,
        precisions,
        pytorch_pruning_additions,
        pytorch_pruning_latency,
        pytorch_pruning_sizes,
    )
}


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with --check only name those that differ."""
    stale = {page: filled for page in PAGES if (filled := fill(text := page.read_text(encoding="utf-8"))) != text}
    for page, filled in stale.items():
        if "--check" in arguments:
            print(f"{page.relative_to(ROOT)} differs from its records: run make docs", file=sys.stderr)  # noqa: T201 - a script
        else:
            page.write_text(filled, encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
