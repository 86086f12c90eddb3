"""FP16 and BF16 as numbers: rounding FP32 constants without losing their sign, their finiteness or that they are not zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import onnx

Array = np.ndarray[Any, Any]

_WITHOUT_SIGN = np.uint16(0x7FFF)


class Rounded(NamedTuple):
    """Values in half precision, and how many of them were too large for the type, and how many too small to be more than zero."""

    values: Array
    clipped: int
    lifted: int


@dataclass(frozen=True, slots=True)
class HalfType:
    """A type of 16 bits: our name, ONNX's number, numpy's type, and the bits of infinity, one above those of the largest number."""

    name: str
    code: int
    dtype: Any
    infinity: int

    @property
    def schema(self) -> str:
        """As ONNX writes the type of a tensor: "tensor(float16)"."""
        return "tensor(float16)" if self.name == "fp16" else "tensor(bfloat16)"

    def round(self, values: Array) -> Rounded:
        """FP32 `values` to the nearest number of this type, of the same shape; infinities and NaN stay what they are.

        A finite number does not become infinite but the largest finite one (an attention mask of -1e9 times zero would be NaN), and one
        that is not zero does not become zero but the smallest number (an epsilon is there to be divided by).
        """
        with np.errstate(over="ignore", under="ignore"):
            half = values.astype(self.dtype)
        bits = half.view(np.uint16)
        size = bits & _WITHOUT_SIGN
        over = (size == self.infinity) & np.isfinite(values)
        under = (size == 0) & (values != 0)
        clipped, lifted = int(over.sum()), int(under.sum())
        if clipped:
            bits[over] -= np.uint16(1)
        if lifted:
            bits[under] += np.uint16(1)
        return Rounded(half, clipped, lifted)


FP16 = HalfType("fp16", onnx.TensorProto.FLOAT16, np.float16, 0x7C00)
BF16 = HalfType("bf16", onnx.TensorProto.BFLOAT16, ml_dtypes.bfloat16, 0x7F80)
