"""From logits to classes, the same everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np


def classes_of(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the class of each image, shape (images,).

    `logits` have shape (images, classes). It is the first of the largest. Of a single logit it is 1 where that is positive, else 0.
    """
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.int64)
    best: np.ndarray[Any, np.dtype[np.int64]] = logits.argmax(axis=1)
    return best
