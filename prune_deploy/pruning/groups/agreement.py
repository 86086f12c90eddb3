"""Comparison of two group analyses of a model.

Shapes alone cannot detect a wrong mapping, because its shapes may fit.
"""

from __future__ import annotations

from collections.abc import Sequence

from prune_deploy.pruning.groups.channel_group import ChannelGroup

_Place = tuple[str, bool, int]
"""Layer, whether its outputs or its inputs, and a position there."""


def contradicted(groups: Sequence[ChannelGroup], reference: Sequence[ChannelGroup]) -> str:
    """Return the name of a group that splits a channel of `reference`.

    The text is empty if there is none. Channels that the reference keeps, and layers it does not know, prove nothing.
    """
    one: dict[tuple[int, int], tuple[int, int]] = {}
    known = _units(reference)
    for (place, unit), name in ((item, groups[item[1][0]].name) for item in _units(groups).items()):
        if (same := known.get(place)) is not None and not reference[same[0]].unusable and one.setdefault(same, unit) != unit:
            return name
    return ""


def _units(groups: Sequence[ChannelGroup]) -> dict[_Place, tuple[int, int]]:
    """Map every place to its group's number and its pruning unit."""
    return {
        (member.name, member.is_output, position): (number, root % (group.channels // group.blocks))
        for number, group in enumerate(groups)
        for member in group.members
        if not member.is_parameter and not group.unusable
        for position, root in zip(member.positions, member.roots, strict=True)
    }
