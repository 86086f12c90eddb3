"""Parity of a file with its module, measured at several batch sizes.

It is never assumed: a parity that could not be measured is recorded as not run.
"""

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
"""Images on which an INT8 file is compared with its module.

They are of those it was calibrated on, because its ranges hold for no others.
"""

BATCHES = (1, 2, 5)
"""Batch sizes that reveal a frozen batch.

It may be frozen at 1, or at the example's 2.
"""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Largest deviation that a precision may cause.

    `relative_diff` is the largest difference as a share of the logits' spread, and the cosines are the least allowed.
    `response_floor` is a share of the logits' norm. Below it, the change from image to image is smaller than the precision's
    rounding and proves nothing.
    """

    relative_diff: float
    cosine: float
    response_cosine: float
    response_floor: float


# The floors are about twenty times the rounding of a mantissa.
THRESHOLDS: dict[str, Threshold] = {
    "fp32": Threshold(relative_diff=1e-3, cosine=0.9999, response_cosine=0.99, response_floor=1e-5),
    # TF32 multiplies with 10 bits of mantissa, so a product is off by up to 5e-4, and a deep network by a few hundredths of the spread.
    "tf32": Threshold(relative_diff=5e-2, cosine=0.999, response_cosine=0.98, response_floor=1e-2),
    # Deep networks with random weights amplify rounding. With every activation rounded to FP16, dense ones came to 0.16 of the spread at
    # a cosine of 0.9996 (EfficientNet-B0, MobileNetV4). ONNX Runtime, which computes FP16 files in FP32, came to 0.04.
    "fp16": Threshold(relative_diff=2e-1, cosine=0.999, response_cosine=0.98, response_floor=1e-2),
    # Three bits of mantissa less than FP16, so eight times as much: 1.5 of the spread at a cosine of 0.98.
    "bf16": Threshold(relative_diff=1.6, cosine=0.98, response_cosine=0.9, response_floor=8e-2),
    # These separate a wrong file (cosines near 0) from one whose layers' steps of 0.8 % of a range add up. Random weights
    # amplify small errors: a whole efficientnet_b0 comes to 0.75 and classifies images differently. Whether a trained network
    # still classifies correctly is for `eval` to measure.
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
    """Compare `artifact`, run by `backend`, with the eager `module`.

    The inputs are seeded synthetic images, or `images`, repeated as needed. Differences are judged against the spread of the
    module's logits. Random weights give logits of any scale, so an absolute bound would be either blind or impossible.
    """
    threshold = THRESHOLDS[precision]
    inputs = _synthetic(batches, input_size, seed) if images is None else _dealt(images, batches)
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
    """Check the parity of an ONNX file through ONNX Runtime's CPU provider.

    The status is `not_run` where that provider has no kernels for the file's types.
    """
    try:
        return check_parity(module, usable("ort"), graph, input_size, precision=precision, images=images)
    except CannotRunError as error:
        return Parity(status="not_run", reason=error.message)


def compare(expected: Logits, got: Logits) -> ParityCheck:
    """Return the figures of one batch of logits.

    Both have shape (batch, classes), float64.
    """
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
    """Return the cosine of the changes from image to image.

    Both inputs have shape (images, classes). It is None where the changes are less than a share `floor` of the norm.
    """
    centred, other = expected - expected.mean(axis=0), got - got.mean(axis=0)
    if len(expected) < 2 or np.linalg.norm(centred) < floor * np.linalg.norm(expected):
        return None
    norms = float(np.linalg.norm(centred) * np.linalg.norm(other))
    return float((centred * other).sum() / norms) if norms > 0 else 0.0


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


def _outputs(module: nn.Module, session: Session, images: torch.Tensor) -> tuple[Logits, Logits]:
    """Return the logits of the module and of the artifact.

    Both are float64 of shape (batch, classes).
    """
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
