"""Adapter to DepGraph, which finds the channels that must be removed together.

Source: Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023 (arXiv 2301.12900), as implemented in torch-pruning
1.6.1.

The graph is traced on the meta copy, and every group is enumerated once on the dense model. Everything after that (choosing,
trying out, cutting) works with names and dense channel numbers. So a plan costs no weights, and one group's cut cannot disturb
the index mapping of the next.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch_pruning as tp
from torch import nn
from torch_pruning.dependency import Group as DepGroup
from torch_pruning.dependency.index_mapping import _FlattenIndexMapping

from prune_deploy.errors import PruningError
from prune_deploy.pruning.groups import families
from prune_deploy.pruning.groups.channel_group import ChannelGroup, Member
from prune_deploy.pruning.groups.deadline import time_limit
from prune_deploy.pruning.groups.residual import is_on_cycle, names_added_to
from prune_deploy.tensors import output_tensors

DEFAULT_TIME_LIMIT_S = 60.0
READING_ERRORS = (
    RuntimeError,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    RecursionError,
    ArithmeticError,
)
"""Errors that analysing an unsupported model may raise."""
_MOST_SPREADS = 12
_ROOTS = (tp.ops.TORCH_CONV, tp.ops.TORCH_LINEAR)


@dataclass(slots=True)
class _Tracer:
    """Traced dependency graph, with the lookups needed to extract its groups."""

    model: nn.Module
    graph: tp.DependencyGraph
    attention: dict[nn.Module, families.AttentionLayout] = field(default_factory=dict)
    names: dict[Any, str] = field(default_factory=dict)


def trace_groups(
    meta_copy: nn.Module, example: torch.Tensor, *, limit_s: float = DEFAULT_TIME_LIMIT_S
) -> tuple[ChannelGroup, ...]:
    """Return all dependency groups of a model on the meta device.

    They are in model order. `example` has shape (batch, channels, height, width) and lives on the meta copy's device.

    Raises:
        PruningError: the graph cannot be built, or building it takes longer than `limit_s` seconds.
    """
    name = type(meta_copy).__name__
    try:
        with time_limit(limit_s), _quiet():
            tracer = _trace(meta_copy, example)
            return tuple(_mark_residual(list(_enumerate(tracer)), tracer))
    except TimeoutError:
        raise PruningError(
            f"building the dependency graph of {name} did not end within {limit_s:g} s",
            fix="torch-pruning cannot list this architecture's groups in time; raise `graph_limit_s`, or choose another model",
        ) from None
    except READING_ERRORS as error:
        raise PruningError(
            f"the dependency graph of {name} cannot be built: {first_line(error)}",
            fix="torch-pruning does not understand this architecture; choose another model or export it with `prune=None`",
        ) from error


def first_line(error: BaseException) -> str:
    """Return an exception in one line.

    It is the exception's type where it has no text.
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # torch-pruning warns about every bare parameter it finds. The receipt names them as group members instead.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _trace(meta_copy: nn.Module, example: torch.Tensor) -> _Tracer:
    graph = tp.DependencyGraph()
    graph.build_dependency(
        meta_copy,
        example_inputs=example,
        # Without it, torch-pruning first calls model(*example), which splits the batch, and hides every error, a time limit's too.
        forward_fn=lambda model, images: [*output_tensors(model(images)).values()],
        customized_pruners=families.custom_layers(),
        ignored_params=families.parameters_without_channels(meta_copy),
        verbose=False,
    )
    _refuse_explosion(graph)
    names: dict[Any, str] = {module: name for name, module in meta_copy.named_modules()}
    names.update({parameter: name for name, parameter in meta_copy.named_parameters()})
    attention: dict[nn.Module, families.AttentionLayout] = {
        layout.qkv: layout for layout in families.attention_layouts(meta_copy)
    }
    return _Tracer(model=meta_copy, graph=graph, attention=attention, names=names)


def _refuse_explosion(graph: tp.DependencyGraph) -> None:
    """Refuse a graph whose index lists would explode.

    A network is flattened once, if at all. Where torch-pruning takes many reshapes for that, each multiplies its index lists.
    """
    spreads = sum(
        any(isinstance(mapping, _FlattenIndexMapping) for dep in node.dependencies for mapping in dep.index_mapping)
        for node in graph.module2node.values()
    )
    if spreads > _MOST_SPREADS:
        raise ValueError(f"torch-pruning takes {spreads} steps of reshapes for a flattening, and its index lists would explode")


def _enumerate(tracer: _Tracer) -> Iterator[ChannelGroup]:
    seen: set[nn.Module] = set()
    for module in tracer.model.modules():
        if module in seen or module not in tracer.graph.module2node or not _can_be_root(tracer, module):
            continue
        pruner = tracer.graph.get_pruner_of_module(module)
        group = tracer.graph.get_pruning_group(module, pruner.prune_out_channels, list(range(pruner.get_out_channels(module))))
        seen.update(item.dep.target.module for item in group.items if _is_output(tracer, item.dep))
        yield _read_group(tracer, group)


def _can_be_root(tracer: _Tracer, module: nn.Module) -> bool:
    custom = isinstance(module, tuple(families.custom_layers()))
    return custom or (isinstance(module, _ROOTS) and module not in tracer.graph.IGNORED_LAYERS_IN_TRACING)


def _is_output(tracer: _Tracer, dep: Any) -> bool:
    return bool(tracer.graph.is_out_channel_pruning_fn(dep.handler))


def _read_group(tracer: _Tracer, group: DepGroup) -> ChannelGroup:
    """Convert torch-pruning's group into names and numbers.

    Where it contains an attention, it is rooted below that.
    """
    layout, unusable = _attention_of(tracer, group), ""
    if layout is not None:
        rerooted = _reroot_below_attention(tracer, group)
        group, unusable = (rerooted, "") if rerooted is not None else (group, "no layer follows the attention's output")
    members = tuple(_members(tracer, group))
    channels = len(group[0].idxs)
    blocks = math.lcm(*(m.blocks for m in members), layout.heads if layout else 1)
    if layout is not None and not unusable:
        unusable = _check_attention(layout, members, channels)
    unusable = unusable or _beyond_a_layer(tracer, members)
    if channels % blocks:
        unusable = unusable or f"{channels} channels do not divide into {blocks} equal blocks"
    outputs = {m.name for m in members if m.is_output and not m.is_parameter}
    name = next((n for n, _ in tracer.model.named_modules() if n in outputs), members[0].name)
    signature = ";".join(
        f"{type(i.dep.target.module).__name__}:{'out' if _is_output(tracer, i.dep) else 'in'}" for i in group.items
    )
    return ChannelGroup(
        name=name,
        channels=channels,
        members=members,
        blocks=blocks,
        heads=layout.name if layout else None,
        signature=signature,
        unusable=unusable,
    )


def _attention_of(tracer: _Tracer, group: DepGroup) -> families.AttentionLayout | None:
    for item in group.items:
        layout = tracer.attention.get(item.dep.target.module)
        if layout is not None and _is_output(tracer, item.dep):
            return layout
    return None


def _reroot_below_attention(tracer: _Tracer, group: DepGroup) -> DepGroup | None:
    """Return the group counted in the inputs of the layer after attention.

    There, one channel stands for one position of a head. At the fused qkv layer it would stand for query, key or value alone.
    """
    below = None
    for item in group.items:
        if isinstance(item.dep.target.module, _ROOTS) and not _is_output(tracer, item.dep):
            below = item
    if below is None:
        return None
    channels = tracer.graph.get_in_channels(below.dep.target.module)
    return tracer.graph.get_pruning_group(below.dep.target.module, below.dep.handler, list(range(channels)))


def _check_attention(layout: families.AttentionLayout, members: tuple[Member, ...], channels: int) -> str:
    """Return why the index mapping through an attention is wrong, or ""."""
    qkv = next((m for m in members if m.is_output and m.name == f"{layout.name}.qkv".lstrip(".")), None)
    if qkv is None or len(qkv.positions) != layout.qkv.out_features or layout.qkv.out_features != 3 * channels:
        return "the mapping of query, key and value to the layer after the attention is not understood"
    return ""


def _members(tracer: _Tracer, group: DepGroup) -> Iterator[Member]:
    for item in group.items:
        module = item.dep.target.module
        if module not in tracer.names:
            continue  # an operation such as add or reshape: nothing to cut
        is_output = _is_output(tracer, item.dep)
        yield Member(
            name=tracer.names[module],
            handler=item.dep.handler,
            is_output=is_output,
            is_parameter=isinstance(module, nn.Parameter),
            pruning_dim=item.dep.target.pruning_dim,
            blocks=_blocks(tracer, module, is_output),
            positions=_positions(module, item.idxs),
            roots=tuple(item.root_idxs),
        )


def _positions(module: nn.Module | nn.Parameter, indices: list[int]) -> tuple[int, ...]:
    """Return the channels of a layer in its own numbering.

    A norm that heads use in turn appears once per head, side by side.
    """
    if isinstance(module, nn.LayerNorm):
        return tuple(position % module.normalized_shape[-1] for position in indices)
    return tuple(indices)


def _beyond_a_layer(tracer: _Tracer, members: tuple[Member, ...]) -> str:
    """Return why a layer's channels are out of range, or "".

    Gated linear units cause this: they halve channels without torch-pruning noticing.
    """
    for member in members:
        if not member.is_parameter:
            module = tracer.model.get_submodule(member.name)
            graph = tracer.graph
            channels = graph.get_out_channels(module) if member.is_output else graph.get_in_channels(module)
            if channels is not None and max(member.positions) >= channels:
                return f"the mapping of channels to {member.name} is not understood"
    return ""


def _blocks(tracer: _Tracer, module: nn.Module | nn.Parameter, is_output: bool) -> int:
    if isinstance(module, tp.ops.TORCH_CONV) and module.groups == module.out_channels:
        return 1  # depthwise: every channel is a block of its own and goes alone
    if isinstance(module, nn.MultiheadAttention):
        return int(module.num_heads)  # torch-pruning would take channels from any head, and those left would change heads
    pruner = tracer.graph.get_pruner_of_module(module)
    return int(pruner.get_out_channel_groups(module) if is_output else pruner.get_in_channel_groups(module))


def _mark_residual(groups: list[ChannelGroup], tracer: _Tracer) -> Iterator[ChannelGroup]:
    """Mark groups that layers fed from the group itself add to.

    The pattern is x → f(x), x + f(x).
    """
    produced_by = {name: index for index, group in enumerate(groups) for name in group.outputs}
    feeds: list[set[int]] = [
        {produced_by[m.name] for m in group.members if not m.is_output and m.name in produced_by} for group in groups
    ]
    added = names_added_to(tracer.graph, tracer.names)
    for index, group in enumerate(groups):
        producers = [n for n in group.outputs if n in added]
        yield replace(group, residual=len(producers) > 1 and is_on_cycle(index, feeds))
