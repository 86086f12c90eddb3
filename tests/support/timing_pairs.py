"""Pairs of models whose true ratio is known or measurable.

They are for tests that really take time.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from prune_deploy import EngineSpec, ExportSpec, ModelSpec, PruneSpec, export_bundle
from prune_deploy.execution.candidate import Candidate
from prune_deploy.execution.worker_group import WorkerGroup
from prune_deploy.execution.workers.process import Watchdog
from prune_deploy.interfaces import Silent
from prune_deploy.measure.analysis import analyze
from prune_deploy.measure.comparison import Comparison
from prune_deploy.records import ComparisonStats, Role
from prune_deploy.specs import MeasureSpec, RunOptions


@functools.cache
def exported(base: Path, model: str, pixels: int, *, ratio: float | None) -> Path:
    """Return the ONNX file of a model, dense or pruned."""
    spec = ExportSpec(
        model=ModelSpec(name=model, num_classes=10, input_size=(3, pixels, pixels)),
        prune=None if ratio is None else PruneSpec(ratio=ratio),
        engine=EngineSpec(library="none"),
    )
    return export_bundle(spec, base / f"{model}-{pixels}-{ratio}").folder / "model.onnx"


def with_zeros(source: Path, share: float, target: Path) -> Path:
    """Return a copy of an ONNX file with zeros in large weights.

    It is pruned by that share, but in no dense runtime faster.
    """
    model = onnx.load(source)
    generator = np.random.default_rng(0)
    for initializer in model.graph.initializer:
        weights = numpy_helper.to_array(initializer)
        if weights.dtype == np.float32 and weights.size > 100:
            kept = weights * (generator.random(weights.shape) >= share)
            initializer.CopyFrom(numpy_helper.from_array(kept.astype(np.float32), initializer.name))
    onnx.save(model, target)
    return target


def candidates(files: Sequence[Path], pixels: int, *, threads: int | None, batch: int = 1) -> list[Candidate]:
    """Return the candidates of a comparison through ONNX Runtime.

    The first file is the dense model, and once more its copy. The others are candidates.
    """
    roles: list[tuple[Path, Role]] = [(files[0], "dense"), *((path, "candidate") for path in files[1:]), (files[0], "copy")]
    return [
        Candidate(
            label=f"{role} {number}",
            role=role,
            backend="ort",
            artifact=path,
            shape=(batch, 3, pixels, pixels),
            options=RunOptions(threads=threads),
        )
        for number, (path, role) in enumerate(roles)
    ]


def compared(group: Sequence[Candidate], spec: MeasureSpec, folder: Path) -> ComparisonStats:
    """Return the statistics of a comparison of candidates."""
    folder.mkdir(parents=True, exist_ok=True)
    with Watchdog() as watchdog:
        launcher = WorkerGroup(group, spec, watchdog, logs=folder, caches=folder / "caches")
        labels, roles = [each.label for each in group], [each.role for each in group]
        return analyze(Comparison(launcher, labels, roles, spec, Silent()).run())


def alone_ms(candidate: Candidate, folder: Path, seconds: float) -> float:
    """Return the median of a candidate's runs without any neighbour.

    It is in milliseconds.
    """
    spec = MeasureSpec(rigor="quick")
    with Watchdog() as watchdog:
        group = WorkerGroup([candidate], spec, watchdog, logs=folder, caches=folder / "caches")
        with group.launch(0, [0]) as launch:
            first = launch.run(0, 5)
            runs = max(5, round(seconds * 1e9 / float(np.median(first.samples_ns)) / 2))
            launch.run(0, runs)  # warm-up
            return float(np.median(launch.run(0, runs).samples_ns)) / 1e6


def unrest(seconds: float = 10.0) -> float:
    """Return the spread of one fixed computation's time, less one.

    It is the ratio of the 90th to the 10th percentile, and 0 on a quiet machine. The computation needs no runtime, no memory and
    no second thread, so everything that makes it vary comes from outside this process.
    """
    times: list[float] = []
    block, ends = bytes(1 << 20), time.perf_counter() + seconds
    while time.perf_counter() < ends:
        begin = time.perf_counter()
        for _ in range(20):
            hashlib.sha256(block).digest()
        times.append(time.perf_counter() - begin)
    low, high = np.percentile(times, [10, 90])
    return float(high / low) - 1


class Nothing:
    """Session that does nothing."""

    stream: int | None = None

    def run(self) -> None:
        """Nothing."""

    def synchronize(self) -> None:
        """Nothing."""
