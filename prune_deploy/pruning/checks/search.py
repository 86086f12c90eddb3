"""Search by halving for the groups that break something."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prune_deploy.pruning.groups.channel_group import ChannelGroup


def first_breaking(groups: Sequence[ChannelGroup], broken_with: Callable[[Sequence[ChannelGroup]], str]) -> dict[str, str]:
    """Return the groups that cannot join the others, with reasons.

    A reason is the text of `broken_with`. An empty text means that a choice works. All groups are tried together first. Otherwise
    groups are added in order, halving to the first that breaks together with those before it, until all are placed.
    """
    good: list[ChannelGroup] = []
    breaking: dict[str, str] = {}
    pending = list(groups)
    while pending and broken_with([*good, *pending]):
        low, high = 0, len(pending)  # the first `low` are fine, the first `high` are not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if broken_with([*good, *pending[:middle]]) else (middle, high)
        good += pending[:low]
        breaking[pending[low].name] = broken_with([*good, pending[low]])
        pending = pending[high:]
    return breaking
