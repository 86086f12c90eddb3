"""How many labelled images an artifact names right: the exact file that ships, through the runtime that will run it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from prune_deploy.backends import usable
from prune_deploy.data import Batches
from prune_deploy.errors import InputError, OutputError
from prune_deploy.interfaces import Session
from prune_deploy.records import NAMES_KEPT, Accuracy, BundleRecord
from prune_deploy.specs import RunOptions

CONFIDENCE = 0.975
"""As of every other interval in a report."""

_TOP = 5


def artifact_accuracy(record: BundleRecord, backend: str, artifact: Path, batches: Batches, options: RunOptions) -> Accuracy:
    """Accuracy of an artifact of the bundle that `record` describes, opened by a backend.

    Raises:
        InputError: the data has another number of classes than the network, or none of its images can be read.
        OutputError: the artifact's outputs are not finite numbers.
        CannotRunError, BuildError, InputError: as the backend documents.
    """
    if record.num_classes != batches.classes:
        raise _misfit(record.num_classes, batches)
    with usable(backend).open(artifact, np.zeros(batches.shape, dtype=np.float32), options) as session:
        found = accuracy(session, batches)
    return replace(found, random_weights=record.weights.kind == "random")


def accuracy(session: Session, batches: Batches) -> Accuracy:
    """Accuracy of an open artifact, top-1 with its Wilson interval (Wilson, 1927).

    Every run has the same batch size, for engines and compiled modules take no other: a small last batch is filled up, and what fills
    it up is not counted. Of classes with equal scores the first counts.

    Raises:
        InputError: there is not a score for each class, or no image can be read.
        OutputError: a score is not a finite number.
    """
    images, first, among = 0, 0, 0
    for inputs, labels in batches:
        session.bind(np.pad(inputs, [(0, batches.batch - len(inputs)), (0, 0), (0, 0), (0, 0)], mode="edge"))
        session.run()
        session.synchronize()
        scores = session.outputs()[: len(labels)]
        if scores.shape != (len(labels), batches.classes):
            raise _misfit(scores.shape[-1], batches)
        if not np.isfinite(scores).all():
            raise OutputError("its outputs are not finite numbers", fix="see prune-deploy verify; weights may be damaged")
        best = np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]
        images += len(labels)
        first += int((best[:, 0] == labels).sum())
        among += int((best == labels[:, np.newaxis]).any(axis=1).sum())
    if images == 0:
        raise InputError(f"none of the images of {batches.data} can be read", fix="see whether the files are damaged")
    session.check()
    bounds = binomtest(first, images).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Accuracy(
        data=batches.data,
        images=images,
        classes=batches.classes,
        batch=batches.batch,
        top1=first / images,
        low=float(bounds.low),
        high=float(bounds.high),
        confidence=CONFIDENCE,
        top5=among / images if batches.classes > _TOP else None,
        unreadable=len(batches.unreadable),
        unreadable_names=tuple(batches.unreadable[:NAMES_KEPT]),
    )


def _misfit(classes: int, batches: Batches) -> InputError:
    return InputError(
        f"the model tells {classes} classes apart, {batches.data} has {batches.classes}",
        fix=f"make the model with --num-classes {batches.classes}, keep its head (--ignore head), or name other data",
    )
