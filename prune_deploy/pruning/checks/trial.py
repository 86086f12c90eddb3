"""Trial run of a plan on a meta copy.

The copy is cut and run, to find the groups whose narrowing breaks the forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from prune_deploy.pruning.apply import cut, select_first
from prune_deploy.pruning.checks.search import first_breaking
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.groups.depgraph import first_line
from prune_deploy.pruning.meta_copy import example_input, make_meta_copy
from prune_deploy.records import WidthPlan

# A batch of 2 after a batch of 1: some models fold a wrong width into the batch axis, which only one of the two survives.
TRIAL_BATCHES = (1, 2)


def cut_copy(meta_copy: nn.Module, groups: Sequence[ChannelGroup], plan: WidthPlan) -> nn.Module:
    """Return another meta copy of `meta_copy`, narrowed as planned."""
    narrowed = make_meta_copy(meta_copy)
    cut(narrowed, groups, plan, select_first(groups, plan))
    return narrowed


def failure(meta_copy: nn.Module, groups: Sequence[ChannelGroup], plan: WidthPlan, input_size: tuple[int, int, int]) -> str:
    """Return why the planned model does not run, in one line.

    The text is empty if it runs.
    """
    # Every exception of a cut or of a model's forward is a result here.
    try:
        narrowed = cut_copy(meta_copy, groups, plan)
        with torch.no_grad():
            for batch in TRIAL_BATCHES:
                shape = narrowed(example_input(input_size, batch)).shape
                if shape[0] != batch:
                    return f"a batch of {batch} comes out as {shape[0]}"
    except Exception as error:  # noqa: BLE001
        return first_line(error)
    return ""


def breaking_groups(
    meta_copy: nn.Module, groups: Sequence[ChannelGroup], plan: WidthPlan, input_size: tuple[int, int, int]
) -> dict[str, str]:
    """Return groups that must be protected for the planned model to run.

    Each has the error it causes. The whole plan is tried first, so a model that torch-pruning understands costs one trial.
    Otherwise groups are added in model order, halving to the first one that breaks together with those before it, until all are
    placed.
    """
    narrowing = [g for g in groups if _narrows(plan, g.name)]

    def broken_with(chosen: Sequence[ChannelGroup]) -> str:
        return failure(meta_copy, groups, _only(plan, {g.name for g in chosen}), input_size)

    return first_breaking(narrowing, broken_with)


def _narrows(plan: WidthPlan, name: str) -> bool:
    return any(width.name == name and width.kept < width.channels for width in plan.groups)


def _only(plan: WidthPlan, names: set[str]) -> WidthPlan:
    return replace(plan, groups=tuple(w if w.name in names else replace(w, kept=w.channels) for w in plan.groups))
