"""Outputs of candidates on a GPU, compared with the CPU's.

A session may be fast and wrong: a kernel may overflow into finite garbage. Each is compared once, on the first images of its input. The
reference is ONNX Runtime's CPU provider on the bundle's FP32 file, which parity has compared with the module.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from prune_deploy.evaluation.logits import Logits, compare, complaint, misfit
from prune_deploy.execution.candidate import Candidate
from prune_deploy.execution.workers.process import WorkerError, WorkerProcess
from prune_deploy.specs import PRECISIONS, MeasureSpec, RunOptions

_ROWS = 2
_LIMIT_S = 120.0


class OutputCheck:
    """Comparison of a group's candidates with their references.

    The reference of each bundle is computed once. `spawn` starts a worker for it.
    """

    def __init__(self, spec: MeasureSpec, spawn: Callable[[], WorkerProcess]) -> None:
        self._spec, self._spawn = spec, spawn
        self._references: dict[Path, dict[str, Logits] | str] = {}

    def prepare(self, candidate: Candidate) -> None:
        """Compute the candidate's reference, unless it is known.

        No candidate may run meanwhile.
        """
        graph = candidate.graph
        if graph is None or graph in self._references or not _is_comparable(candidate):
            return
        worker = self._spawn()
        try:
            worker.await_ready(self._spec.open_limit_s)
            plain = {"backend": "ort", "artifact": str(graph), "options": asdict(RunOptions(precision="fp32"))}
            worker.request(opening(candidate, 0, self._spec) | plain | {"rows": _ROWS}, self._spec.open_limit_s, "opening")
            self._references[graph] = first_outputs(worker, 0)
        except WorkerError as error:
            self._references[graph] = error.message
        finally:
            worker.end()

    def compare(self, candidate: Candidate, index: int, worker: WorkerProcess) -> str:
        """Describe how an open candidate's outputs compare with the reference.

        Raises:
            WorkerError: they differ more than parity allows for the precision.
        """
        if candidate.graph is None or not _is_comparable(candidate):
            return "not compared with the CPU's"
        reference = self._references[candidate.graph]
        if isinstance(reference, str):
            return f"not compared with the CPU's: {reference}"
        answer = first_outputs(worker, index)
        if set(answer) != set(reference):
            raise _differs(f"they are {', '.join(answer)}, and not {', '.join(reference)}")
        closeness = 0.0
        for name, expected in reference.items():
            shown = name if len(reference) > 1 else ""
            if reason := misfit(expected, answer[name], shown):
                raise _differs(reason)
            check = compare(expected, answer[name], shown)
            if reason := complaint(check, PRECISIONS[candidate.options.precision or "fp32"].parity):
                raise _differs(reason)
            closeness = max(closeness, check.relative_diff)
        return f"as the CPU's, within {closeness:.1g} of their spread"


def opening(candidate: Candidate, index: int, spec: MeasureSpec) -> dict[str, Any]:
    """The message that opens a candidate in a worker."""
    return {
        "kind": "open",
        "candidate": index,
        "backend": candidate.backend,
        "artifact": str(candidate.artifact),
        "options": asdict(candidate.options),
        "inputs": spec.inputs,
        "shape": candidate.shape,
        "seed": spec.seed,
    }


def first_outputs(worker: WorkerProcess, index: int) -> dict[str, Logits]:
    """Return the outputs of a candidate's last run by name.

    They are those of its first images, in float64.

    Raises:
        WorkerError: the worker does not answer.
    """
    answer = worker.request({"kind": "outputs", "candidate": index, "rows": _ROWS}, _LIMIT_S, "answering")
    numbers, outputs = np.frombuffer(answer.data, dtype=np.float32).astype(np.float64), {}
    for name, shape in answer.header["shapes"].items():
        size = math.prod(shape)
        outputs[name], numbers = numbers[:size].reshape(shape), numbers[size:]
    return outputs


def _is_comparable(candidate: Candidate) -> bool:
    """INT8 holds for images like those it was calibrated on only.

    Timed inputs are not like them.
    """
    return not PRECISIONS[candidate.options.precision or "fp32"].needs_calibration


def _differs(reason: str) -> WorkerError:
    return WorkerError(
        "failed",
        f"its outputs on the GPU are not those on the CPU: {reason}",
        "see prune-deploy verify; or report the model's name",
    )
