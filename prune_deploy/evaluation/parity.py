"""Parity of a file with its module, measured at several batch sizes.

It is never assumed: a parity that could not be measured is recorded as not run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from prune_deploy.backends import usable
from prune_deploy.data import synthetic_images
from prune_deploy.errors import CannotRunError, InputError, ParityError, first_line
from prune_deploy.evaluation.logits import Logits, compare, complaint, misfit, response_cosine
from prune_deploy.evaluation.time_limit import bounded
from prune_deploy.interfaces import Backend, Session
from prune_deploy.records import Parity, ParityCheck
from prune_deploy.specs import PRECISIONS, ParityThreshold, Precision, PrecisionInfo, RunOptions
from prune_deploy.tensors import named_input, output_tensors

Answers = Callable[[torch.Tensor], Any]
"""A module, or what stands for it: images to outputs."""

CALIBRATION_IMAGES = 8
"""Images on which an INT8 file is compared with its module.

They are of those it was calibrated on, because its ranges hold for no others.
"""

BATCHES = (1, 2, 5)
"""Batch sizes that reveal a frozen batch.

It may be frozen at 1, or at the example's 2.
"""


_ON_CPU = RunOptions()
_CALIBRATE = "calibrate on more images like those the model will see, or leave its costliest layers in float with `max_drop`"


class Remembered:
    """A module that computes each batch of images once.

    The files of a bundle are compared on the same images, and a large network takes seconds for them on a CPU.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._outputs: dict[bytes, Any] = {}

    def __call__(self, images: torch.Tensor) -> Any:
        key = hashlib.sha256(images.numpy().tobytes()).digest()
        if key not in self._outputs:
            self._outputs[key] = self._module(images)
        return self._outputs[key]


def check_parity(
    module: Answers,
    backend: Backend,
    artifact: Path,
    input_size: tuple[int, int, int],
    *,
    precision: Precision = "fp32",
    trained: bool = False,
    batches: Sequence[int] = BATCHES,
    seed: int = 0,
    options: RunOptions = _ON_CPU,
    images: torch.Tensor | None = None,
) -> Parity:
    """Compare `artifact`, run by `backend`, with the eager `module`, output by output.

    The inputs are seeded synthetic images, or `images`, repeated as needed. Differences are judged against the spread of the
    module's outputs. Random weights give outputs of any scale, so an absolute bound would be either blind or impossible. `trained`
    weights answer with less noise, and are held to tighter bounds.
    """
    bounds = _Bounds(PRECISIONS[precision], trained)
    inputs = _synthetic(batches, input_size, seed) if images is None else _dealt(images, batches)
    first = named_input(inputs[0].numpy())
    with backend.open(artifact, first, replace(options, precision=precision)) as session, bounded(session):
        pairs = [_outputs(module, session, batch) for batch in inputs]
    names = list(pairs[0][0])
    if other := next((got for _, got in pairs if set(got) != set(names)), None):
        return bounds.failed(f"the outputs are {', '.join(other)} instead of {', '.join(names)}")
    sides = {name: [(expected[name], got[name]) for expected, got in pairs] for name in names}
    shown = {name: name if len(names) > 1 else "" for name in names}
    uncomparable = (misfit(*pair, shown[name]) for name, of_output in sides.items() for pair in of_output)
    if reason := next(filter(None, uncomparable), ""):
        return bounds.failed(reason)
    checks = tuple(compare(*pair, shown[name]) for name, of_output in sides.items() for pair in of_output)
    every = [
        (np.concatenate(expected), np.concatenate(got)) for expected, got in (zip(*each, strict=True) for each in sides.values())
    ]
    responses = [response_cosine(*each, bounds.threshold.response_floor) for each in every]
    return bounds.judged(checks, min((each for each in responses if each is not None), default=None))


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Bounds of a precision for trained or random weights."""

    precision: PrecisionInfo
    trained: bool

    @property
    def threshold(self) -> ParityThreshold:
        return self.precision.parity_trained if self.trained else self.precision.parity

    def judged(self, checks: tuple[ParityCheck, ...], response: float | None) -> Parity:
        """Return the parity of figures, failed if one is beyond its bound."""
        threshold = self.threshold
        reason = next(filter(None, (complaint(check, threshold) for check in checks)), "")
        if not reason and response is not None and response < threshold.response_cosine:
            reason = f"the response to the images differs: cosine {response:.4f}, at least {threshold.response_cosine} needed"
        return self._parity("failed" if reason else "passed", reason, response, checks)

    def failed(self, reason: str) -> Parity:
        """Return the parity of outputs that cannot be compared."""
        return self._parity("failed", reason, None, ())

    def _parity(
        self, status: Literal["passed", "failed"], reason: str, response: float | None, checks: tuple[ParityCheck, ...]
    ) -> Parity:
        return Parity(
            status=status,
            reason=reason,
            thresholds="trained" if self.trained else "random",
            threshold_relative_diff=self.threshold.relative_diff,
            threshold_cosine=self.threshold.cosine,
            response_cosine=response,
            checks=checks,
        )


def onnx_parity(
    module: Answers,
    graph: Path,
    input_size: tuple[int, int, int],
    precision: Precision,
    images: torch.Tensor | None = None,
    *,
    trained: bool = False,
) -> Parity:
    """Check the parity of an ONNX file through ONNX Runtime's CPU provider.

    The status is `not_run` where that provider has no kernels for the file's types.
    """
    try:
        return check_parity(module, usable("ort"), graph, input_size, precision=precision, images=images, trained=trained)
    except CannotRunError as error:
        return Parity(status="not_run", reason=error.message)


def require_passed(name: str, parity: Parity, precision: Precision) -> None:
    """Raise if an artifact's parity failed.

    A parity that could not be run is no failure.

    Raises:
        ParityError: the parity failed.
    """
    if parity.status == "failed":
        remedy = _CALIBRATE if PRECISIONS[precision].needs_calibration else "do not ship it; report the model's name"
        raise ParityError(f"{name} does not compute what the module computes: {parity.reason}", fix=remedy)


def _synthetic(batches: Sequence[int], input_size: tuple[int, int, int], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [synthetic_images(batch, input_size, generator) for batch in batches]


def _dealt(images: torch.Tensor, batches: Sequence[int]) -> list[torch.Tensor]:
    """Return batches that take the images in turn, repeating them as needed."""
    begins = [sum(batches[:number]) for number in range(len(batches))]
    return [images[torch.arange(begin, begin + batch) % len(images)] for begin, batch in zip(begins, batches, strict=True)]


def _outputs(module: Answers, session: Session, images: torch.Tensor) -> tuple[dict[str, Logits], dict[str, Logits]]:
    """Return the module's and the artifact's outputs by name, as float64."""
    try:
        with torch.inference_mode():
            expected = {name: tensor.double().numpy() for name, tensor in output_tensors(module(images)).items()}
    except Exception as error:  # whatever a model's forward raises
        raise InputError(
            f"the module does not run on images of shape {tuple(images.shape)}: {first_line(error)}",
            fix="the bundle is damaged: restore it, or export it again",
        ) from error
    session.bind(named_input(images.numpy()))
    session.run()
    session.synchronize()
    return expected, {name: array.astype(np.float64) for name, array in session.outputs().items()}
