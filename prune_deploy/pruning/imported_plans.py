"""Width plans from a file or from memory, fitted to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prune_deploy.errors import InputError, setting
from prune_deploy.files import read_file
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.records import GroupWidth, WidthPlan, from_json
from prune_deploy.specs import IN_MEMORY


def read_plan(path: str) -> WidthPlan:
    """Read the plan file that `PruneSpec.plan` names.

    Raises:
        InputError: there is no such file, or it is no plan.
    """
    if path == IN_MEMORY:
        raise InputError(
            f"{setting('plan', path)} announces a plan in memory, and none came with it", fix="hand over the plan", field="plan"
        )
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"{setting('plan', path)}: no such file", fix="name a plan written by an earlier export (plan.json)", field="plan"
        )
    return from_json(WidthPlan, read_file(file), source=path)


def fit_plan(plan: WidthPlan, groups: Sequence[ChannelGroup], model: str, source: str) -> WidthPlan:
    """Fit a plan to `groups`, with one width for each of them.

    The reason of all widths is "plan". Groups that the plan does not name keep their channels. `model` and `source` name the two in errors.

    Raises:
        InputError: the plan names an unknown group, or a width that the group cannot have.
    """
    given = {width.name: width for width in plan.groups}
    widths = tuple(_fit_width(given.pop(group.name, None), group) for group in groups)
    if given:
        raise InputError(
            f"{source} names groups that {model} does not have: {', '.join(list(given)[:3])}", fix="use a plan of this model"
        )
    return WidthPlan(groups=widths, model=model)


def _fit_width(given: GroupWidth | None, group: ChannelGroup) -> GroupWidth:
    whole = GroupWidth(
        name=group.name,
        channels=group.channels,
        kept=group.channels,
        blocks=group.blocks,
        asked=group.channels,
        reason="plan",
        members=tuple(member.name for member in group.members),
    )
    if given is None:
        return whole
    whole_blocks = given.whole_blocks and group.heads is not None
    step = group.channels // group.blocks if whole_blocks else group.blocks
    if given.channels != group.channels or not 0 < given.kept <= group.channels or given.kept % step:
        raise InputError(
            f"the plan gives {group.name} {given.kept} of {given.channels} channels; the model has {group.channels}, "
            f"kept in multiples of {step}",
            fix="correct the plan, or make one for this model with an export of a `ratio`",
        )
    return replace(whole, kept=given.kept, whole_blocks=whole_blocks, asked=given.kept)
