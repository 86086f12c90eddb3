"""Arithmetic of widths: how many channels each group keeps at a ratio.

It needs groups and scores, and neither model nor weights.

The counts follow torch-pruning's to the last channel (torch_pruning/pruner/algorithms/base_pruner.py): `int(dense * (1 - ratio))`,
then rounded down to a multiple of `round_to`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from prune_deploy.pruning.apply import position_scores
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.records import GroupReason, GroupWidth
from prune_deploy.specs import PruneSpec


@dataclass(frozen=True, slots=True)
class KeepReason:
    """Reason why a group keeps all its channels."""

    reason: GroupReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PruningUnit:
    """Smallest part of a group that can be removed.

    There are `count` of them, each of `channels` channels. Kept counts are multiples of `step`.
    """

    count: int
    channels: int
    step: int
    whole_blocks: bool


def grain_of(group: ChannelGroup, spec: PruneSpec) -> PruningUnit:
    """Find the smallest part that can leave a group under `spec`.

    `round_to` aligns what the hardware multiplies: a layer's width, and inside attention the width of one head.
    """
    if group.heads is not None and spec.heads:
        width = group.channels // group.blocks
        return PruningUnit(group.blocks, width, spec.round_to // math.gcd(spec.round_to, width), whole_blocks=True)
    aligned = 1 if group.heads is not None or group.aligned_blocks else group.blocks
    return PruningUnit(
        group.channels // group.blocks, group.blocks, spec.round_to // math.gcd(spec.round_to, aligned), whole_blocks=False
    )


def plan_widths(
    groups: Sequence[ChannelGroup],
    spec: PruneSpec,
    ratio: float,
    *,
    kept: Mapping[str, KeepReason],
    dense: Mapping[str, int] | None = None,
    scores: Mapping[str, torch.Tensor] | None = None,
) -> tuple[GroupWidth, ...]:
    """Compute the width of every group at `ratio`.

    The share `ratio` of its dense channels is removed. `kept` names the groups that stay as they are. `dense` gives the widths that
    the ratio refers to where the model is already pruned. `scores` have shape (channels,) each, and only the global and isomorphic
    scopes need them.
    """
    original = {g.name: (dense or {}).get(g.name, g.channels) for g in groups}
    free = [g for g in groups if g.name not in kept]
    if spec.scope == "local":
        raw = {g.name: _local_count(g, spec, original[g.name], ratio) for g in groups}
    else:
        raw = _ranked_counts(free, spec, original, ratio, scores or {})
    return tuple(_width(g, spec, raw.get(g.name), original[g.name], ratio, kept.get(g.name)) for g in groups)


def _local_count(group: ChannelGroup, spec: PruneSpec, dense: int, ratio: float) -> int:
    return int(dense // grain_of(group, spec).channels * (1 - ratio))


def _ranked_counts(
    groups: Sequence[ChannelGroup], spec: PruneSpec, original: Mapping[str, int], ratio: float, scores: Mapping[str, torch.Tensor]
) -> dict[str, int]:
    """Count what each group keeps when all groups of a scope compete.

    The lowest-scored share goes, wherever it is.
    """
    scopes: dict[str, list[ChannelGroup]] = {}
    for group in groups:
        scopes.setdefault(group.signature if spec.scope == "isomorphic" else "", []).append(group)
    counts: dict[str, int] = {}
    for members in scopes.values():
        ranked = [position_scores(g, scores[g.name], whole_blocks=grain_of(g, spec).whole_blocks) for g in members]
        total = sum(original[g.name] // grain_of(g, spec).channels for g in members)
        merged = torch.cat(ranked)
        removed = torch.zeros(len(merged), dtype=torch.bool)
        removed[torch.argsort(merged, stable=True)[: max(0, len(merged) - int(total * (1 - ratio)))]] = True
        for group, gone in zip(members, torch.split(removed, [len(r) for r in ranked]), strict=True):
            counts[group.name] = int((~gone).sum())
    return counts


def _width(
    group: ChannelGroup, spec: PruneSpec, raw: int | None, dense: int, ratio: float, kept: KeepReason | None
) -> GroupWidth:
    unit = grain_of(group, spec)
    count = _local_count(group, spec, dense, ratio) if raw is None else raw
    target, reason, detail = _round(count, unit, spec)
    target, reason, detail = _cap(target, reason, detail, unit, spec, dense)
    target = min(target, unit.count)
    if kept is not None:
        reason, detail = kept.reason, kept.detail
    return GroupWidth(
        name=group.name,
        channels=group.channels,
        kept=group.channels if kept is not None else target * unit.channels,
        blocks=group.blocks,
        whole_blocks=unit.whole_blocks,
        asked=target * unit.channels,
        reason=reason,
        detail=detail,
        members=tuple(m.name for m in group.members),
    )


def _round(count: int, unit: PruningUnit, spec: PruneSpec) -> tuple[int, GroupReason, str]:
    """Move a count to a multiple of the unit's step."""
    step = unit.step
    low = count - count % step
    rounded = {
        "down": low,
        "up": low + step if count % step else low,
        "nearest": low + step if 2 * (count % step) >= step else low,
    }[spec.rounding]
    if rounded == 0:
        least = min(step, unit.count) if spec.when_empty == "unit" else unit.count
        return least, "minimum", f"{count * unit.channels} would round to nothing"
    if rounded == count:
        return rounded, "as-asked", ""
    return rounded, "rounded", f"{count * unit.channels} moved to a multiple of {step * unit.channels}"


def _cap(
    count: int, reason: GroupReason, detail: str, unit: PruningUnit, spec: PruneSpec, dense: int
) -> tuple[int, GroupReason, str]:
    """The count lifted to what `group_cap` leaves, in whole steps."""
    # Rounded first: ten channels capped at 0.7 may lose seven, though 10 * (1 - 0.7) is a hair above 3 in floating point.
    least = math.ceil(round(dense // unit.channels * (1 - spec.group_cap), 6))
    least += -least % unit.step
    if count >= least:
        return count, reason, detail
    return least, "capped", f"at most {spec.group_cap:.0%} of a group may go"
