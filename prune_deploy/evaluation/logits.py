"""Comparison of one set of outputs with another, without a runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from prune_deploy.data.classes import classes_of
from prune_deploy.errors import InputError
from prune_deploy.records import BundleRecord, ParityCheck
from prune_deploy.specs import ParityThreshold
from prune_deploy.tensors import Arrays, only

Logits = np.ndarray[Any, Any]


def scores_of(outputs: Arrays) -> Logits:
    """Return the scores of a classifier, shape (batch, classes).

    Raises:
        InputError: there are several outputs, or they are no scores of classes.
    """
    scores = only(outputs)
    if scores.ndim != 2:
        raise InputError(
            f"the network's output has the shape {scores.shape}, and not (images, classes)",
            fix="compare its outputs with prune-deploy verify; scores are read from networks that classify",
        )
    return scores


def require_classes(record: BundleRecord) -> None:
    """Refuse a network that gives embeddings.

    Raises:
        InputError: it was made with 0 classes.
    """
    if record.num_classes == 0:
        raise InputError(
            "the network gives embeddings, not scores of classes (`num_classes=0`)",
            fix="measure its latency, or export it with its classes",
        )


def compare(expected: Logits, got: Logits, output: str = "") -> ParityCheck:
    """Return the figures of one output for one batch.

    Both have the shape (batch, …), float64. Their second axis has the classes, and further axes are places.
    """
    batch, agreement = len(expected), float((classes_of(_by_place(expected)) == classes_of(_by_place(got))).mean())
    expected, got = expected.reshape(batch, -1), got.reshape(batch, -1)
    difference = float(np.abs(expected - got).max())
    spread = float(expected.std(axis=1).mean()) if expected.shape[1] > 1 else float(np.abs(expected).mean())
    if expected.shape[1] == 1:
        expected, got = expected.reshape(1, -1), got.reshape(1, -1)  # a single number has no direction, those of all images have
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1)
    cosines = (expected * got).sum(axis=1) / np.where(norms > 0, norms, 1.0)
    return ParityCheck(
        batch=batch,
        output=output,
        max_abs_diff=difference,
        relative_diff=difference / spread if spread > 0 else (0.0 if difference == 0 else float(np.finfo(np.float64).max)),
        cosine=float(cosines.min()),
        top1_agreement=agreement,
    )


def _by_place(output: Logits) -> Logits:
    """Return an output's scores with a row for each image and place."""
    classes = output.shape[1] if output.ndim > 1 else 1
    return np.moveaxis(output.reshape(len(output), classes, -1), 1, 2).reshape(-1, classes)


def response_cosine(expected: Logits, got: Logits, floor: float) -> float | None:
    """Return the cosine of the changes from image to image.

    Both inputs have the shape (images, …). It is None where the changes are less than a share `floor` of the norm.
    """
    centred, other = expected - expected.mean(axis=0), got - got.mean(axis=0)
    if len(expected) < 2 or np.linalg.norm(centred) < floor * np.linalg.norm(expected):
        return None
    norms = float(np.linalg.norm(centred) * np.linalg.norm(other))
    return float((centred * other).sum() / norms) if norms > 0 else 0.0


def complaint(check: ParityCheck, threshold: ParityThreshold) -> str:
    """Describe a difference beyond the threshold, "" without any."""
    where = f"{_prefix(check.output)}batch {check.batch}"
    if check.relative_diff > threshold.relative_diff:
        return f"{where}: differs by {check.relative_diff:.2g} of the logits' spread, {threshold.relative_diff:g} allowed"
    if check.cosine < threshold.cosine:
        return f"{where}: cosine {check.cosine:.6f}, at least {threshold.cosine} needed"
    return ""


def misfit(expected: Logits, got: Logits, output: str = "") -> str:
    """Describe why an output cannot be compared, "" where it can.

    Its shape is another, or numbers are not finite.
    """
    where = f"{_prefix(output)}batch {len(expected)}"
    if got.shape != expected.shape:
        return f"{where}: outputs of shape {got.shape}, expected {expected.shape}"
    if not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return f"{where}: the outputs are not all finite"
    return ""


def _prefix(output: str) -> str:
    return f"output {output}, " if output else ""
