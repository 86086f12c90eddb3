"""Rules of operations that move labels and change none.

These are views, splits, concatenations and selections by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from prune_deploy.pruning.channel_tracing import contraction
from prune_deploy.pruning.channel_tracing.classes import Axes
from prune_deploy.pruning.channel_tracing.reshaping import reshaped
from prune_deploy.pruning.channel_tracing.state import State, positive, tensors_in


def view(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    return [reshaped(state.classes, state.axes(args[0]), tuple(args[0].shape), tuple(out.shape))]


def permute(state: State, args: Sequence[Any], _out: Any) -> list[Axes]:
    dims = args[0].dim()
    order = [positive(axis, dims) for axis in args[1]]
    return [{order.index(axis): labels for axis, labels in state.axes(args[0]).items()}]


def transpose(state: State, args: Sequence[Any], _out: Any) -> list[Axes]:
    dims = args[0].dim()
    a, b = (positive(args[1], dims), positive(args[2], dims)) if len(args) > 2 else (0, dims - 1)
    swap = {a: b, b: a}
    return [{swap.get(axis, axis): labels for axis, labels in state.axes(args[0]).items()}]


def unsqueeze(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    new = positive(args[1], out.dim())
    return [{axis + (axis >= new): labels for axis, labels in state.axes(args[0]).items()}]


def expand(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    shift = out.dim() - args[0].dim()
    return [{axis + shift: labels for axis, labels in state.axes(args[0]).items()}]


def repeat(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    shift = out.dim() - args[0].dim()
    return [{axis + shift: np.tile(labels, args[1][axis + shift]) for axis, labels in state.axes(args[0]).items()}]


def slice_of(state: State, args: Sequence[Any], _out: Any) -> list[Axes]:
    # Defaults: the first axis, from its beginning to its end, each position.
    given = dict(enumerate(args[1:]))
    axis, part = given.get(0, 0), slice(given.get(1), given.get(2), given.get(3, 1))
    return [_taken(state, args[0], positive(axis, args[0].dim()), part)]


def _taken(state: State, tensor: torch.Tensor, axis: int, part: slice) -> Axes:
    axes = dict(state.axes(tensor))
    if axis in axes:
        labels = axes[axis][part]
        if len(labels) > 1:
            axes[axis] = labels
        else:
            state.classes.pin(labels, "a single channel is taken")
            del axes[axis]
    return axes


def select(state: State, args: Sequence[Any], _out: Any) -> list[Axes]:
    gone = positive(args[1], args[0].dim())
    axes = state.axes(args[0])
    if gone in axes:
        state.classes.pin(axes[gone], "a single channel is taken")
    return [{axis - (axis > gone): labels for axis, labels in axes.items() if axis != gone}]


def unbind(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    (axes,) = select(state, (args[0], args[1] if len(args) > 1 else 0), out)
    return [axes] * len(out)


def split(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    axis = positive(args[2] if len(args) > 2 else 0, args[0].dim())
    sizes = [part.shape[axis] for part in out]
    labels = state.axes(args[0]).get(axis)
    if labels is not None and (isinstance(args[1], int) or len(set(sizes)) == 1):
        contraction.equal_blocks(state.classes, labels, sizes[0])
    starts = np.cumsum([0, *sizes])
    return [_taken(state, args[0], axis, slice(int(a), int(b))) for a, b in pairwise(starts)]


def gated(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    """Unite the halves of an axis, one of which gates the other.

    Both lose equal positions.
    """
    axis = positive(args[1] if len(args) > 1 else -1, args[0].dim())
    result = dict(state.axes(args[0]))
    if axis in result:
        contraction.equal_blocks(state.classes, result[axis], out.shape[axis])
        result[axis] = result[axis][: out.shape[axis]]
    return [result]


def cat(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    tensors = [t for t in args[0] if t.numel() or t.dim() == out.dim()]
    axis = positive(args[1] if len(args) > 1 else 0, out.dim())
    others = [
        ({a: v for a, v in state.axes(t).items() if a != axis}, (*t.shape[:axis], 1, *t.shape[axis + 1 :])) for t in tensors
    ]
    result = contraction.elementwise(state.classes, others, out.dim())
    if any(axis in state.axes(t) for t in tensors):
        result[axis] = np.concatenate([_labels_or_pinned(state, t, axis) for t in tensors])
    return [result]


def _labels_or_pinned(state: State, tensor: torch.Tensor, axis: int) -> Any:
    labels = state.axes(tensor).get(axis)
    if labels is None:
        labels = state.classes.fresh(tensor.shape[axis])
        state.classes.pin(labels, "it stands beside channels but is none")
    return labels


def stack(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    new = positive(args[1] if len(args) > 1 else 0, out.dim())
    axes = contraction.elementwise(state.classes, [state.operand(t) for t in args[0]], out.dim() - 1)
    return [{axis + (axis >= new): labels for axis, labels in axes.items()}]


def pad(state: State, args: Sequence[Any], _out: Any) -> list[Axes]:
    """Pin padded positions and cropped axes.

    Added positions are no channels, so they stay. Cropping selects channels by number.
    """
    result = dict(state.axes(args[0]))
    for number in range(len(args[1]) // 2):
        axis, (before, after) = args[0].dim() - 1 - number, args[1][2 * number : 2 * number + 2]
        if axis in result and (before < 0 or after < 0):
            state.classes.pin(result.pop(axis), "it is cropped to a fixed size")
        elif axis in result and (before or after):
            added = state.classes.fresh(before + after)
            state.classes.pin(added, "it is padded")
            result[axis] = np.concatenate([added[:before], result[axis], added[before:]])
    return [result]


def roll(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    result = dict(state.axes(args[0]))
    for shift, axis in zip(args[1], args[2] if len(args) > 2 else [], strict=False):
        if (at := positive(axis, out.dim())) in result:
            result[at] = np.roll(result[at], shift)
    return [result]


def lookup(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    """Pin the axis in which x[:, index] looks up positions."""
    places = [i for i, index in enumerate(args[1]) if index is not None]
    axes = state.axes(args[0])
    if len(places) != 1:
        return unknown(state, args, out)
    (place,) = places
    if place in axes:
        state.classes.pin(axes[place], "its positions are looked up by number")
    shift = args[1][place].dim() - 1
    return [{axis + (shift if axis > place else 0): labels for axis, labels in axes.items() if axis != place}]


def unknown(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    """Pin every input of an operation without a rule."""
    for tensor in tensors_in(args):
        for labels in state.axes(tensor).values():
            state.classes.pin(labels, "an operation whose effect on channels is not known reads it")
    return [{}] * (len(out) if isinstance(out, (tuple, list)) else 1)
