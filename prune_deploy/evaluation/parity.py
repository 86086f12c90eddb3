"""Parity of a file with its module, measured at several batch sizes.

It is never assumed: a parity that could not be measured is recorded as not run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from prune_deploy.backends import usable
from prune_deploy.data import synthetic_images
from prune_deploy.errors import CannotRunError, InputError, ParityError, first_line
from prune_deploy.evaluation.logits import Logits, compare, complaint, response_cosine
from prune_deploy.evaluation.time_limit import bounded
from prune_deploy.interfaces import Backend, Session
from prune_deploy.records import Parity, ParityCheck
from prune_deploy.specs import PRECISIONS, ParityThreshold, Precision, RunOptions

Answers = Callable[[torch.Tensor], torch.Tensor]
"""A module, or what stands for it: images to logits."""

CALIBRATION_IMAGES = 8
"""Images on which an INT8 file is compared with its module.

They are of those it was calibrated on, because its ranges hold for no others.
"""

BATCHES = (1, 2, 5)
"""Batch sizes that reveal a frozen batch.

It may be frozen at 1, or at the example's 2.
"""


_ON_CPU = RunOptions()


class Remembered:
    """A module that computes each batch of images once.

    The files of a bundle are compared on the same images, and a large network takes seconds for them on a CPU.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._logits: dict[bytes, torch.Tensor] = {}

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        key = hashlib.sha256(images.numpy().tobytes()).digest()
        if key not in self._logits:
            self._logits[key] = self._module(images)
        return self._logits[key]


def check_parity(
    module: Answers,
    backend: Backend,
    artifact: Path,
    input_size: tuple[int, int, int],
    *,
    precision: Precision = "fp32",
    batches: Sequence[int] = BATCHES,
    seed: int = 0,
    options: RunOptions = _ON_CPU,
    images: torch.Tensor | None = None,
) -> Parity:
    """Compare `artifact`, run by `backend`, with the eager `module`.

    The inputs are seeded synthetic images, or `images`, repeated as needed. Differences are judged against the spread of the
    module's logits. Random weights give logits of any scale, so an absolute bound would be either blind or impossible.
    """
    threshold = PRECISIONS[precision].parity
    inputs = _synthetic(batches, input_size, seed) if images is None else _dealt(images, batches)
    with backend.open(artifact, inputs[0].numpy(), replace(options, precision=precision)) as session, bounded(session):
        pairs = [_outputs(module, session, batch) for batch in inputs]
    for expected, got in pairs:
        if got.shape != expected.shape:
            return _failed(f"batch {len(expected)}: outputs of shape {got.shape}, expected {expected.shape}", threshold)
        if not (np.isfinite(got).all() and np.isfinite(expected).all()):
            return _failed(f"batch {len(expected)}: the outputs are not all finite", threshold)
    checks = tuple(compare(expected, got) for expected, got in pairs)
    every, answer = (np.concatenate(side) for side in zip(*pairs, strict=True))
    response = response_cosine(every, answer, threshold.response_floor)
    reason = next(filter(None, (complaint(check, threshold) for check in checks)), "")
    if not reason and response is not None and response < threshold.response_cosine:
        reason = f"the response to the images differs: cosine {response:.4f}, at least {threshold.response_cosine} needed"
    if reason:
        return _failed(reason, threshold, response, checks)
    return _parity("passed", "", threshold, response, checks)


def onnx_parity(
    module: Answers, graph: Path, input_size: tuple[int, int, int], precision: Precision, images: torch.Tensor | None = None
) -> Parity:
    """Check the parity of an ONNX file through ONNX Runtime's CPU provider.

    The status is `not_run` where that provider has no kernels for the file's types.
    """
    try:
        return check_parity(module, usable("ort"), graph, input_size, precision=precision, images=images)
    except CannotRunError as error:
        return Parity(status="not_run", reason=error.message)


def require_passed(name: str, parity: Parity) -> None:
    """Raise if an artifact's parity failed.

    A parity that could not be run is no failure.

    Raises:
        ParityError: the parity failed.
    """
    if parity.status == "failed":
        raise ParityError(
            f"{name} does not compute what the module computes: {parity.reason}", fix="do not ship it; report the model's name"
        )


def _synthetic(batches: Sequence[int], input_size: tuple[int, int, int], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [synthetic_images(batch, input_size, generator) for batch in batches]


def _dealt(images: torch.Tensor, batches: Sequence[int]) -> list[torch.Tensor]:
    """Return batches that take the images in turn, repeating them as needed."""
    begins = [sum(batches[:number]) for number in range(len(batches))]
    return [images[torch.arange(begin, begin + batch) % len(images)] for begin, batch in zip(begins, batches, strict=True)]


def _outputs(module: Answers, session: Session, images: torch.Tensor) -> tuple[Logits, Logits]:
    """Return the logits of the module and of the artifact.

    Both are float64 of shape (batch, classes).
    """
    try:
        with torch.inference_mode():
            expected = module(images).double().numpy()
    except Exception as error:  # whatever a model's forward raises
        raise InputError(
            f"the module does not run on images of shape {tuple(images.shape)}: {first_line(error)}",
            fix="the bundle is damaged: restore it, or export it again",
        ) from error
    session.bind(images.numpy())
    session.run()
    session.synchronize()
    return expected, session.outputs().astype(np.float64)


def _failed(
    reason: str, threshold: ParityThreshold, response: float | None = None, checks: tuple[ParityCheck, ...] = ()
) -> Parity:
    return _parity("failed", reason, threshold, response, checks)


def _parity(
    status: Literal["passed", "failed"],
    reason: str,
    threshold: ParityThreshold,
    response: float | None,
    checks: tuple[ParityCheck, ...],
) -> Parity:
    return Parity(
        status=status,
        reason=reason,
        threshold_relative_diff=threshold.relative_diff,
        threshold_cosine=threshold.cosine,
        response_cosine=response,
        checks=checks,
    )
