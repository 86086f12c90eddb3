"""INT8 files with explicit Q/DQ nodes, made from the FP32 file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prune_deploy.data import CalibrationImages
from prune_deploy.data.files import calibration_sha256
from prune_deploy.errors import BuildError
from prune_deploy.export.bundle import onnx_file
from prune_deploy.export.int8.calibration import calibrate
from prune_deploy.export.int8.draft import Draft
from prune_deploy.export.int8.imported import import_int8
from prune_deploy.export.int8.layers import Layer, find_layers, keep_by_name, keep_sensitive, quantisable
from prune_deploy.export.int8.qdq_plan import plan
from prune_deploy.export.int8.quality import QualityCheck
from prune_deploy.export.int8.sensitivity import costliest, fewest_kept, layer_costs
from prune_deploy.export.int8.smoothing import Norm, smoothable
from prune_deploy.export.onnx import load_graph
from prune_deploy.interfaces import Progress
from prune_deploy.records import Calibration, KeptLayer, Preprocessing, QdqPlacement, Quantization
from prune_deploy.specs import QuantizeSpec, RestPrecision

_PLACEMENTS: tuple[QdqPlacement, ...] = ("tensorrt", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Int8File:
    """An ONNX file with Q/DQ nodes, and the record of its quantisation.

    `paths` has the file of its data too, if that lies apart.
    """

    paths: tuple[Path, ...]
    quantization: Quantization


def make_int8(
    source: Path,
    folder: Path,
    spec: QuantizeSpec,
    preprocessing: Preprocessing,
    *,
    progress: Progress,
    placements: Sequence[QdqPlacement] = _PLACEMENTS,
) -> list[Int8File]:
    """Calibrate once and write a file for each placement into `folder`.

    Raises:
        InputError: calibration images that cannot be used, or a pattern of `keep` that fits no layer.
        BuildError: nothing is left to quantise, or `max_drop` cannot be held.
        StorageError: the disk is full or the folder cannot be written.
    """
    images = CalibrationImages(spec.calibration, preprocessing, spec.samples)
    return _Maker(source, folder, spec, images, progress).files(placements)


def accept_int8(path: Path, source: Path, folder: Path) -> Int8File:
    """Import a Q/DQ file if it is one of this model.

    Its input and output get the names that the FP32 file `source` has. Nothing else in it changes.

    Raises:
        InputError: no whole ONNX file, none with Q/DQ nodes, one of another model, or one that TensorRT rejects.
        StorageError: the disk is full or the folder cannot be written.
    """
    paths, quantized, layers, rest = import_int8(path, source, folder / onnx_file("int8", "tensorrt"))
    record = Quantization(placement="tensorrt", rest=rest, calibration=None, quantized=quantized, layers=layers)
    return Int8File(paths, record)


@dataclass(frozen=True, slots=True)
class _Analysis:
    """Layers to quantise, norms to smooth, and tensors to calibrate.

    The ranges of `tensors` are measured, and of `channels` those of each channel.
    """

    layers: list[Layer]
    norms: tuple[Norm, ...]
    tensors: list[str]
    channels: list[str]


def _analyze(source: Path, spec: QuantizeSpec) -> _Analysis:
    """Analyse the FP32 file.

    The graph holds the weights, and is gone when this returns: calibration has them in memory once more.
    """
    graph = load_graph(source).graph
    layers = keep_by_name(find_layers(graph), spec.keep)
    _require_some(layers)
    norms = tuple(smoothable(graph, layers))
    # Ranges for both runtimes at once, and smoothed or not: the next export may ask for the other.
    tensors = sorted({name for placement in _PLACEMENTS for name in plan(placement, graph, layers).tensors(graph)})
    return _Analysis(layers, norms, tensors, sorted(norm.tensor for norm in norms))


class _Maker:
    """Maker of INT8 files for both placements.

    The placements share the decision on smoothing and the costs of layers. The sensitive layers are those of each placement.
    """

    def __init__(self, source: Path, folder: Path, spec: QuantizeSpec, images: CalibrationImages, progress: Progress) -> None:
        self._source, self._folder, self._spec, self._progress = source, folder, spec, progress
        self._quality = QualityCheck(source, images)
        analysis = _analyze(source, spec)
        self._layers = analysis.layers
        sha256 = calibration_sha256(spec.calibration, spec.samples)
        ranges = calibrate(source, analysis.tensors, analysis.channels, images, spec.method, progress, sha256=sha256)
        self._calibration = Calibration(
            data=spec.calibration, images=ranges.images, method=spec.method, sha256=sha256, unreadable=ranges.unreadable
        )
        self._draft = Draft(source, ranges, () if spec.smooth == "off" else analysis.norms)
        self._costs: dict[str, float] = {}

    def files(self, placements: Sequence[QdqPlacement]) -> list[Int8File]:
        if self._spec.smooth == "auto" and self._draft.norms:
            self._decide_smoothing(placements[0])
        if self._spec.keep_top or self._spec.max_drop is not None:
            self._costs = layer_costs(self._draft, self._layers, self._quality, self._progress)
        return [self._file(placement) for placement in placements]

    def _decide_smoothing(self, placement: QdqPlacement) -> None:
        """Smooth only where that brings the outputs closer to FP32's."""
        self._progress.stage("smooth")
        plain = replace(self._draft, norms=())
        if self._cosine(self._draft, placement) <= self._cosine(plain, placement):
            self._draft = plain

    def _file(self, placement: QdqPlacement) -> Int8File:
        path = self._folder / onnx_file("int8", placement)
        self._progress.stage("quantize", path.name)
        # ONNX Runtime's CPU kernels have no FP16, so there the rest stays FP32.
        rest: RestPrecision = self._spec.rest if placement == "tensorrt" else "fp32"
        layers, all_of_them = self._layers, None
        if self._costs:
            all_of_them = self._cosine(self._draft, placement)
            layers = keep_sensitive(self._layers, self._sensitive(placement, path, rest))
            _require_some(layers)
        paths = self._draft.write(placement, layers, path, rest)
        drop = None if self._spec.max_drop is None else self._quality.top1_drop(path)
        record = Quantization(
            placement=placement,
            rest=rest,
            calibration=self._calibration,
            quantized=len(quantisable(layers)),
            layers=len(layers),
            kept=tuple(
                KeptLayer(name=layer.name, reason=layer.reason, module=layer.module, cost=self._costs.get(layer.name))
                for layer in layers
                if layer.reason is not None
            ),
            smoothed=sum(len(norm.layers) for norm in self._draft.norms),
            cosine=self._quality.cosine(path),
            cosine_all=all_of_them,
            top1_drop=drop,
            top1_of=None if drop is None else self._quality.top1_of,
        )
        return Int8File(paths, record)

    def _sensitive(self, placement: QdqPlacement, path: Path, rest: RestPrecision) -> list[str]:
        """Return the names of layers that stay float for their costs."""
        if self._spec.max_drop is None:
            return costliest(self._costs)[: self._spec.keep_top]

        def drop(kept: Sequence[str]) -> float:
            self._progress.stage("quantize", f"{path.name}, {len(kept)} layers kept in float")
            self._draft.write(placement, keep_sensitive(self._layers, kept), path, rest)
            return self._quality.top1_drop(path)

        return fewest_kept(self._costs, drop, self._spec.max_drop)

    def _cosine(self, draft: Draft, placement: QdqPlacement) -> float:
        """Return the cosine of a draft with every quantisable layer quantised.

        The file that it writes is overwritten later.
        """
        path = self._folder / onnx_file("int8", placement)
        draft.write(placement, self._layers, path)
        return self._quality.cosine(path)


def _require_some(layers: Sequence[Layer]) -> None:
    if not quantisable(layers):
        reasons = sorted({layer.reason for layer in layers if layer.reason is not None})
        raise BuildError(
            f"int8 was asked for, but none of {len(layers)} layers would be quantised ({', '.join(reasons) or 'no layers'})",
            fix="keep fewer with `keep` and `keep_top`, or leave int8 out of `precisions`",
        )
