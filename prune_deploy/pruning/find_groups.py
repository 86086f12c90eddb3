"""Channel groups of a model, from one of two analyses.

DepGraph's analysis is used where it understands all of the model, and channel tracing elsewhere.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from prune_deploy.errors import PruningError
from prune_deploy.pruning.channel_tracing import read_groups
from prune_deploy.pruning.checks.trial import cut_copy, failure
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.groups.deadline import time_limit
from prune_deploy.pruning.groups.depgraph import DEFAULT_TIME_LIMIT_S, READING_ERRORS, first_line, trace_groups
from prune_deploy.pruning.meta_copy import example_input, make_meta_copy
from prune_deploy.records import GroupWidth, WidthPlan

# DepGraph reads a model in a few seconds or not at all. Counted in processor time, so that the same reading is used on a busy machine.
_DEPGRAPH_CPU_S = 16.0
_MOST_VIEWS = 8

_Place = tuple[str, bool, int]
"""Layer, whether its outputs or its inputs, and a position there."""


@dataclass(frozen=True, slots=True)
class GroupAnalysis:
    """Settings of the analysis that found the groups of a model.

    What a cut leaves is analysed with the same settings. `own` says that it was channel tracing, and `tied` and `fixed` are as for
    `read_groups`. `confirmed` says that both analyses agree.
    """

    own: bool
    confirmed: bool = False
    tied: frozenset[type[nn.Module]] = frozenset()
    fixed: frozenset[type[nn.Module]] = frozenset()


def find_groups(
    model: nn.Module,
    input_size: tuple[int, int, int],
    *,
    limit_s: float = DEFAULT_TIME_LIMIT_S,
    analysis: GroupAnalysis | None = None,
) -> tuple[tuple[ChannelGroup, ...], GroupAnalysis]:
    """Find the channel groups of a model, in model order.

    With `analysis` the groups are found in that way and no other. `limit_s` bounds each of the two analyses, in seconds.

    Raises:
        PruningError: neither analysis understands the model, or neither ends in time.
    """
    if analysis is not None and analysis.own:
        return _own_reading(model, input_size, limit_s, analysis), analysis
    try:
        with time_limit(_DEPGRAPH_CPU_S, of_processor=True):
            groups = trace_groups(make_meta_copy(model), example_input(input_size), limit_s=limit_s)
    except PruningError as error:
        depgraph = error
    except TimeoutError:  # the alarm went off again while the first one was on its way out
        depgraph = PruningError("DepGraph did not end in time", fix="choose another model, or export it with `prune=None`")
    else:
        if analysis is not None:
            return groups, analysis
        right = _is_right(model, groups, input_size, limit_s)
        if right is not False:
            return groups, GroupAnalysis(own=False, confirmed=right is True)
        try:
            return _views(model, input_size, limit_s)
        except PruningError:
            return groups, GroupAnalysis(own=False)  # what cannot be used of it is marked, and tried out
    try:
        return _views(model, input_size, limit_s)
    except PruningError as error:
        raise PruningError(f"{depgraph.message}; nor can its axes be read: {error.message}", fix=depgraph.fix) from error


def _is_right(model: nn.Module, groups: Sequence[ChannelGroup], input_size: tuple[int, int, int], limit_s: float) -> bool | None:
    """Decide whether DepGraph understands all of a model.

    It does if the model runs at half its widths and channel tracing does not contradict. None means that the model runs and there is
    nothing to compare with.
    """
    if any(g.unusable for g in groups) or failure(make_meta_copy(model), groups, halved(groups), input_size):
        return False
    # A wrong mapping may have shapes that fit: channels that are shuffled, queries and keys from layers of their own.
    try:
        return not contradicted(groups, _own_reading(model, input_size, limit_s, GroupAnalysis(own=True)))
    except PruningError:
        return None


def _own_reading(
    model: nn.Module, input_size: tuple[int, int, int], limit_s: float, analysis: GroupAnalysis
) -> tuple[ChannelGroup, ...]:
    try:
        with time_limit(limit_s):
            return read_groups(make_meta_copy(model), example_input(input_size), analysis.tied, analysis.fixed)
    except (TimeoutError, *READING_ERRORS) as error:
        raise PruningError(
            f"the axes of {type(model).__name__} cannot be read: {first_line(error)}",
            fix="choose another model, or export it with `prune=None`",
        ) from error


def _views(model: nn.Module, input_size: tuple[int, int, int], limit_s: float) -> tuple[tuple[ChannelGroup, ...], GroupAnalysis]:
    """Trace a model's channels, and again for modules that break when narrowed.

    Modules of such a type are first taken to read a width from their input (`B, N, C = x.shape`), which ties it to those they make.
    After that, attributes of theirs that have the size of a width are taken for something else.
    """
    meta_copy = make_meta_copy(model)
    analysis = GroupAnalysis(own=True)
    while True:
        groups = _own_reading(model, input_size, limit_s, analysis)
        failing = _failing_module(meta_copy, groups, _uneven(groups), input_size)
        if failing is None or failing in analysis.fixed or len(analysis.tied | analysis.fixed) == _MOST_VIEWS:
            return groups, analysis
        if failing in analysis.tied:
            analysis = replace(analysis, tied=analysis.tied - {failing}, fixed=analysis.fixed | {failing})
        else:
            analysis = replace(analysis, tied=analysis.tied | {failing})


def _failing_module(
    meta_copy: nn.Module, groups: Sequence[ChannelGroup], plan: WidthPlan, input_size: tuple[int, int, int]
) -> type[nn.Module] | None:
    """Find the type of the innermost module that fails as planned.

    Modules of torch do not count. None means that the model runs.
    """
    narrowed = cut_copy(meta_copy, groups, plan)
    # Whatever a model's forward raises is the finding here.
    try:
        with torch.no_grad():
            narrowed(example_input(input_size))
    except Exception as error:  # noqa: BLE001
        return _innermost(error.__traceback__) or type(narrowed)
    return None


def _innermost(trace: types.TracebackType | None) -> type[nn.Module] | None:
    innermost = None
    while trace is not None:
        module = trace.tb_frame.f_locals.get("self")
        if isinstance(module, nn.Module) and not type(module).__module__.startswith("torch."):
            innermost = type(module)
        trace = trace.tb_next
    return innermost


def halved(groups: Sequence[ChannelGroup]) -> WidthPlan:
    """A plan with half the width of every usable group."""
    return _plan(groups, [g.channels // g.blocks // 2 for g in groups])


def _uneven(groups: Sequence[ChannelGroup]) -> WidthPlan:
    """A plan in which no two groups share a width by chance.

    Whatever needs two widths to be equal fails with it.
    """
    units = [g.channels // g.blocks for g in groups]
    return _plan(groups, [0 if n < 8 else n - 1 - index % 3 for index, n in enumerate(units)])


def _plan(groups: Sequence[ChannelGroup], kept: Sequence[int]) -> WidthPlan:
    """A plan that keeps `kept` positions per block.

    Groups with 0, and those that cannot be used, keep all.
    """
    widths = [
        GroupWidth(name=g.name, channels=g.channels, kept=g.channels if g.unusable or not k else k * g.blocks, blocks=g.blocks)
        for g, k in zip(groups, kept, strict=True)
    ]
    return WidthPlan(groups=tuple(widths), model="")


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
