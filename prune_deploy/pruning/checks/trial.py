"""Trial run of a plan on a meta copy.

The copy is cut and run, to find the groups whose narrowing breaks the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from prune_deploy.pruning.apply import cut, select_first
from prune_deploy.pruning.checks.outputs import difference, output_shapes
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.groups.depgraph import first_line
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.records import GroupWidth, WidthPlan


def cut_copy(meta_copy: nn.Module, groups: Sequence[ChannelGroup], plan: WidthPlan) -> nn.Module:
    """Return another meta copy of `meta_copy`, narrowed as planned."""
    narrowed = make_meta_copy(meta_copy)
    cut(narrowed, groups, plan, select_first(groups, plan))
    return narrowed


def failure(
    meta_copy: nn.Module,
    groups: Sequence[ChannelGroup],
    plan: WidthPlan,
    input_size: tuple[int, int, int],
    *,
    narrows_outputs: bool = True,
) -> str:
    """Return why the planned model does not run, in one line.

    The text is empty if it runs, and REACHES_AN_OUTPUT if only its outputs are narrower, unless the plan `narrows_outputs`.
    """
    # Every exception of a cut or of a model's forward is a result here.
    try:
        dense = output_shapes(meta_copy, input_size)
        narrowed = output_shapes(cut_copy(meta_copy, groups, plan), input_size)
    except Exception as error:  # noqa: BLE001
        return first_line(error)
    return difference(dense, narrowed, may_narrow=narrows_outputs)


class Trials:
    """Trial runs of one network's plans, where the same widths run once."""

    def __init__(self, meta_copy: nn.Module, groups: Sequence[ChannelGroup], input_size: tuple[int, int, int]) -> None:
        self._meta_copy, self._groups, self._input_size = meta_copy, groups, input_size
        self._failures: dict[tuple[frozenset[tuple[str, int, bool]], bool], str] = {}

    def failure(self, plan: WidthPlan, *, narrows_outputs: bool = True) -> str:
        """Return why the planned model does not run, in one line.

        The text is empty if it runs, and as for the function above otherwise.
        """
        narrowed = frozenset((width.name, width.kept, width.whole_blocks) for width in plan.groups if _narrows(width))
        if (key := (narrowed, narrows_outputs)) not in self._failures:
            self._failures[key] = failure(self._meta_copy, self._groups, plan, self._input_size, narrows_outputs=narrows_outputs)
        return self._failures[key]

    def breaking_groups(self, plan: WidthPlan, *, narrows_outputs: bool = True) -> dict[str, str]:
        """Return groups that must be protected for the planned model to run.

        Each has the error it causes. The whole plan is tried first, so a model that torch-pruning understands costs one trial. Unless
        the plan `narrows_outputs`, groups that reach an output are among them.
        """
        narrowing = {width.name for width in plan.groups if _narrows(width)}

        def broken_with(chosen: Sequence[ChannelGroup]) -> str:
            return self.failure(_only(plan, {g.name for g in chosen}), narrows_outputs=narrows_outputs)

        return first_breaking([g for g in self._groups if g.name in narrowing], broken_with)


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


def _narrows(width: GroupWidth) -> bool:
    return width.kept < width.channels


def _only(plan: WidthPlan, names: set[str]) -> WidthPlan:
    return replace(plan, groups=tuple(w if w.name in names else replace(w, kept=w.channels) for w in plan.groups))
