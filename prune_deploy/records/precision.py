"""Records of an ONNX file in another precision than FP32.

They describe its conversion, and the precision that its layers really compute in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prune_deploy.specs import CalibrationMethod, RestPrecision

QdqPlacement = Literal["tensorrt", "onnxruntime"]
"""Placement of Q/DQ nodes.

- tensorrt: at the inputs of layers with weights, symmetric, biases float.
- onnxruntime: behind convolutions too, and with int32 biases, which ONNX Runtime's CPU kernels require.
"""

UnquantizedReason = Literal["narrow", "dynamic", "unsupported", "by name", "sensitive"]
"""Reason why a layer with weights is not quantised.

- narrow: too few channels for an INT8 kernel to pay or exist.
- dynamic: no operand is a constant.
- unsupported: a form that the runtime takes only in float.
- by name: `keep` names it.
- sensitive: `keep_top` or `max_drop` chose it.
"""

Top1Of = Literal["labels", "fp32"]
"""Reference of top-1 while layers are chosen.

Images are classified as they are labelled, or as the FP32 file classifies them.
"""

LATENCY_ONLY = "calibrated on synthetic images: latency only, accuracy means nothing"
"""Label of everything whose INT8 ranges come from synthetic images."""

RTX_INT8 = "TensorRT-RTX leaves INT8 convolutions unfused: its INT8 speed does not predict TensorRT's"
"""Warning beside every INT8 engine that TensorRT-RTX built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShare:
    """Number of `layers` that compute in the requested precision.

    Layers are convolutions and matrix products. `source` is the origin of the count: "build log", "inspector", "ONNX Runtime's
    optimised graph", "PyTorch's parameters".
    """

    computing: int
    layers: int
    source: str

    @property
    def text(self) -> str:
        """The share as in tables: 53/54."""
        return f"{self.computing}/{self.layers}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """Exceptions of a conversion to half precision.

    `kept_fp32` are names of nodes that stay in FP32. Constants that had to change are counted: `clipped` were too large for the
    type, `lifted` too small to be more than zero.
    """

    kept_fp32: tuple[str, ...] = ()
    clipped: int = 0
    lifted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Images that ranges come from.

    `sha256` is over the images that were used. `unreadable` of them took no part.
    """

    data: str
    images: int
    method: CalibrationMethod
    sha256: str
    unreadable: int = 0

    @property
    def is_synthetic(self) -> bool:
        """True for synthetic images, with which only latency is meaningful."""
        return self.data == "synthetic"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLayer:
    """Layer that is not quantised: its node's name, and its module.

    `cost` is the loss from quantising it alone (1 less the cosine of the outputs to FP32's), where that was measured.
    """

    name: str
    reason: UnquantizedReason
    module: str = ""
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """Origin of an INT8 file.

    - `quantized` of `layers` (convolutions and matrix products) have INT8 inputs and weights.
    - `calibration` is None for a file that was given.
    - `cosine` is that of its outputs to FP32's on calibration images (the least of them). `cosine_all` is the same with every
      possible layer quantised, before layers were kept for their losses.
    - `top1_drop` is the drop of top-1 on the calibration images, as a share. It is counted on their labels, or where they have
      none of the network's classes, as the share that the FP32 file classifies differently ("fp32"). `top1_of` names which.
    - `smoothed` counts products whose inputs' ranges moved into weights.
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
