"""Selection of channels, and the cut.

Both work by name and in dense numbering, on a meta copy and on the real model alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from prune_deploy.pruning.channel_tracing.narrowing import NarrowAttribute, NarrowTensor
from prune_deploy.pruning.groups import families
from prune_deploy.pruning.groups.channel_group import ChannelGroup, Member
from prune_deploy.pruning.meta_copy import parameter_owner
from prune_deploy.records import GroupWidth, Selection, WidthPlan


def position_scores(group: ChannelGroup, scores: torch.Tensor, *, whole_blocks: bool) -> torch.Tensor:
    """Average channel scores over what is removed together.

    `scores` has shape (channels,). The result has shape (positions,), or (blocks,) where whole blocks are removed. Equal blocks
    lose equal positions, so a position's score is its mean over the blocks.
    """
    return scores.reshape(group.blocks, -1).mean(dim=1 if whole_blocks else 0).float().cpu()


def select(groups: Iterable[ChannelGroup], plan: WidthPlan, scores: Mapping[str, torch.Tensor]) -> Selection:
    """Select the best-scored channels of every group.

    As many stay as the plan keeps. Groups that keep everything need no scores.
    """
    widths = {width.name: width for width in plan.groups}
    return Selection(kept={g.name: _select_one(g, widths[g.name], scores) for g in groups if g.name in widths})


def select_first(groups: Iterable[ChannelGroup], plan: WidthPlan) -> Selection:
    """Select the first channels of every group, which needs no weights.

    Every selection of a plan leads to the same shapes.
    """
    return select(groups, plan, {g.name: -torch.arange(g.channels, dtype=torch.float32) for g in groups})


def _select_one(group: ChannelGroup, width: GroupWidth, scores: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
    if width.kept == group.channels:
        return tuple(range(group.channels))
    size = group.channels // group.blocks
    ranked = torch.argsort(position_scores(group, scores[group.name], whole_blocks=width.whole_blocks), stable=True)
    if width.whole_blocks:
        blocks = sorted(ranked[group.blocks - width.kept // size :].tolist())
        return tuple(block * size + position for block in blocks for position in range(size))
    positions = sorted(ranked[size - width.kept // group.blocks :].tolist())
    return tuple(block * size + position for block in range(group.blocks) for position in positions)


def cut(model: nn.Module, groups: Iterable[ChannelGroup], plan: WidthPlan, selection: Selection) -> None:
    """Remove every channel that the selection drops from `model`, in place.

    All groups are cut together: each layer is narrowed once, by the union of what its groups lose, so order does not matter. Frozen
    parameters stay frozen.
    """
    groups = tuple(groups)
    whole = _whole(plan)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    removed_by = removals(model, groups, plan, selection)
    for group in groups:
        removed = _removed(group, selection)
        if removed and group.name in whole and group.heads is not None:
            size = group.channels // group.blocks
            families.remove_heads(model.get_submodule(group.heads), sorted({channel // size for channel in removed}))
    for member, gone in removed_by:
        _narrow(model, member, sorted(gone))
    families.repair_attributes(model)
    for name, parameter in model.named_parameters():
        if name in frozen:  # torch-pruning makes parameters that are not
            parameter.requires_grad_(False)


def removals(
    model: nn.Module, groups: Iterable[ChannelGroup], plan: WidthPlan, selection: Selection
) -> list[tuple[Member, set[int]]]:
    """Return the channels that each layer loses, in its dense numbering.

    `model` is still whole. Layers that lose nothing are left out.
    """
    whole = _whole(plan)
    found: dict[tuple[str, Callable[..., Any]], tuple[Member, set[int]]] = {}
    for group in groups:
        removed = _removed(group, selection)
        if not removed:
            continue
        for member in group.members:
            if group.name in whole and _is_shared_by_heads(model, member):
                continue
            gone = {position for position, root in zip(member.positions, member.roots, strict=True) if root in removed}
            found.setdefault((member.name, member.handler), (member, set()))[1].update(gone)
    return [(member, gone) for member, gone in found.values() if gone]


def _whole(plan: WidthPlan) -> set[str]:
    """Return the names of groups that lose whole blocks."""
    return {width.name for width in plan.groups if width.whole_blocks}


def _removed(group: ChannelGroup, selection: Selection) -> set[int]:
    return set(range(group.channels)) - set(selection.kept.get(group.name, range(group.channels)))


def _is_shared_by_heads(model: nn.Module, member: Member) -> bool:
    return not member.is_parameter and families.is_shared_by_heads(model.get_submodule(member.name), member.positions)


def _narrow(model: nn.Module, member: Member, removed: list[int]) -> None:
    if isinstance(member.handler, (NarrowAttribute, NarrowTensor)):
        attribute = isinstance(member.handler, NarrowAttribute)
        member.handler(model.get_submodule(member.name) if attribute else parameter_owner(model, member.name)[0], removed)
        return
    # torch-pruning keeps the axis on the shared pruner object, as its Dependency.__call__ does.
    if (owner := getattr(member.handler, "__self__", None)) is not None:
        owner.pruning_dim = member.pruning_dim
    if member.is_parameter:
        owner, leaf = parameter_owner(model, member.name)
        setattr(owner, leaf, member.handler(getattr(owner, leaf), removed))
        return
    layer = model.get_submodule(member.name)
    if isinstance(layer, nn.LayerNorm):
        families.narrow_layer_norm(layer, removed, member.pruning_dim)
    else:
        member.handler(layer, removed)
