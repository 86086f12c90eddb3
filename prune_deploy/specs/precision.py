"""Table of precisions, with everything that differs between them.

There is one row per precision. Types are named by their words, so that no runtime is imported. A new precision is a row here, a
way to write its ONNX file in `prune_deploy.export`, and its name in `Precision`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from prune_deploy.errors import InputError

Precision = Literal["fp32", "tf32", "fp16", "bf16", "int8"]
"""Precision in which layers compute.

tf32 applies to engines and to torch on a GPU. fp32 means that TF32 is off.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityThreshold:
    """Largest deviation that a precision may cause.

    `relative_diff` is the largest difference as a share of the logits' spread, and the cosines are the least allowed.
    `response_floor` is a share of the logits' norm. Below it, the change from image to image is smaller than the precision's
    rounding and proves nothing. Floors are about twenty times the rounding of a mantissa.
    """

    relative_diff: float
    cosine: float
    response_cosine: float
    response_floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionInfo:
    """Properties of one precision.

    - `label` is for readers. `bits` is the width of a stored number.
    - `onnx_type` is the name in ONNX's TensorProto of the tensors that layers read, and `array_type` the name of the same type in
      numpy (ml_dtypes) and torch.
    - `runs_file_of` is the precision whose ONNX file it runs, itself where it has one of its own.
    - `casts_modules` marks one that a PyTorch module can be cast to, and `needs_calibration` one whose file is made with images.
    - `gpu_only` marks one that no CPU has. `first_gpu` is the oldest compute capability that has it (80 for sm80, 0 for any).
    - `gpu_channel_multiple` is the number of channels to which GPU kernels pad (NVIDIA, TensorRT performance guide).
    - `parity` bounds deviations of networks with random weights, which amplify rounding. `parity_trained` bounds those of trained ones.
    - `engine_type` is TensorRT's type that at least one layer of an engine must compute in. `engine_types_allowed` are the narrow
      types (16 bits and less) that its layers may have at all.
    - `fp32_in_tensorrt` are operators that ONNX has in this type and TensorRT-RTX 1.7 reads differently, found by parsing each
      operator on its own.
    - `ort_operators` are operators of ONNX Runtime that compute in this precision whatever the types of their tensors. Where
      there are none, a layer counts if its tensors have `onnx_type`.
    """

    label: str
    bits: int
    onnx_type: str
    array_type: str
    runs_file_of: Precision
    engine_type: str
    parity: ParityThreshold
    parity_trained: ParityThreshold
    engine_types_allowed: frozenset[str] = frozenset()
    fp32_in_tensorrt: frozenset[str] = frozenset()
    ort_operators: frozenset[str] = frozenset()
    casts_modules: bool = True
    needs_calibration: bool = False
    gpu_only: bool = False
    first_gpu: int = 0
    gpu_channel_multiple: int = 4

    @property
    def is_half(self) -> bool:
        """True if its file is the FP32 file with 16-bit tensors."""
        return self.bits == 16


PRECISIONS: Mapping[Precision, PrecisionInfo] = {
    "fp32": PrecisionInfo(
        label="FP32",
        bits=32,
        onnx_type="FLOAT",
        array_type="float32",
        runs_file_of="fp32",
        engine_type="Float",
        parity=ParityThreshold(relative_diff=1e-3, cosine=0.9999, response_cosine=0.99, response_floor=1e-5),
        parity_trained=ParityThreshold(relative_diff=1e-3, cosine=0.99999, response_cosine=0.999, response_floor=1e-5),
    ),
    "tf32": PrecisionInfo(
        label="TF32",
        bits=32,
        onnx_type="FLOAT",
        array_type="float32",
        runs_file_of="fp32",
        engine_type="Float",
        gpu_only=True,
        first_gpu=80,
        # TF32 multiplies with 10 bits of mantissa, so a product is off by up to 5e-4, and a deep network by a few hundredths of the
        # spread.
        parity=ParityThreshold(relative_diff=5e-2, cosine=0.999, response_cosine=0.98, response_floor=1e-2),
        parity_trained=ParityThreshold(relative_diff=3e-2, cosine=0.9995, response_cosine=0.99, response_floor=1e-2),
    ),
    "fp16": PrecisionInfo(
        label="FP16",
        bits=16,
        onnx_type="FLOAT16",
        array_type="float16",
        runs_file_of="fp16",
        engine_type="Half",
        engine_types_allowed=frozenset({"Half"}),
        fp32_in_tensorrt=frozenset({"MeanVarianceNormalization"}),
        gpu_channel_multiple=8,
        # Deep networks with random weights amplify rounding. With every activation rounded to FP16, dense ones came to 0.16 of the spread
        # at a cosine of 0.9996 (EfficientNet-B0, MobileNetV4). ONNX Runtime, which computes FP16 files in FP32, came to 0.04.
        # With ImageNet's weights, tf_efficientnet_lite0 came to 0.014 there.
        parity=ParityThreshold(relative_diff=2e-1, cosine=0.999, response_cosine=0.98, response_floor=1e-2),
        parity_trained=ParityThreshold(relative_diff=4e-2, cosine=0.9995, response_cosine=0.99, response_floor=1e-2),
    ),
    "bf16": PrecisionInfo(
        label="BF16",
        bits=16,
        onnx_type="BFLOAT16",
        array_type="bfloat16",
        runs_file_of="bf16",
        engine_type="BFloat16",
        engine_types_allowed=frozenset({"BFloat16"}),
        fp32_in_tensorrt=frozenset(
            {"GlobalLpPool", "HardSwish", "LpNormalization", "LpPool", "MeanVarianceNormalization", "Mish"}
        ),
        first_gpu=80,
        gpu_channel_multiple=8,
        # Three bits of mantissa less than FP16, so eight times as much: 1.5 of the spread at a cosine of 0.98.
        parity=ParityThreshold(relative_diff=1.6, cosine=0.98, response_cosine=0.9, response_floor=8e-2),
        parity_trained=ParityThreshold(relative_diff=3e-1, cosine=0.995, response_cosine=0.98, response_floor=8e-2),
    ),
    "int8": PrecisionInfo(
        label="INT8",
        bits=8,
        onnx_type="INT8",
        array_type="int8",
        runs_file_of="int8",
        engine_type="Int8",
        engine_types_allowed=frozenset({"Int8", "Half", "BFloat16"}),
        ort_operators=frozenset(
            {"QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
            | {"QGemm", "QAttention"}
        ),
        casts_modules=False,
        needs_calibration=True,
        gpu_channel_multiple=32,
        # These separate a wrong file (cosines near 0) from one whose layers' steps of 0.8 % of a range add up. Random weights amplify
        # small errors: a whole efficientnet_b0 comes to 0.75 and classifies images differently. With ImageNet's weights,
        # tf_efficientnet_lite0 came to 0.997, and to 0.3 of the spread. Whether a network still classifies correctly is for `eval`.
        parity=ParityThreshold(relative_diff=8.0, cosine=0.5, response_cosine=-1.0, response_floor=8e-2),
        parity_trained=ParityThreshold(relative_diff=1.5, cosine=0.95, response_cosine=0.8, response_floor=8e-2),
    ),
}


def parse_precisions(words: Sequence[str]) -> tuple[Precision, ...]:
    """Return the precisions that `words` name, in their order.

    Raises:
        InputError: there is none, an unknown one, or one that is named twice.
    """
    known = get_args(Precision)
    for word in words:
        if word not in known:
            raise InputError(f"unknown precision {word!r}", fix=f"some of {', '.join(known)}", field="precisions")
    if not words or len(set(words)) < len(words):
        raise InputError(
            f"`precisions` must name each precision once, got {','.join(words) or 'none'}",
            fix=f"some of {', '.join(known)}, for example `precisions=('fp32', 'fp16')`",
            field="precisions",
        )
    return tuple(words)  # type: ignore[arg-type]  # each was looked up


def need_calibration(precisions: Iterable[Precision]) -> bool:
    """Return whether any of these precisions needs calibration images."""
    return any(PRECISIONS[precision].needs_calibration for precision in precisions)


def require_calibration(precisions: Iterable[Precision], images: object | None) -> None:
    """Refuse a request for INT8 without `images` to calibrate on.

    Raises:
        InputError: there are none.
    """
    if images is None and need_calibration(precisions):
        raise InputError(
            "int8 needs images to calibrate on",
            fix="name a folder or digits as `calibration`, or `calibration='synthetic'` for latency only",
            field="calibration",
        )
