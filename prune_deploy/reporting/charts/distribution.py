"""Distribution of single runs.

It shows more than a median and its interval.
"""

from __future__ import annotations

import os

import numpy as np

from prune_deploy.errors import InputError, VerificationError
from prune_deploy.measure.pairing import timed_blocks
from prune_deploy.measure.samples import Samples, unpack
from prune_deploy.records import CaseRecord
from prune_deploy.reporting.charts.chart import Axis, Box, Boxes, View
from prune_deploy.reporting.figures.report import Report, ReportedRun
from prune_deploy.runs import read_samples

_NS_PER_MS = 1e6
_DRAWN = 120


def distribution_views(report: Report) -> list[View]:
    """Return one view per comparison whose samples lie beside the records.

    Raises:
        InputError: a file of samples is damaged.
        VerificationError: it differs from the one that was measured.
    """
    return [_view(report, run, record) for run in report.runs for record in _baselines(run)]


def readable_distributions(report: Report) -> tuple[list[View], list[str]]:
    """Return the views of trustworthy samples, and a sentence per damaged file."""
    views, damaged = [], []
    for run in report.runs:
        for record in _baselines(run):
            try:
                views.append(_view(report, run, record))
            except (InputError, VerificationError) as error:
                damaged.append(f"{error.message}. Its distribution is not shown. Fix: {error.fix}.")
    return views, damaged


def _view(report: Report, run: ReportedRun, record: CaseRecord) -> View:
    samples = unpack(read_samples(run.run.folder, record), source=record.samples_file)
    several = len({other.machine for other in report.runs}) > 1
    name = f"{record.comparison}, {run.machine}" if several else record.comparison
    return View(name=name, charts=(_boxes(run, record, samples),))


def _baselines(run: ReportedRun) -> list[CaseRecord]:
    """Return the first record of each comparison whose samples exist.

    Runs are published without samples too.
    """
    first: dict[str, CaseRecord] = {}
    for record in run.run.cases:
        # A stranger's name may be one that no file can have. Path.is_file would raise for it.
        if record.samples_file and os.path.isfile(run.run.folder / record.samples_file):  # noqa: PTH113
            first.setdefault(record.samples_file, record)
    return list(first.values())


def _boxes(run: ReportedRun, baseline: CaseRecord, samples: Samples) -> Boxes:
    names = {record.index: record.label for record in run.run.cases if record.samples_file == baseline.samples_file}
    if samples.copy is not None:
        names[samples.copy] = f"{names[samples.dense]}, its copy" if samples.dense in names else "the copy"
    boxes = tuple(
        box
        for index, role in enumerate(samples.roles)
        if (box := _box(names.get(index, samples.candidates[index]), role, samples, index)) is not None
    )
    return Boxes(
        name="distribution",
        title="How single runs scatter",
        x=Axis(title="Against the model's own median (%)"),
        boxes=boxes,
        note=f"{baseline.comparison}. Box: quartiles; whiskers: 5 % and 95 %; dots: every n-th run in the order of time.",
    )


def _box(name: str, role: str, samples: Samples, candidate: int) -> Box | None:
    timed = timed_blocks(samples, candidate)
    if not timed.blocks:
        return None
    times_ms = timed.samples_ns() / _NS_PER_MS
    median_ms = float(np.median(times_ms))
    off = 100 * (times_ms / median_ms - 1)
    low, first, third, high = (float(value) for value in np.percentile(off, (5, 25, 75, 95)))
    every = -(-times_ms.size // _DRAWN)
    return Box(
        name=name,
        role=role,
        median_ms=median_ms,
        quartiles=(first, third),
        whiskers=(low, high),
        samples=tuple(float(value) for value in off[::every]),
        count=int(times_ms.size),
    )
