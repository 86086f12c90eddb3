"""Multiplications of a layer from its shapes, without padding."""

from __future__ import annotations

import math

_LINEAR_DIMENSIONS = 2


def product_macs(output: tuple[int, ...], weight: tuple[int, ...]) -> int | None:
    """Return the MACs of a convolution or matrix product.

    They are those of the whole batch. `output` is (batch, channels, height, width) beside a convolution's `weight` (outputs,
    inputs per group, height, width), or (…, outputs) beside a matrix (outputs, inputs). The result is None where a shape is
    unknown.
    """
    if not output or not weight:
        return None
    if len(weight) == _LINEAR_DIMENSIONS:
        return math.prod(output[:-1]) * math.prod(weight)
    return output[0] * math.prod(output[2:]) * math.prod(weight)
