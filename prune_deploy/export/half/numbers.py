"""FP16 and BF16 as numbers: rounding FP32 constants without losing their sign, their finiteness or that they are not zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx

from prune_deploy.specs import PRECISIONS, Precision

Array = np.ndarray[Any, Any]

_WITHOUT_SIGN = np.uint16(0x7FFF)


class Rounded(NamedTuple):
    """Values in half precision, and how many of them were too large for the type, and how many too small to be more than zero."""

    values: Array
    clipped: int
    lifted: int


@dataclass(frozen=True, slots=True)
class HalfType:
    """A type of 16 bits: our name, ONNX's number, numpy's type, ONNX's name of its tensors, and the bits of infinity.

    The bits of infinity are one above those of the largest number.
    """

    name: Precision
    code: int
    dtype: Any
    schema: str
    infinity: int

    @classmethod
    def of(cls, precision: Precision) -> HalfType:
        """The type of a precision of 16 bits."""
        row = PRECISIONS[precision]
        dtype = np.dtype(row.array_type)
        return cls(
            name=precision,
            code=onnx.TensorProto.DataType.Value(row.onnx_type),
            dtype=dtype,
            schema=f"tensor({row.array_type})",
            infinity=int(np.array(np.inf, dtype).view(np.uint16)),
        )

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
