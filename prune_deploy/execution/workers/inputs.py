"""Inputs to time a model on, made without torch.

A worker imports its own runtime and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from prune_deploy.specs import InputKind

_COARSE = 7


def make_inputs(kind: InputKind, shape: tuple[int, int, int, int], seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Make seeded inputs, shape (batch, channels, height, width), float32.

    "images" are smooth random fields with a tint and a little noise, of about zero mean and unit variance. "normal" and "uniform"
    (0 to 1) are noise. "zeros" flip the fewest bits, which lets a power-limited GPU clock higher than real data would.
    """
    generator = np.random.default_rng(seed)
    if kind == "zeros":
        return np.zeros(shape, np.float32)
    if kind == "uniform":
        return generator.random(shape, dtype=np.float32)
    noise = generator.standard_normal(shape, dtype=np.float32)
    if kind == "normal":
        return noise
    batch, channels, height, width = shape
    coarse = generator.standard_normal((batch, channels, _COARSE, _COARSE), dtype=np.float32)
    tint = generator.standard_normal((batch, channels, 1, 1), dtype=np.float32)
    images: np.ndarray[Any, np.dtype[np.float32]] = _resizing(height) @ coarse @ _resizing(width).T
    images += np.float32(0.6) * tint
    images += np.float32(0.3) * noise
    return images


def _resizing(size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the matrix that interpolates linearly between coarse values.

    Its shape is (size, 7).
    """
    positions = np.linspace(0, _COARSE - 1, size)
    columns = [np.interp(positions, np.arange(_COARSE), unit) for unit in np.eye(_COARSE)]
    return np.stack(columns, axis=1).astype(np.float32)
