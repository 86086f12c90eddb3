"""Classes of labels: a union-find over channel positions, with pins.

A pinned class must stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Axes = dict[int, Labels]
"""Axis of a tensor → one label per position.

Axes without channels are absent.
"""


class Classes:
    """Classes of labels that stand for the same channel, some pinned.

    The channels of a pinned class cannot be removed.
    """

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._pinned: dict[int, str] = {}

    def fresh(self, count: int) -> Labels:
        """Return `count` new labels, each a class of its own."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count, dtype=np.int64)

    def find(self, label: int) -> int:
        """Return the representative of a label's class."""
        parent, root = self._parent, label
        while parent[root] != root:
            root = parent[root]
        while parent[label] != root:
            parent[label], label = root, parent[label]
        return root

    def roots(self) -> Labels:
        """Return the representative of every label."""
        # Jumping to the parent's parent halves the path each time, for all labels at once.
        representatives = np.array(self._parent, dtype=np.int64)
        while not np.array_equal(above := representatives[representatives], representatives):
            representatives = above
        return representatives

    def unite(self, first: NDArray[Any], second: NDArray[Any]) -> None:
        """Unite labels at equal places (after broadcasting) into the same class."""
        if first is second:
            return
        first, second = np.broadcast_arrays(first, second)
        different = first != second
        if not different.any():
            return
        # Both labels in one number, so that each pair is united once.
        pairs = np.unique(first[different] << 32 | second[different])
        parent, find = self._parent, self.find
        for a, b in zip((pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist(), strict=True):
            one, other = find(a), find(b)
            if one == other:
                continue
            low, high = (one, other) if one < other else (other, one)
            parent[high] = low
            if high in self._pinned:
                self._pinned.setdefault(low, self._pinned[high])

    def pin(self, labels: Labels, reason: str) -> None:
        """Pin these labels: their channels stay, for `reason`."""
        for label in np.unique(labels).tolist():
            self._pinned.setdefault(self.find(label), reason)

    def free(self, labels: Labels) -> bool:
        """Return whether any of these labels' channels may be removed."""
        return any(self.find(label) not in self._pinned for label in labels.tolist())

    def pinned(self, root: int) -> str:
        """Return why a class stays, or an empty text."""
        return self._pinned.get(root, "")
