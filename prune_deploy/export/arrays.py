"""Type aliases for tensors as arrays and for their ranges."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

Range = tuple[float, float]
"""Least and largest value of a tensor."""
