"""Ranges of a graph's activations on calibration images.

They are measured batch by batch, and kept in a cache for the next export.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.quantization.calibrate import HistogramCollector

from prune_deploy.data import CalibrationImages
from prune_deploy.errors import InputError, StorageError, setting
from prune_deploy.export.arrays import Array, Range
from prune_deploy.export.int8.sessions import open_session
from prune_deploy.files import read_file, write_text
from prune_deploy.interfaces import Progress
from prune_deploy.specs import CalibrationMethod
from prune_deploy.store import file_sha256

_VERSION = 1
"""Counts up whenever the same images would give other ranges."""
# No more than this of a batch's activations is held at once. A large network takes its images one by one.
_BATCH_BYTES = 128 << 20
_LARGEST_BATCH = 16
_BINS: dict[str, int] = {"entropy": 512, "percentile": 2048}
_QUANTIZED_BINS = 128
_PERCENTILE = 99.99
# An image adds no more values of a tensor than this to a histogram. Counting all of them takes ten times as long as the network.
_VALUES_COUNTED = 1 << 16


@dataclass(frozen=True, slots=True)
class Ranges:
    """Least and largest values of tensors on calibration images.

    `channels` has those of each channel (the last axis), for the tensors that smoothing needs. `images` counts the images that
    were used, `unreadable` those that could not be read.
    """

    tensors: dict[str, Range]
    channels: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    images: int = 0
    unreadable: int = 0


def calibrate(
    source: Path,
    tensors: Sequence[str],
    channels: Sequence[str],
    images: CalibrationImages,
    method: CalibrationMethod,
    progress: Progress,
    *,
    sha256: str,
    cache: Path | None = None,
) -> Ranges:
    """Return the ranges of `tensors` in the graph `source` on `images`.

    `sha256` is the hash of the images. The ranges come from the cache if they are there. `channels` names the tensors whose
    channels are measured one by one.

    ONNX Runtime computes the cuts of the methods entropy and percentile. Its calibrators are not used as a whole: they choose
    tensors by operator only, write the network to disk again, and ignore NaN.

    Raises:
        InputError: images that give NaN or infinity, that cannot be read, or whose pixels are all the same.
    """
    folder = cache_folder() if cache is None else cache
    request = {"tensors": sorted(tensors), "channels": sorted(channels)}
    key = _key(file_sha256(source), sha256, method, json.dumps(request))
    path = folder / f"{key}.json"
    if (cached := _cached(path, progress)) is not None and set(tensors) <= cached.tensors.keys():
        progress.note(f"the ranges of {cached.images} images are in the cache: {path.name[:8]}")
        return cached
    ranges = _measure(source, tensors, channels, images, method, progress)
    _keep(ranges, path, progress)
    return ranges


def cache_folder() -> Path:
    """Return the cache's folder, under $XDG_CACHE_HOME or under ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "prune-deploy" / "calibration"


def _measure(
    source: Path,
    tensors: Sequence[str],
    channels: Sequence[str],
    images: CalibrationImages,
    method: CalibrationMethod,
    progress: Progress,
) -> Ranges:
    collected = _Extremes(frozenset(channels))
    with open_session(source, outputs=tensors) as session:
        size = _batch_size(session, tensors)
        total = images.count
        progress.stage("calibrate", f"on {total} images")
        for batch in _counted(images, size, progress):
            collected.add(_run(session, batch, tensors))
        _require_varied(session, collected, images.data)
        ranges = collected.ranges
        if method != "minmax":
            progress.stage("calibrate", f"on {total} images again, for {method} ranges")
            histograms = _Histograms(method, ranges)
            for batch in _counted(images, size, progress):
                histograms.add(_run(session, batch, tensors))
            ranges = histograms.ranges()
    unreadable = len(images.unreadable)
    return Ranges(ranges, collected.channels, images.count - unreadable, unreadable)


class _Extremes:
    """Least and largest values so far.

    numpy's minimum passes NaN on, so a NaN in any image is found.
    """

    def __init__(self, channels: frozenset[str]) -> None:
        self._wanted = channels
        self.ranges: dict[str, Range] = {}
        self._channels: dict[str, tuple[Array, Array]] = {}

    def add(self, arrays: dict[str, Array]) -> None:
        for name, array in arrays.items():
            low, high = float(array.min()), float(array.max())
            if not (math.isfinite(low) and math.isfinite(high)):
                raise InputError(
                    f"the calibration images lead to {'NaN' if math.isnan(low + high) else 'infinite'} values in the tensor {name}",
                    fix="the network overflows on them: check its weights and preprocessing, and that they are images of its kind",
                )
            before = self.ranges.get(name, (low, high))
            self.ranges[name] = (min(before[0], low), max(before[1], high))
            if name in self._wanted:
                self._add_channels(name, array.reshape(-1, array.shape[-1]))

    def _add_channels(self, name: str, rows: Array) -> None:
        low, high = rows.min(axis=0), rows.max(axis=0)
        before = self._channels.get(name, (low, high))
        self._channels[name] = (np.minimum(before[0], low), np.maximum(before[1], high))

    @property
    def channels(self) -> dict[str, tuple[list[float], list[float]]]:
        return {name: (low.tolist(), high.tolist()) for name, (low, high) in self._channels.items()}


class _Histograms:
    """Ranges by ONNX Runtime's collector, over bins that span the extremes.

    The bins never grow, whatever the order of the images.
    """

    def __init__(self, method: CalibrationMethod, extremes: dict[str, Range]) -> None:
        bins = _BINS[method]
        self._collector = HistogramCollector(
            method,
            symmetric=False,
            num_bins=bins,
            num_quantized_bins=_QUANTIZED_BINS,
            percentile=_PERCENTILE,
            scenario="same",
        )
        self._extremes = extremes
        for name, (low, high) in extremes.items():
            largest = np.float32(max(-low, high, float(np.finfo(np.float32).tiny)))
            edges = np.linspace(-largest, largest, bins + 1, dtype=np.float32)
            bounds = np.float32(low), np.float32(high)  # the collector never cuts wider than these
            self._collector.histogram_dict[name] = (np.zeros(bins, dtype=np.int64), edges, *bounds, largest)

    def add(self, arrays: dict[str, Array]) -> None:
        self._collector.collect_value({name: _some(array) for name, array in arrays.items()})

    def ranges(self) -> dict[str, Range]:
        with contextlib.redirect_stdout(io.StringIO()):  # the collector prints its progress
            cuts = self._collector.compute_collection_result()
        return {name: (float(cut[0]), float(cut[1])) for name, cut in cuts.items()}


def _some(array: Array) -> Array:
    """Sample values from all over a batch's tensor.

    The step is odd, which keeps the values from falling into the same columns.
    """
    step = max(1, array.size // (_VALUES_COUNTED * len(array)))
    return array.reshape(-1)[:: step | 1]


def _run(session: Any, batch: Array, tensors: Sequence[str]) -> dict[str, Array]:
    name = session.get_inputs()[0].name
    arrays = {name: batch} if name in tensors else {}
    outputs = [tensor for tensor in tensors if tensor != name]
    return arrays | dict(zip(outputs, session.run(outputs, {name: batch}), strict=True))


def _batch_size(session: Any, tensors: Sequence[str]) -> int:
    """Return how many images fit into the bound, judged by one's activations."""
    shape = [1, *session.get_inputs()[0].shape[1:]]
    arrays = _run(session, np.zeros(shape, np.float32), tensors)
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // max(1, sum(array.nbytes for array in arrays.values()))))


def _counted(images: CalibrationImages, size: int, progress: Progress) -> Iterator[Array]:
    done = 0
    for batch in images.batches(size):
        yield batch.inputs
        done += len(batch.inputs)
        progress.advance(done, images.count)


def _require_varied(session: Any, collected: _Extremes, data: str) -> None:
    name = session.get_inputs()[0].name
    low, high = collected.ranges.get(name, (0.0, 1.0))
    if low == high:
        raise InputError(
            f"{setting('calibration', data)}: every pixel of every image is the same ({low:g} after preprocessing), which gives no range",
            fix="calibrate on images like those the model will see",
            field="calibration",
        )


def _key(graph: str, images: str, method: str, request: str) -> str:
    parts = (f"calibration {_VERSION}", f"onnxruntime {onnxruntime.__version__}", graph, images, method, request)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _cached(path: Path, progress: Progress) -> Ranges | None:
    try:
        content = read_file(path)
    except InputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            progress.note(f"the cached ranges in {path} cannot be read ({error.message}), so they are taken again")
        return None
    try:
        return _parsed(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        progress.note(f"the cached ranges in {path} are damaged ({type(error).__name__}), so they are taken again")
        return None


def _parsed(content: Any) -> Ranges:
    tensors = {str(name): (float(low), float(high)) for name, (low, high) in content["tensors"].items()}
    channels = {str(name): (list(map(float, low)), list(map(float, high))) for name, (low, high) in content["channels"].items()}
    if not all(math.isfinite(bound) for bounds in tensors.values() for bound in bounds):
        raise ValueError("not finite")
    return Ranges(tensors, channels, int(content["images"]), int(content["unreadable"]))


def _keep(ranges: Ranges, path: Path, progress: Progress) -> None:
    content = {
        "tensors": ranges.tensors,
        "channels": ranges.channels,
        "images": ranges.images,
        "unreadable": ranges.unreadable,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(content))
    except (OSError, StorageError) as error:
        progress.note(f"the ranges cannot be kept in {path.parent} ({error}), so the next export takes them again")
