"""What was seen while an ONNX file of another precision was made from the FP32 one, and what its layers really compute in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prune_deploy.specs import CalibrationMethod, RestPrecision

QdqPlacement = Literal["tensorrt", "onnxruntime"]
"""Where Q/DQ nodes stand. tensorrt: at the inputs of layers with weights, symmetric, biases float. onnxruntime: behind convolutions
too, and with int32 biases, without which ONNX Runtime's CPU kernels do not take them."""

UnquantizedReason = Literal["narrow", "dynamic", "unsupported", "by name", "sensitive"]
"""Why a layer with weights is not quantised: too few channels for an INT8 kernel to pay or exist; no operand is a constant; a form the
runtime takes only in float; --int8-keep; --int8-keep-top or --max-drop."""

Top1Of = Literal["labels", "fp32"]
"""What top-1 counts while layers are chosen: images classified as they are labelled, or as the FP32 file classifies them."""

LATENCY_ONLY = "calibrated on synthetic images: latency only, accuracy means nothing"
"""What everything is labelled with whose INT8 ranges come from synthetic images."""

RTX_INT8 = "TensorRT-RTX leaves INT8 convolutions unfused: its INT8 speed does not predict TensorRT's"
"""What stands beside every INT8 engine that TensorRT-RTX built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShare:
    """How many of `layers` (convolutions and matrix products) compute in the precision asked for; `source` says who counted:
    "build log", "inspector", "ONNX Runtime's optimised graph", "PyTorch's parameters"."""

    computing: int
    layers: int
    source: str

    @property
    def text(self) -> str:
        """As tables show it: 53/54."""
        return f"{self.computing}/{self.layers}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a half-precision file keeps in FP32 (names of nodes), and constants that had to change: `clipped` were too large for the
    type, `lifted` too small to be more than zero."""

    kept_fp32: tuple[str, ...] = ()
    clipped: int = 0
    lifted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Which images ranges come from. `sha256` is over the images that were used; `unreadable` of them took no part."""

    data: str
    images: int
    method: CalibrationMethod
    sha256: str
    unreadable: int = 0

    @property
    def is_synthetic(self) -> bool:
        """Whether the images were made, so that only latency means anything."""
        return self.data == "synthetic"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLayer:
    """A layer that is not quantised: its node's name, and the module it belongs to. `cost` is what quantising it alone costs (1 less the
    cosine of the outputs to FP32's), where that was measured."""

    name: str
    reason: UnquantizedReason
    module: str = ""
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How an INT8 file came about. `quantized` of `layers` (convolutions and matrix products) have INT8 inputs and weights.

    `calibration` is None for a file that was given. `cosine` is that of its outputs to FP32's on calibration images (the least of them),
    `cosine_all` what it was with every layer quantised that can be, before layers were kept for what they lose. `top1_drop` is how much
    top-1 fell on the calibration images, as a share: on their labels, or where they have none of the network's classes, how often the
    FP32 file says something else ("fp32"); `top1_of` says which. `smoothed` counts products whose inputs' ranges moved into weights.
    """

    placement: QdqPlacement
    rest: RestPrecision
    calibration: Calibration | None
    quantized: int
    layers: int
    kept: tuple[KeptLayer, ...] = ()
    smoothed: int = 0
    cosine: float | None = None
    cosine_all: float | None = None
    top1_drop: float | None = None
    top1_of: Top1Of | None = None
