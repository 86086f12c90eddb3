"""Whether two readings of a model's channels agree: what shapes alone cannot show, because a wrong mapping may fit."""

from __future__ import annotations

from collections.abc import Sequence

from prune_deploy.pruning.groups.channel_group import ChannelGroup

_Place = tuple[str, bool, int]
"""A layer, whether its outputs or its inputs, and a position there."""


def contradicted(groups: Sequence[ChannelGroup], reference: Sequence[ChannelGroup]) -> str:
    """The name of a group that would take a channel apart which `reference` knows as one, or an empty text.

    Channels that the reference does not let go, and layers it does not know, prove nothing.
    """
    one: dict[tuple[int, int], tuple[int, int]] = {}
    known = _units(reference)
    for (place, unit), name in ((item, groups[item[1][0]].name) for item in _units(groups).items()):
        if (same := known.get(place)) is not None and not reference[same[0]].unusable and one.setdefault(same, unit) != unit:
            return name
    return ""


def _units(groups: Sequence[ChannelGroup]) -> dict[_Place, tuple[int, int]]:
    """Every place, with its group's number and which of the group's removable units it belongs to."""
    return {
        (member.name, member.is_output, position): (number, root % (group.channels // group.blocks))
        for number, group in enumerate(groups)
        for member in group.members
        if not member.is_parameter and not group.unusable
        for position, root in zip(member.positions, member.roots, strict=True)
    }
