"""Comparison of one set of logits with another, without a runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from prune_deploy.data.classes import classes_of
from prune_deploy.records import ParityCheck
from prune_deploy.specs import ParityThreshold

Logits = np.ndarray[Any, Any]


def compare(expected: Logits, got: Logits) -> ParityCheck:
    """Return the figures of one batch of logits.

    Both have shape (batch, classes), float64.
    """
    batch, agreement = len(expected), float((classes_of(expected) == classes_of(got)).mean())
    difference = float(np.abs(expected - got).max())
    spread = float(expected.std(axis=1).mean()) if expected.shape[1] > 1 else float(np.abs(expected).mean())
    if expected.shape[1] == 1:
        expected, got = expected.reshape(1, -1), got.reshape(1, -1)  # a single number has no direction, those of all images have
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1)
    cosines = (expected * got).sum(axis=1) / np.where(norms > 0, norms, 1.0)
    return ParityCheck(
        batch=batch,
        max_abs_diff=difference,
        relative_diff=difference / spread if spread > 0 else (0.0 if difference == 0 else float(np.finfo(np.float64).max)),
        cosine=float(cosines.min()),
        top1_agreement=agreement,
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


def complaint(check: ParityCheck, threshold: ParityThreshold) -> str:
    """Describe a difference beyond the threshold, "" without any."""
    if check.relative_diff > threshold.relative_diff:
        return f"batch {check.batch}: differs by {check.relative_diff:.2g} of the logits' spread, {threshold.relative_diff:g} allowed"
    if check.cosine < threshold.cosine:
        return f"batch {check.batch}: cosine {check.cosine:.6f}, at least {threshold.cosine} needed"
    return ""
