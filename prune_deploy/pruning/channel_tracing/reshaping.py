"""Labels through a change of shape, from old axes to new ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from prune_deploy.pruning.channel_tracing.classes import Axes, Classes, Labels


def reshaped(classes: Classes, axes: Axes, old: Sequence[int], new: Sequence[int]) -> Axes:
    """Return the labels of a tensor viewed as another shape.

    The shapes are `old` and `new`. An axis that is split keeps its labels on the last part that varies, such as a head's width.
    The other parts, such as heads, are then blocks that must lose equal positions, or the tensor would not stay rectangular.
    """
    result: Axes = {}
    for before, after in _segments(old, new):
        carried = {axis: axes[axis] for axis in before if axis in axes}
        if len(carried) > 1:
            carried = {axis: labels for axis, labels in carried.items() if classes.free(labels)}
        if not carried:
            continue
        if len(carried) > 1:
            # Two axes of channels become one: each position belongs to two channels. No layer reads such an axis as channels.
            for labels in carried.values():
                classes.pin(labels, "two axes of channels are flattened into one")
        axis, labels = next(iter(carried.items()))
        result.update(_through(classes, labels, before.index(axis), [old[i] for i in before], after, [new[i] for i in after]))
    return result


def _through(classes: Classes, labels: Labels, place: int, old: Sequence[int], after: Sequence[int], new: Sequence[int]) -> Axes:
    """Pass one labelled axis through a segment.

    It is number `place` of the sizes `old`. `after` are the new axes' numbers.
    """
    shape = [1] * len(old)
    shape[place] = old[place]
    full = np.broadcast_to(labels.reshape(shape), old).reshape(new)
    varying = [i for i in range(len(new)) if new[i] > 1 and bool((full != full.take([0], axis=i)).any())]
    if not varying:
        classes.pin(labels, "a single channel is taken")
        return {}
    along = varying[-1]
    first = full
    for axis in range(len(new)):
        if axis != along:
            first = first.take([0], axis=axis)
    if len(varying) > 1:
        classes.unite(full, first)
    return {after[along]: np.ascontiguousarray(first.reshape(-1))}


def _segments(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the smallest runs of axes that hold the same elements.

    Each is a run of old axes and one of new axes.
    """
    i = j = 0
    while i < len(old) or j < len(new):
        before, after = [], []
        left = right = 1
        if i < len(old):
            before.append(i)
            left, i = old[i], i + 1
        if j < len(new):
            after.append(j)
            right, j = new[j], j + 1
        while left != right:
            if left < right and i < len(old):
                before.append(i)
                left, i = left * old[i], i + 1
            elif j < len(new):
                after.append(j)
                right, j = right * new[j], j + 1
            else:
                break
        yield before, after
    assert math.prod(old) == math.prod(new), f"a view of {tuple(old)} as {tuple(new)}"
