"""Closeness of a quantised network to the FP32 one on calibration images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prune_deploy.data import CalibrationImages
from prune_deploy.data.classes import classes_of
from prune_deploy.errors import InputError
from prune_deploy.export.arrays import Array
from prune_deploy.export.int8.sessions import open_session
from prune_deploy.records.precision import Top1Of

_BATCH = 4
# Images that cosines are computed on, by the FP32 file's size in bytes: large networks are slow, and their cosines spread less.
_IMAGES = ((128 << 20, 16), (512 << 20, 8))
_FEWEST_IMAGES = 4


class QualityCheck:
    """Comparison of files with the FP32 file `source`.

    `top1_of` names what top-1 counts: labels, where the images have the network's classes, else agreement with the FP32 file.
    """

    def __init__(self, source: Path, images: CalibrationImages) -> None:
        self._source, self._images = source, images
        size = sum(path.stat().st_size for path in (source, source.with_name(source.name + ".data")) if path.is_file())
        self._count = next((count for bound, count in _IMAGES if size < bound), _FEWEST_IMAGES)
        self._few: list[Array] | None = None
        self._all: list[Array] | None = None
        self._labels: Array = np.empty(0)
        self.top1_of: Top1Of = "fp32"

    def few(self) -> list[Array]:
        """Return the images that cosines are computed on, in batches."""
        return [batch.inputs for batch in self._images.batches(_BATCH, self._count)]

    def cosine(self, path: Path) -> float:
        """Return the least cosine of an image's outputs to the FP32 file's."""
        if self._few is None:
            self._few = self._outputs(self._source, self._count)
        return cosine(self._few, self._outputs(path, self._count))

    def top1_drop(self, path: Path) -> float:
        """Return the loss of top-1 compared with the FP32 file.

        It is a share of all calibration images, and negative where top-1 rises.

        Raises:
            InputError: the network does not classify.
        """
        if self._all is None:
            self._all = self._outputs(self._source, None)
            labelled = self._images.classes == _scores(self._all).shape[1]
            self._labels = np.concatenate([batch.labels for batch in self._images.batches(_BATCH)])
            self.top1_of = "labels" if labelled else "fp32"
        before, after = classes_of(_scores(self._all)), classes_of(_scores(self._outputs(path, None)))
        expected = self._labels if self.top1_of == "labels" else before
        return float((before == expected).mean() - (after == expected).mean())

    def _outputs(self, path: Path, count: int | None) -> list[Array]:
        with open_session(path) as session:
            name = session.get_inputs()[0].name
            return joined([session.run(None, {name: batch.inputs}) for batch in self._images.batches(_BATCH, count)])


def joined(batches: Sequence[Sequence[Array]]) -> list[Array]:
    """Join the outputs of several batches, each of shape (images, …)."""
    return [np.concatenate(each) for each in zip(*batches, strict=True)]


def _scores(outputs: Sequence[Array]) -> Array:
    """Return the scores of a classifier, shape (images, classes)."""
    if len(outputs) != 1 or outputs[0].ndim != 2:
        raise InputError(
            "`max_drop` counts classes, and the network does not classify", fix="leave `max_drop` away", field="max_drop"
        )
    return outputs[0]


def cosine(expected: Sequence[Array], got: Sequence[Array]) -> float:
    """Return the least cosine of two sets of outputs.

    It is the least of all outputs and images. Each output has the shape (images, …). The cosine is 0 where one of them is not finite
    or all zero.
    """
    return min(_cosine(*pair) for pair in zip(expected, got, strict=True))


def _cosine(expected: Array, got: Array) -> float:
    expected, got = expected.reshape(len(expected), -1), got.reshape(len(got), -1)
    if expected.shape[1] == 1:
        expected, got = expected.reshape(1, -1), got.reshape(1, -1)  # a single number has no direction
    products = (expected.astype(np.float64) * got).sum(axis=1)
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1)
    if not (np.isfinite(norms).all() and norms.all()):
        return 0.0
    return float((products / norms).min())
