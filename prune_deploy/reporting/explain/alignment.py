"""Numbers of channels that fit a runtime's kernels, and padding.

A float convolution of ONNX Runtime on a CPU runs in the blocked layout NCHWc. Blocks have 16 channels where the processor has AVX-512F
and 8 on every other x86-64. It leaves this layout for im2col and a matrix product where its inputs are at least one block and no
multiple of 4. Inside, inputs and outputs are padded to whole blocks. Grouped convolutions need whole blocks per group, depthwise ones a
multiple of 4, pooling whole blocks. Sources: onnxruntime/core/optimizer/nchwc_transformer.cc and core/mlas/lib/platform.cpp, tried out
on 1.31.1.

GPU kernels read vectors of 16 bytes, or tiles of tensor cores: 4 channels in FP32 and TF32, 8 in half precision, 32 in INT8 (NVIDIA,
TensorRT performance guide).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from prune_deploy.reporting.figures.sentence import Sentence, sentence
from prune_deploy.specs import PRECISIONS, Case, parse_precisions

_MATRIX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Channels per block of a runtime's kernels, to which they pad.

    Input channels must be a multiple of `inputs_multiple` to have such a kernel at all. `has_blocked` tells that there is another, slower
    kind of kernel, which the trace would name. `pads_matrices` tells that matrix products are padded too.
    """

    block: int
    kernels: str
    inputs_multiple: int = 1
    has_blocked: bool = False
    pads_matrices: bool = False

    def padding(self, weight_shape: tuple[int, ...]) -> float:
        """Return MACs computed over MACs needed.

        It is 1 without waste. `weight_shape` is (outputs, inputs per group, *kernel), or a matrix's.
        """
        if len(weight_shape) < _MATRIX or (len(weight_shape) == _MATRIX and not self.pads_matrices):
            return 1.0
        outputs, inputs = weight_shape[:2]
        # Fewer inputs than a block are read as they lie: the first layer's three, and the one of a depthwise convolution.
        return self._padded(outputs) / outputs * (self._padded(inputs) / inputs if inputs >= self.block else 1.0)

    def misfit(self, weight_shape: tuple[int, ...], *, grouped: bool = False) -> Sentence | None:
        """Say why a convolution's channels keep it from a blocked kernel.

        None if they do not. One input channel is a depthwise convolution's.
        """
        outputs, inputs = weight_shape[:2]
        if grouped and inputs > 1:
            return None if self.fits(inputs) else sentence("channels-per-group", count=inputs, multiple=self.block)
        if inputs == 1:
            return sentence("channels", count=outputs, multiple=self.inputs_multiple) if outputs % self.inputs_multiple else None
        # Fewer than a block are read as they lie.
        misfits = inputs >= self.block and inputs % self.inputs_multiple
        return sentence("input-channels", count=inputs, multiple=self.inputs_multiple) if misfits else None

    def fits(self, channels: int) -> bool:
        """Return whether these are whole blocks."""
        return channels % self.block == 0

    def _padded(self, channels: int) -> int:
        return -(-channels // self.block) * self.block


def alignment_of(case: Case, cpu_flags: Collection[str]) -> Alignment | None:
    """Return the rule for a case, or None where none is known.

    `cpu_flags` are those of /proc/cpuinfo.
    """
    if case.options.device == "cuda" or case.backend.startswith("trt"):
        row = PRECISIONS[parse_precisions((case.precision,))[0]]
        kernels = f"{row.label} tensor cores" if row.bits < 32 else "the GPU's vectorised kernels"
        return Alignment(block=row.gpu_channel_multiple, kernels=kernels, pads_matrices=True)
    if case.precision != "fp32" or "sse2" not in cpu_flags:
        return None
    block = 16 if "avx512f" in cpu_flags else 8
    if case.backend == "ort":
        return Alignment(block=block, inputs_multiple=4, kernels="ONNX Runtime's blocked kernels (NCHWc)", has_blocked=True)
    if case.backend in ("eager", "compile"):
        return Alignment(block=block, kernels="oneDNN's blocked kernels")
    return None
