"""Does the file compute what the module computes? Never assumed: measured at several batch sizes, or said not to have run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from prune_deploy.backends import usable
from prune_deploy.data import synthetic_images
from prune_deploy.errors import CannotRunError, ParityError
from prune_deploy.interfaces import Backend, Session
from prune_deploy.records import Parity, ParityCheck
from prune_deploy.specs import Precision, RunOptions

Logits = np.ndarray[Any, Any]

CALIBRATION_IMAGES = 8
"""Images on which an INT8 file is compared with its module: of those it was calibrated on, for its ranges are of no others."""

BATCHES = (1, 2, 5)
"""Sizes that tell a free batch from one that was frozen at 1 or at the example's 2."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a precision may cost: the largest difference as a share of the logits' spread, and the least cosines.

    Below `response_floor`, a share of the logits' norm, what the images change drowns in the precision's rounding and says nothing.
    """

    relative_diff: float
    cosine: float
    response_cosine: float
    response_floor: float


# Floors are about twenty times the rounding of a mantissa.
THRESHOLDS: dict[str, Threshold] = {
    "fp32": Threshold(relative_diff=1e-3, cosine=0.9999, response_cosine=0.99, response_floor=1e-5),
    # TF32 multiplies with 10 bits of mantissa, so a product is off by up to 5e-4, and a deep network by a few hundredths of the spread.
    "tf32": Threshold(relative_diff=5e-2, cosine=0.999, response_cosine=0.98, response_floor=1e-2),
    # Deep networks with random weights amplify rounding. With every activation rounded to FP16, dense ones came to 0.16 of the spread at
    # a cosine of 0.9996 (EfficientNet-B0, MobileNetV4); ONNX Runtime, which computes FP16 files in FP32, to 0.04.
    "fp16": Threshold(relative_diff=2e-1, cosine=0.999, response_cosine=0.98, response_floor=1e-2),
    # Three bits of mantissa less, so eight times as much: 1.5 of the spread at a cosine of 0.98.
    "bf16": Threshold(relative_diff=1.6, cosine=0.98, response_cosine=0.9, response_floor=8e-2),
    # These tell a file that is wrong (cosines near 0) from one whose layers' steps of 0.8 % of a range add up. Networks of random weights
    # blow small errors up: a whole efficientnet_b0 comes to 0.75 and answers images otherwise than it did. Whether a trained network
    # still classifies is for `eval` to measure.
    "int8": Threshold(relative_diff=8.0, cosine=0.5, response_cosine=-1.0, response_floor=8e-2),
}
_ON_CPU = RunOptions()


def check_parity(
    module: nn.Module,
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
    """Compare `artifact`, run by `backend`, with the eager `module` on seeded synthetic images, or on `images`, as often as it takes.

    Differences are judged against the spread of the module's logits: random weights give logits of any scale, so an absolute bound
    would be either blind or impossible.
    """
    threshold = THRESHOLDS[precision]
    inputs = _made(batches, input_size, seed) if images is None else _dealt(images, batches)
    with backend.open(artifact, inputs[0].numpy(), replace(options, precision=precision)) as session:
        pairs = [_outputs(module, session, batch) for batch in inputs]
    for expected, got in pairs:
        if got.shape != expected.shape:
            return _failed(f"batch {len(expected)}: outputs of shape {got.shape}, expected {expected.shape}", threshold)
        if not (np.isfinite(got).all() and np.isfinite(expected).all()):
            return _failed(f"batch {len(expected)}: the outputs are not all finite", threshold)
    checks = tuple(compare(expected, got) for expected, got in pairs)
    every, answer = (np.concatenate(side) for side in zip(*pairs, strict=True))
    response = response_cosine(every, answer, threshold.response_floor)
    reason = next(filter(None, (_complaint(check, threshold) for check in checks)), "")
    if not reason and response is not None and response < threshold.response_cosine:
        reason = f"the response to the images differs: cosine {response:.4f}, at least {threshold.response_cosine} needed"
    if reason:
        return _failed(reason, threshold, response, checks)
    return _parity("passed", "", threshold, response, checks)


def onnx_parity(
    module: nn.Module, graph: Path, input_size: tuple[int, int, int], precision: Precision, images: torch.Tensor | None = None
) -> Parity:
    """Parity of an ONNX file with its module through ONNX Runtime's CPU provider; `not_run` where that has no kernels for its types."""
    try:
        return check_parity(module, usable("ort"), graph, input_size, precision=precision, images=images)
    except CannotRunError as error:
        return Parity(status="not_run", reason=error.message)


def compare(expected: Logits, got: Logits) -> ParityCheck:
    """Figures of one batch of logits, both of shape (batch, classes), float64."""
    difference = float(np.abs(expected - got).max())
    spread = float(expected.std(axis=1).mean()) if expected.shape[1] > 1 else float(np.abs(expected).mean())
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1)
    cosines = (expected * got).sum(axis=1) / np.where(norms > 0, norms, 1.0)
    return ParityCheck(
        batch=len(expected),
        max_abs_diff=difference,
        relative_diff=difference / spread if spread > 0 else (0.0 if difference == 0 else float(np.finfo(np.float64).max)),
        cosine=float(cosines.min()),
        top1_agreement=float((expected.argmax(axis=1) == got.argmax(axis=1)).mean()),
    )


def response_cosine(expected: Logits, got: Logits, floor: float) -> float | None:
    """Cosine of what the images change, both of shape (images, classes); None where that is less than a share `floor` of the norm."""
    centred, other = expected - expected.mean(axis=0), got - got.mean(axis=0)
    if len(expected) < 2 or np.linalg.norm(centred) < floor * np.linalg.norm(expected):
        return None
    norms = float(np.linalg.norm(centred) * np.linalg.norm(other))
    return float((centred * other).sum() / norms) if norms > 0 else 0.0


def require_passed(name: str, parity: Parity) -> None:
    """Raise if an artifact's parity failed; one that could not be run is no failure.

    Raises:
        ParityError: the parity failed.
    """
    if parity.status == "failed":
        raise ParityError(
            f"{name} does not compute what the module computes: {parity.reason}", fix="do not ship it; report the model's name"
        )


def _made(batches: Sequence[int], input_size: tuple[int, int, int], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [synthetic_images(batch, input_size, generator) for batch in batches]


def _dealt(images: torch.Tensor, batches: Sequence[int]) -> list[torch.Tensor]:
    """Batches that take the images in turn, beginning anew where they end."""
    begins = [sum(batches[:number]) for number in range(len(batches))]
    return [images[torch.arange(begin, begin + batch) % len(images)] for begin, batch in zip(begins, batches, strict=True)]


def _outputs(module: nn.Module, session: Session, images: torch.Tensor) -> tuple[Logits, Logits]:
    """Logits of the module and of the artifact, both in float64 of shape (batch, classes)."""
    with torch.inference_mode():
        expected = module(images).double().numpy()
    session.bind(images.numpy())
    session.run()
    session.synchronize()
    return expected, session.outputs().astype(np.float64)


def _complaint(check: ParityCheck, threshold: Threshold) -> str:
    if check.relative_diff > threshold.relative_diff:
        return f"batch {check.batch}: differs by {check.relative_diff:.2g} of the logits' spread, {threshold.relative_diff:g} allowed"
    if check.cosine < threshold.cosine:
        return f"batch {check.batch}: cosine {check.cosine:.6f}, at least {threshold.cosine} needed"
    return ""


def _failed(reason: str, threshold: Threshold, response: float | None = None, checks: tuple[ParityCheck, ...] = ()) -> Parity:
    return _parity("failed", reason, threshold, response, checks)


def _parity(
    status: Literal["passed", "failed"],
    reason: str,
    threshold: Threshold,
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
