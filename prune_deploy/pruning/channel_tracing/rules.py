"""Rules that define what each operation does to labels.

`RULES` maps an ATen operation's name to its rule. An operation that is not listed pins its inputs. A rule gets the state, the
operation's arguments and its output (a tensor or a tuple of them), and returns the outputs' axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from prune_deploy.pruning.channel_tracing import contraction, movement
from prune_deploy.pruning.channel_tracing.classes import Axes
from prune_deploy.pruning.channel_tracing.state import Rule, State, positive, tensors_in


def pointwise(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    """Return the axes of an operation that works position by position."""
    operands = [state.operand(t) for t in tensors_in(args)]
    return [contraction.elementwise(state.classes, operands, out.dim())]


def _same(state: State, args: Sequence[Any], _out: Any) -> list[Axes]:
    return [dict(state.axes(args[0]))]


def _spatial(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    """Return the axes of pooling, padding and resizing.

    Only the last axes change, and those carry no channels.
    """
    before, after = tuple(args[0].shape), tuple((out[0] if isinstance(out, (tuple, list)) else out).shape)
    kept: Axes = {}
    for axis, labels in state.axes(args[0]).items():
        if axis >= len(before) - 2 and len(before) > 2:
            state.classes.pin(labels, "a window moves over it")
        elif before[axis] == after[axis]:
            kept[axis] = labels
    return [kept, kept]


def _reduce(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    """Return the axes of sums, means and norms.

    Axes that are summed over are gone. Fewer channels only make the sum shorter.
    """
    results = out if isinstance(out, (tuple, list)) else (out,)
    dims, kept = args[0].dim(), results[0].dim() == args[0].dim()
    named: Sequence[int] = next((a for a in args[1:] if isinstance(a, (list, tuple))), ())
    if not named:
        # Some name one axis by a number. The whole tensor is reduced where none is named.
        named = [args[1]] if len(args) > 1 and isinstance(args[1], int) and results[0].dim() else range(dims)
    gone = {positive(axis, dims) for axis in named}
    axes = {a: v for a, v in state.axes(args[0]).items() if a not in gone}
    return [axes if kept else {a - sum(g < a for g in gone): v for a, v in axes.items()}] * len(results)


def _product(state: State, args: Sequence[Any], out: Any) -> list[Axes]:
    *bias, a, b = args[:3] if len(args) > 2 else args
    axes = contraction.product(state.classes, state.operand(a), state.operand(b))
    if bias:
        axes = contraction.elementwise(state.classes, [(axes, tuple(out.shape)), state.operand(bias[0])], out.dim())
    return [axes]


def _convolution(state: State, args: Sequence[Any], _out: Any) -> list[Axes]:
    x, weight, bias = args[:3]
    operands = (state.operand(x), state.operand(weight))
    return [contraction.convolution(state.classes, *operands, state.axes(bias), args[8], args[6])]


def _channel_norm(state: State, args: Sequence[Any], _out: Any) -> list[Axes]:
    axes, shape = state.operand(args[0])
    contraction.norm(state.classes, axes, shape, 1, *(state.operand(t) for t in args[1:5] if isinstance(t, torch.Tensor)))
    return [dict(axes), {}, {}]


def _layer_norm(state: State, args: Sequence[Any], _out: Any) -> list[Axes]:
    axes, shape = state.operand(args[0])
    count = len(args[1])
    ahead = len(shape) - count
    normalized = ({axis - ahead: labels for axis, labels in axes.items() if axis >= ahead}, shape[ahead:])
    for tensor in args[2:4]:
        if isinstance(tensor, torch.Tensor):
            contraction.elementwise(state.classes, [state.operand(tensor), normalized], count)
    return [dict(axes), {}, {}]


def _group_norm(state: State, args: Sequence[Any], _out: Any) -> list[Axes]:
    axes, shape = state.operand(args[0])
    contraction.norm(state.classes, axes, shape, 1, *(state.operand(t) for t in args[1:3] if isinstance(t, torch.Tensor)))
    if 1 in axes and args[6] > 1:
        contraction.equal_blocks(state.classes, axes[1], shape[1] // args[6])
    return [dict(axes), {}, {}]


def _rules(table: dict[Rule, str]) -> dict[str, Rule]:
    return {name: rule for rule, names in table.items() for name in names.split()}


RULES: dict[str, Rule] = _rules(
    {
        _same: "clone _to_copy detach alias contiguous lift_fresh _softmax _safe_softmax _log_softmax"
        " as_strided_ dropout native_dropout",
        _spatial: "avg_pool2d max_pool2d_with_indices _adaptive_avg_pool2d adaptive_max_pool2d "
        "reflection_pad2d replication_pad2d "
        "upsample_bilinear2d upsample_nearest2d upsample_bicubic2d _upsample_bicubic2d_aa _upsample_bilinear2d_aa avg_pool1d",
        movement.view: "view _unsafe_view reshape squeeze _reshape_alias",
        movement.permute: "permute",
        movement.transpose: "transpose t",
        movement.unsqueeze: "unsqueeze",
        movement.expand: "expand",
        movement.repeat: "repeat",
        movement.slice_of: "slice",
        movement.select: "select",
        movement.unbind: "unbind",
        movement.split: "split split_with_sizes",
        movement.gated: "glu",
        movement.cat: "cat",
        movement.stack: "stack",
        _reduce: "mean sum amax amin linalg_vector_norm var std var_mean norm",
        movement.pad: "constant_pad_nd",
        movement.roll: "roll",
        movement.lookup: "index",
        _product: "mm bmm addmm baddbmm",
        _convolution: "convolution",
        _channel_norm: "native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm",
        _layer_norm: "native_layer_norm",
        _group_norm: "native_group_norm",
        pointwise: "copy_ where hardswish hardswish_ hardsigmoid hardsigmoid_ hardtanh hardtanh_ leaky_relu leaky_relu_ "
        "silu silu_ relu relu_ gelu elu elu_ mish softplus sigmoid tanh prelu _prelu_kernel threshold",
    }
)


def apply_rule(state: State, function: Any, args: Sequence[Any], out: Any) -> list[Axes]:
    """Return the axes of an operation's outputs."""
    rule = RULES.get(function.overloadpacket.__name__)
    if rule is None:
        rule = pointwise if torch.Tag.pointwise in function.tags else movement.unknown
    return rule(state, args, out)
