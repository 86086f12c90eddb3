"""Accuracy of an artifact on labelled images.

The exact file that ships is scored, through the runtime that will run it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from prune_deploy.backends import usable
from prune_deploy.data import Batches
from prune_deploy.data.classes import classes_of
from prune_deploy.errors import InputError, OutputError, setting
from prune_deploy.evaluation.logits import require_classes, scores_of
from prune_deploy.interfaces import Session
from prune_deploy.records import LATENCY_ONLY, NAMES_KEPT, Accuracy, BundleRecord
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import named_input

CONFIDENCE = 0.975
"""Confidence of the interval, as of every other interval in a report."""

_TOP = 5


@dataclass(frozen=True, slots=True)
class Scored:
    """Accuracy of an artifact, and the settings that were in force."""

    accuracy: Accuracy
    settings: dict[str, str]


def artifact_accuracy(
    record: BundleRecord,
    backend: str,
    artifact: Path,
    batches: Batches,
    options: RunOptions,
    reference: np.ndarray[Any, Any] | None = None,
) -> Scored:
    """Return the accuracy of an artifact of the bundle that `record` describes.

    A backend opens the artifact. `reference` are the classes that the bundle's FP32 module predicts, see `module_classes`. With
    them comes the agreement.

    Raises:
        InputError: the data has another number of classes than the network and there is no reference either, or none of its images
            can be read.
        OutputError: the artifact's outputs are not finite numbers.
        CannotRunError, BuildError, InputError: as the backend documents.
    """
    require_classes(record)
    if record.num_classes != batches.classes and reference is None:
        raise _misfit(record.num_classes, batches)
    with usable(backend).open(artifact, named_input(np.zeros(batches.shape, dtype=np.float32)), options) as session:
        session.run()
        session.synchronize()
        session.check()  # fails before thousands of images are read
        result = accuracy(session, batches, reference, classes=record.num_classes)
        settings = session.settings()
    warnings = (*_warnings(record, options), *result.warnings)
    return Scored(replace(result, random_weights=record.is_untrained and result.top1 is not None, warnings=warnings), settings)


def module_classes(folder: Path, batches: Batches, options: RunOptions) -> np.ndarray[Any, Any]:
    """Return the top class of a bundle's FP32 module per image.

    The shape is (images,), one for each image that can be read. `folder` is the bundle's. The module runs by itself, before what
    is compared with it, because PyTorch's switches (threads, TF32) belong to the process.

    Raises:
        InputError: the folder is no bundle, or the module does not run.
    """
    plain = RunOptions(device=options.device, threads=options.threads, precision="fp32")
    with usable("eager").open(folder, named_input(np.zeros(batches.shape, dtype=np.float32)), plain) as session:
        classes = [_ranked(session, inputs, batches, None)[:, 0] for inputs, _ in batches]
    return np.concatenate(classes) if classes else np.zeros(0, dtype=np.int64)


def accuracy(
    session: Session, batches: Batches, reference: np.ndarray[Any, Any] | None = None, *, classes: int | None = None
) -> Accuracy:
    """Return the accuracy of an open artifact.

    It holds top-1 with its Wilson interval (Wilson, 1927), and the agreement with `reference` classes. `classes` is the number of
    the network's classes, by default that of the images. Where they differ there is no top-1.

    Every run has the same batch size, because engines and compiled modules take no other. A small last batch is padded, and the
    padding is not counted. Of classes with equal scores the first counts.

    Raises:
        InputError: there is not a score for each class, no image can be read, or the images are not those of the reference.
        OutputError: a score is not a finite number.
    """
    classes = batches.classes if classes is None else classes
    ranked = [(_ranked(session, inputs, batches, classes), labels) for inputs, labels in batches]
    if not ranked:
        raise InputError(f"none of the images of {batches.data} can be read", fix="check the files for damage")
    session.check()
    best, labels = np.concatenate([ranks for ranks, _ in ranked]), np.concatenate([truth for _, truth in ranked])
    fits = classes == batches.classes or (classes, batches.classes) == (1, 2)
    foreign = f"the model has {classes} classes, {batches.data} has {batches.classes}: only agreement with FP32 means something"
    return Accuracy(
        data=batches.data,
        images=len(labels),
        classes=classes,
        batch=batches.batch,
        **(_top1(best[:, 0] == labels) if fits else {"top1": None, "low": None, "high": None}),
        confidence=CONFIDENCE,
        top5=float((best == labels[:, np.newaxis]).any(axis=1).mean()) if fits and classes > _TOP else None,
        warnings=() if fits else (foreign,),
        unreadable=len(batches.unreadable),
        unreadable_names=tuple(batches.unreadable[:NAMES_KEPT]),
        agreement=None if reference is None else _agreement(best[:, 0], reference, batches),
    )


def _top1(correct: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return the share of correct predictions and its interval."""
    images, first = len(correct), int(correct.sum())
    bounds = binomtest(first, images).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return {"top1": first / images, "low": float(bounds.low), "high": float(bounds.high)}


def _ranked(session: Session, inputs: np.ndarray[Any, Any], batches: Batches, classes: int | None) -> np.ndarray[Any, Any]:
    """Return the five best classes of each image, shape (images, classes).

    There are fewer if the network has fewer. With `classes` None any number of classes is accepted.
    """
    padded = np.pad(inputs, [(0, batches.batch - len(inputs)), (0, 0), (0, 0), (0, 0)], mode="edge")
    session.bind(named_input(padded))
    session.run()
    session.synchronize()
    scores = scores_of(session.outputs())[: len(inputs)]
    if scores.shape != (len(inputs), scores.shape[-1] if classes is None else classes):
        raise _misfit(scores.shape[-1], batches)
    if not np.isfinite(scores).all():
        raise OutputError("its outputs are not finite numbers", fix="see prune-deploy verify; weights may be damaged")
    if scores.shape[1] == 1:
        return classes_of(scores)[:, np.newaxis]
    best: np.ndarray[Any, Any] = np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]
    return best


def _agreement(classes: np.ndarray[Any, Any], reference: np.ndarray[Any, Any], batches: Batches) -> float:
    if len(classes) != len(reference):
        raise InputError(
            f"{len(reference)} images of {batches.data} could be read first, then {len(classes)}",
            fix="keep the folder unchanged while its images are read",
        )
    return float((classes == reference).mean())


def _warnings(record: BundleRecord, options: RunOptions) -> tuple[str, ...]:
    """Warn about an INT8 artifact whose ranges come from synthetic images.

    The ranges of its engine come from its ONNX file.
    """
    sources = [artifact.quantization.calibration for artifact in record.artifacts if artifact.quantization is not None]
    synthetic = any(source is not None and source.is_synthetic for source in sources)
    return (LATENCY_ONLY,) if options.precision == "int8" and synthetic else ()


def _misfit(classes: int, batches: Batches) -> InputError:
    return InputError(
        f"the model has {classes} classes, {batches.data} has {batches.classes}",
        fix=f"make the model with {setting('num_classes', batches.classes)}, keep its head (`ignore=('head',)`), or name other data",
    )
