"""Outputs of candidates are compared with the CPU's, with real workers: what is fast and wrong is not timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from prune_deploy.execution.candidate import Candidate
from prune_deploy.execution.output_check import OutputCheck, opening
from prune_deploy.execution.workers.process import Watchdog, WorkerError, WorkerProcess
from prune_deploy.specs import MeasureSpec, Precision, RunOptions
from support.commands import Made, made

__all__ = ["made"]  # a fixture

SPEC = MeasureSpec()


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    with Watchdog() as watchdog:
        yield watchdog


def compared(candidate: Candidate, folder: Path, watchdog: Watchdog) -> str:
    """What the check says of a candidate that runs on the CPU, as if that were a GPU."""
    import os

    def spawn() -> WorkerProcess:
        return WorkerProcess(watchdog, folder / "log", os.environ, None)

    check = OutputCheck(SPEC, spawn)
    check.prepare(candidate)
    worker = spawn()
    try:
        worker.await_ready(60)
        worker.request(opening(candidate, 3, SPEC), 60, "opening")
        return check.compare(candidate, 3, worker)
    finally:
        worker.end()


def of(made: Made, precision: Precision = "fp32", graph: str = "model.onnx") -> Candidate:
    options = RunOptions(precision=precision)
    return Candidate(
        label="a",
        role="candidate",
        backend="eager",
        artifact=made.folder,
        shape=(4, 3, 160, 160),
        options=options,
        graph=made.folder / graph,
    )


def test_the_same_network_answers_the_same(made: Made, tmp_path: Path, watchdog: Watchdog) -> None:
    assert compared(of(made), tmp_path, watchdog).startswith("as the CPU's, within ")
    assert compared(of(made, "bf16"), tmp_path, watchdog).startswith("as the CPU's, within ")


def test_weights_that_are_not_those_of_the_graph_are_found(made: Made, tmp_path: Path, watchdog: Watchdog) -> None:
    spoiled = tmp_path / "bundle"
    spoiled.mkdir()
    for path in made.folder.iterdir():
        (spoiled / path.name).symlink_to(path)
    tensors = load_file(made.folder / "weights.safetensors")
    name = next(each for each, tensor in tensors.items() if tensor.ndim == 4)
    (spoiled / "weights.safetensors").unlink()
    save_file(tensors | {name: np.ascontiguousarray(tensors[name][::-1])}, spoiled / "weights.safetensors")
    with pytest.raises(WorkerError, match="its outputs on the GPU are not those on the CPU: batch 2"):
        compared(replace(of(made), artifact=spoiled), tmp_path, watchdog)


def test_what_cannot_be_compared_says_so(made: Made, tmp_path: Path, watchdog: Watchdog) -> None:
    assert compared(replace(of(made), graph=None), tmp_path, watchdog) == "not compared with the CPU's"
    assert "nothing.onnx" in compared(of(made, graph="nothing.onnx"), tmp_path, watchdog)
