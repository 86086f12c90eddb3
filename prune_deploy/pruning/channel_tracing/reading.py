"""Channel groups from labels.

Classes that narrow the same axes in the same way are one group's channels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from prune_deploy.pruning.channel_tracing.attributes import Size, sizes_of
from prune_deploy.pruning.channel_tracing.classes import Labels
from prune_deploy.pruning.channel_tracing.layers import Slot, slots_of
from prune_deploy.pruning.channel_tracing.tracing import Traced, trace
from prune_deploy.pruning.groups.channel_group import ChannelGroup, Member
from prune_deploy.pruning.groups.residual import is_on_cycle


@dataclass(slots=True)
class _Draft:
    """Classes that occur in the same slots equally often.

    `slots` holds their positions there.
    """

    roots: list[int] = field(default_factory=list)
    slots: dict[int, list[list[int]]] = field(default_factory=dict)


def read_groups(
    meta_copy: nn.Module, example: torch.Tensor, tied: Collection[type[nn.Module]] = (), fixed: Collection[type[nn.Module]] = ()
) -> tuple[ChannelGroup, ...]:
    """Return all channel groups of a model, in model order.

    `meta_copy` is on the meta device. `example` has shape (1, channels, height, width) and lives on the same device. `tied` is as
    for `trace`. Attributes of modules of a type in `fixed` are no widths, though they have the size of one.
    """
    traced = trace(meta_copy, example, tied)
    slots, sizes = list(slots_of(meta_copy, traced)), list(sizes_of(meta_copy, traced, fixed))
    roots = traced.classes.roots()
    rooted = [(draft, root) for draft in _drafts(slots, roots) if (root := _root_slot(slots, draft)) is not None]
    attributes = _attributes(sizes, roots, [draft for draft, _ in rooted])
    groups = [
        _group(meta_copy, traced, slots, draft, root, members) for (draft, root), members in zip(rooted, attributes, strict=True)
    ]
    return tuple(_mark_residual(_ordered(meta_copy, _unique_names(groups)), traced))


def _drafts(slots: Sequence[Slot], roots: Labels) -> list[_Draft]:
    """Group classes by the places where they occur.

    They are in the order in which they were met.
    """
    places: dict[int, dict[int, list[int]]] = {}
    for number, slot in enumerate(slots):
        for position, root in enumerate(roots[slot.labels].tolist()):
            places.setdefault(root, {}).setdefault(number, []).append(position)
    drafts: dict[tuple[tuple[int, int], ...], _Draft] = {}
    for root, occurrences in places.items():
        draft = drafts.setdefault(tuple((slot, len(at)) for slot, at in occurrences.items()), _Draft())
        draft.roots.append(root)
        for slot_number, at in occurrences.items():
            draft.slots.setdefault(slot_number, []).append(at)
    for draft in drafts.values():
        _sort_units(slots, draft)
    return list(drafts.values())


def _sort_units(slots: Sequence[Slot], draft: _Draft) -> None:
    """Number the group's classes in the order of their first layer."""
    root = _root_slot(slots, draft)
    if root is not None:
        order = np.argsort([positions[0] for positions in draft.slots[root]], kind="stable")
        draft.roots = [draft.roots[i] for i in order]
        draft.slots = {slot: [positions_of_units[i] for i in order] for slot, positions_of_units in draft.slots.items()}


def _root_slot(slots: Sequence[Slot], draft: _Draft) -> int | None:
    """Return the first layer that makes these channels.

    Without one there is nothing to prune.
    """
    return next((number for number in sorted(draft.slots) if slots[number].is_output and slots[number].is_layer), None)


def _attributes(sizes: Sequence[Size], roots: Labels, drafts: Sequence[_Draft]) -> list[list[Member]]:
    """Return each draft's attributes that hold a size of its channels."""
    unit_of = {root: (number, unit) for number, draft in enumerate(drafts) for unit, root in enumerate(draft.roots)}
    result: list[list[Member]] = [[] for _ in drafts]
    for size in sizes:
        shares: dict[int, list[tuple[int, int]]] = {}
        for position, root in enumerate(roots[size.labels].tolist()):
            if root in unit_of:
                number, unit = unit_of[root]
                shares.setdefault(number, []).append((position, unit))
        for number, share in shares.items():
            positions, units = zip(*share, strict=True)
            result[number].append(Member(size.module, size.handler, True, True, 0, 1, positions, units))
    return result


def _group(
    meta_copy: nn.Module, traced: Traced, slots: Sequence[Slot], draft: _Draft, root: int, attributes: Sequence[Member]
) -> ChannelGroup:
    blocks = len(draft.slots[root][0])
    layers = [_member(slots[slot], draft.slots[slot], blocks) for slot in sorted(draft.slots)]
    return ChannelGroup(
        name=slots[root].name,
        channels=len(draft.roots) * blocks,
        members=(*layers, *attributes),
        blocks=blocks,
        aligned_blocks=blocks > 1 and not _feeds_grouped(meta_copy, layers),
        signature=";".join(f"{slots[s].kind}:{'out' if slots[s].is_output else 'in'}" for s in sorted(draft.slots)),
        unusable=next((reason for unit in draft.roots if (reason := traced.classes.pinned(unit))), ""),
    )


def _member(slot: Slot, positions: Sequence[Sequence[int]], blocks: int) -> Member:
    """Convert one slot of a group.

    `positions[u]` are unit u's. The k-th of them is counted as the root's k-th block.
    """
    units = len(positions)
    flat = sorted((at, (turn % blocks) * units + unit) for unit, ats in enumerate(positions) for turn, at in enumerate(ats))
    return Member(
        name=slot.name,
        handler=slot.handler,
        is_output=slot.is_output,
        is_parameter=not slot.is_layer,
        pruning_dim=slot.axis,
        blocks=blocks,
        positions=tuple(at for at, _ in flat),
        roots=tuple(root for _, root in flat),
    )


def _feeds_grouped(meta_copy: nn.Module, members: Sequence[Member]) -> bool:
    layers = [meta_copy.get_submodule(m.name) for m in members if not m.is_parameter]
    return any(isinstance(m, nn.modules.conv._ConvNd) and 1 < m.groups < m.out_channels for m in layers)


def _unique_names(groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
    """Give groups of the same layer different names.

    Those after the first are named by the position they begin at, like `qkv[64:]`.
    """
    seen: set[str] = set()
    result = []
    for group in groups:
        name = group.name
        if name in seen:
            made = next(m for m in group.members if m.name == name and m.is_output)
            name = f"{name}[{made.positions[0]}:]"
        seen.add(name)
        result.append(replace(group, name=name))
    return result


def _ordered(meta_copy: nn.Module, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
    order = {name: index for index, (name, _) in enumerate(meta_copy.named_modules())}
    return sorted(groups, key=lambda group: order[group.name.partition("[")[0]])


def _mark_residual(groups: Sequence[ChannelGroup], traced: Traced) -> Iterator[ChannelGroup]:
    made = {name: index for index, group in enumerate(groups) for name in group.outputs}
    feeds = [{made[m.name] for m in g.members if not m.is_output and m.name in made} for g in groups]
    for index, group in enumerate(groups):
        adding = [name for name in group.outputs if name in traced.added]
        yield replace(group, residual=len(adding) > 1 and is_on_cycle(index, feeds))
