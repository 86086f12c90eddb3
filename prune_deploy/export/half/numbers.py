"""Rounding of FP32 constants to FP16 and BF16.

A rounded constant keeps its sign, stays finite if it was, and becomes zero only if it was zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx

from prune_deploy.export.arrays import Array
from prune_deploy.specs import PRECISIONS, Precision

_WITHOUT_SIGN = np.uint16(0x7FFF)


class Rounded(NamedTuple):
    """Values in half precision, and counts of the adjusted ones.

    `clipped` counts values that were too large for the type, `lifted` those that would have become zero.
    """

    values: Array
    clipped: int
    lifted: int


@dataclass(frozen=True, slots=True)
class HalfType:
    """A type of 16 bits, described for numpy and for ONNX.

    `name` is our name, `code` ONNX's number, `dtype` numpy's type and `schema` ONNX's name of its tensors. `infinity` has the
    bits of infinity, which are one above those of the largest number.
    """

    name: Precision
    code: int
    dtype: Any
    schema: str
    infinity: int

    @classmethod
    def of(cls, precision: Precision) -> HalfType:
        """Return the type of a precision of 16 bits."""
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
        """Round FP32 `values` to the nearest number of this type, shape unchanged.

        Infinities and NaN stay what they are. A finite number becomes at most the largest finite one, because an attention mask
        of -1e9 times zero would otherwise be NaN. A number other than zero becomes at least the smallest one, because an epsilon
        is there to be divided by.
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
