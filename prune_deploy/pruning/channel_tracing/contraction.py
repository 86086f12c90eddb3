"""Labels through matrix products, convolutions and norms.

There channels end and others begin.
"""

from __future__ import annotations

from prune_deploy.pruning.channel_tracing.classes import Axes, Classes, Labels

_UNREAD = "its channels meet numbers that do not follow them"


def matched(classes: Classes, pairs: list[tuple[Labels | None, bool]], why: str = _UNREAD) -> Labels | None:
    """Unite the labels of one axis that several tensors share.

    Each pair is (labels, whether the tensor spans the axis with more than one position).
    """
    labelled = [labels for labels, _ in pairs if labels is not None]
    if not labelled:
        return None
    first = labelled[0]
    for other in labelled[1:]:
        classes.unite(first, other)
    if any(spans and labels is None for labels, spans in pairs):
        classes.pin(first, why)
        return None  # from here on it is an ordinary axis
    return first


def elementwise(classes: Classes, operands: list[tuple[Axes, tuple[int, ...]]], dims: int) -> Axes:
    """Return the axes of tensors that are combined position by position.

    They are broadcast into one tensor of `dims` axes.
    """
    result: Axes = {}
    for axis in range(dims):
        pairs = []
        for axes, shape in operands:
            own = axis - dims + len(shape)
            if own >= 0 and shape[own] > 1:
                pairs.append((axes.get(own), True))
        labels = matched(classes, pairs)
        if labels is not None:
            result[axis] = labels
    return result


def product(classes: Classes, a: tuple[Axes, tuple[int, ...]], b: tuple[Axes, tuple[int, ...]]) -> Axes:
    """Return the axes of a matrix product.

    For (..., n, k) times (..., k, m) the k axes are the same channels, n and m stay, and leading axes are matched.
    """
    (left, left_shape), (right, right_shape) = a, b
    dims = len(left_shape)
    matched(
        classes,
        [(left.get(dims - 1), left_shape[-1] > 1), (right.get(dims - 2), right_shape[-2] > 1)],
        "a matrix product sums over it with numbers that do not follow it",
    )
    result = {axis: labels for axis, labels in left.items() if axis == dims - 2}
    result |= {axis: labels for axis, labels in right.items() if axis == dims - 1}
    for axis in range(dims - 2):
        labels = matched(classes, [(left.get(axis), left_shape[axis] > 1), (right.get(axis), right_shape[axis] > 1)])
        if labels is not None:
            result[axis] = labels
    return result


def convolution(
    classes: Classes,
    x: tuple[Axes, tuple[int, ...]],
    weight: tuple[Axes, tuple[int, ...]],
    bias: Axes,
    groups: int,
    transposed: bool,
) -> Axes:
    """Return the axes of a convolution's output.

    Its input channels are its weight's second axis, block by block. Its outputs are the weight's first.
    """
    (inputs, shape), (kernel, sizes) = x, weight
    into, out = (kernel.get(0), kernel.get(1)) if transposed else (kernel.get(1), kernel.get(0))
    for axis, labels in inputs.items():
        if axis > 1:
            classes.pin(labels, "a convolution moves over it")
    if transposed and groups > 1:
        for known in (into, out, inputs.get(1)):
            if known is not None:
                classes.pin(known, "a transposed convolution in blocks")
    elif groups == 1:
        read = [(inputs.get(1), shape[1] > 1), (into, sizes[0 if transposed else 1] > 1)]
        matched(classes, read, "a convolution reads a fixed number of channels")
    else:
        _blocks(classes, inputs.get(1), into, out, groups)
    if out is not None and 0 in bias:
        classes.unite(out, bias[0])
    return {1: out} if out is not None else {}


def _blocks(classes: Classes, inputs: Labels | None, into: Labels | None, out: Labels | None, groups: int) -> None:
    """Unite the labels of a grouped convolution.

    Depthwise channels are removed one by one. Real blocks lose equal positions on both sides.
    """
    if into is None:  # one input channel per block: outputs follow it
        if inputs is None or out is None:
            for labels in (inputs, out):
                if labels is not None:
                    classes.pin(labels, "a grouped convolution reads a fixed number of channels")
            return
        classes.unite(out.reshape(groups, -1), inputs.reshape(groups, 1))
        return
    if inputs is None:
        classes.pin(into, "a grouped convolution reads a fixed number of channels")
    else:
        classes.unite(inputs.reshape(groups, -1), into.reshape(1, -1))
    if out is not None:
        outputs = out.reshape(groups, -1)
        classes.unite(outputs, outputs[:1])


def norm(classes: Classes, x: Axes, shape: tuple[int, ...], axis: int, *others: tuple[Axes, tuple[int, ...]]) -> None:
    """Unite a norm's scales, offsets and statistics with the normalised axis.

    They have one axis each. `axis` is that of the normalised tensor.
    """
    pairs = [(x.get(axis), shape[axis] > 1)]
    pairs += [(axes.get(0), sizes[0] > 1) for axes, sizes in others]
    matched(classes, pairs, "a norm over a fixed number of channels")


def equal_blocks(classes: Classes, labels: Labels, size: int) -> None:
    """Unite the blocks of `size` positions that an axis is cut into.

    All must lose equal positions, or they would become unequal. The last block may be shorter. Positions that it lacks stay, so
    that cutting the remaining axis into as many pieces finds the same borders.
    """
    if size == 1:
        classes.pin(labels, "its channels are told apart by number")
        return
    for start in range(size, len(labels), size):
        block = labels[start : start + size]
        classes.unite(labels[: len(block)], block)
    if rest := len(labels) % size:
        classes.pin(labels[rest:size], "the last of its blocks is shorter")
