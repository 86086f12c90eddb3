"""Pruning pipeline: find groups, score, plan, select, cut, write a receipt.

Everything that can refuse does so before the cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from prune_deploy.errors import InputError, PruningError, setting
from prune_deploy.interfaces import GroupLayer, LayerGroup, Method
from prune_deploy.notebook import HtmlView
from prune_deploy.pruning import methods
from prune_deploy.pruning.apply import cut, select
from prune_deploy.pruning.checks.probe import wrongly_mapped
from prune_deploy.pruning.counting import count
from prune_deploy.pruning.find_groups import find_groups
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.groups.depgraph import DEFAULT_TIME_LIMIT_S
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.planner import KeepReasons, PlannedWidths, Planner, Scores
from prune_deploy.pruning.widths import KeepReason
from prune_deploy.records import Counts, GroupWidth, Receipt, Selection, WidthPlan
from prune_deploy.specs import IN_MEMORY, PruneSpec


@dataclass(frozen=True, slots=True)
class Pruned(HtmlView):
    """Result of a pruning: widths, channels and receipt.

    The model itself was narrowed in place.
    """

    plan: WidthPlan
    selection: Selection
    receipt: Receipt


def prune(
    model: nn.Module,
    spec: PruneSpec,
    input_size: tuple[int, int, int],
    *,
    plan: WidthPlan | None = None,
    limit_s: float = DEFAULT_TIME_LIMIT_S,
) -> Pruned:
    """Remove channels from `model` in place, as `spec` asks.

    `input_size` is (channels, height, width). `limit_s` bounds the building of the dependency graph, in seconds. With
    `PruneSpec(plan=IN_MEMORY)` the widths are those of `plan`, which is checked as a plan file is.

    Raises:
        PruningError: nothing would be removed, or less than asked without `allow_shortfall`. The model is then as it was.
        InputError: the request or the plan does not fit the model.
    """
    _require_one_amount(spec, plan)
    _require_trainable(model)
    with torch.inference_mode(False):  # what is cut within inference mode could never be trained again
        return _prune(model, spec, input_size, plan, limit_s)


def _prune(model: nn.Module, spec: PruneSpec, input_size: tuple[int, int, int], plan: WidthPlan | None, limit_s: float) -> Pruned:
    method = methods.create(spec.method, spec.seed)
    planner = Planner(model, input_size, limit_s=limit_s)
    protected = wrongly_mapped_groups(planner, spec, model)
    planned, scores = scored_plan(planner, spec, model, method, protected=protected, plan=plan)
    receipt = receipt_of(spec, planner, planned, planner.before)
    refuse(receipt, spec)
    selection = Selection(kept={g.name: tuple(range(g.channels)) for g in planner.groups})
    for groups, stage, chosen in _stages(model, planner, spec, planned.plan, method, scores, limit_s):
        cut(model, groups, stage, chosen)
        selection = compose(selection, chosen)
    after = count(make_meta_copy(model), input_size)
    return Pruned(planned.plan, selection, replace(receipt, after=after))


def _require_trainable(model: nn.Module) -> None:
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise InputError(
            "the model was made or loaded within torch.inference_mode(), so its weights cannot be changed",
            fix="make or load it outside of inference mode, or hand over a copy.deepcopy made outside",
            field="model",
        )


def _require_one_amount(spec: PruneSpec, plan: WidthPlan | None) -> None:
    if plan is not None and spec.plan != IN_MEMORY:
        raise InputError(
            "a plan in memory came with a request that says otherwise how much to remove",
            fix=f"ask for {setting('plan', IN_MEMORY)}, or leave the plan out",
            field="plan",
        )


def wrongly_mapped_groups(planner: Planner, spec: PruneSpec, model: nn.Module) -> dict[str, KeepReason]:
    """Find groups whose mapping the weights prove wrong.

    `model` is the planner's, with its weights. Where both analyses agree it is not run, which saves time on large models.

    Raises:
        InputError: a name in `ignore` matches nothing.
    """
    kept = planner.kept(spec)
    if planner.analysis.confirmed:
        return {}
    free = [g for g in planner.groups if g.name not in kept]
    # In another order the network's outputs are other outputs.
    reaching = planner.reaching_outputs(free) if spec.narrows_outputs else frozenset()
    wrong = wrongly_mapped(model, [g for g in free if g.name not in reaching], planner.input_size)
    return {name: KeepReason("protected", reason) for name, reason in wrong.items()}


def _stages(
    model: nn.Module,
    planner: Planner,
    spec: PruneSpec,
    plan: WidthPlan,
    method: Method,
    scores: Scores,
    limit_s: float,
) -> Iterator[tuple[Sequence[ChannelGroup], WidthPlan, Selection]]:
    """The `spec.steps` cuts that lead to `plan`.

    Each chooses among what the one before left.
    """
    dense = {width.name: width.channels for width in plan.groups}
    groups: Sequence[ChannelGroup] = planner.groups
    for step in range(1, spec.steps + 1):
        if step > 1:
            groups, _ = find_groups(model, planner.input_size, limit_s=limit_s, analysis=planner.analysis)
        widths = {w.name: _at_step(w, step / spec.steps) for w in plan.groups}
        # Widths between dense and final are counted from the dense model. Each step sees the model after the previous one.
        stage = replace(plan, groups=tuple(_resized(widths[g.name], g.channels, dense[g.name]) for g in groups))
        yield groups, stage, select(groups, stage, scores if step == 1 else score(model, groups, method, stage))


def _at_step(width: GroupWidth, share: float) -> GroupWidth:
    """The width after `share` of the way from dense to planned.

    It is a whole multiple of what the group can lose.
    """
    unit = width.channels // width.blocks if width.whole_blocks else width.blocks
    removed = int((width.channels - width.kept) // unit * share) * unit
    return replace(width, kept=width.channels - removed)


def _resized(width: GroupWidth, channels: int, dense: int) -> GroupWidth:
    if width.whole_blocks:
        return replace(width, channels=channels, blocks=channels // (dense // width.blocks))
    return replace(width, channels=channels)


def compose(first: Selection, then: Selection) -> Selection:
    """Compose the selections of two cuts in a row, in dense numbering."""
    return Selection(kept={name: tuple(first.kept[name][i] for i in kept) for name, kept in then.kept.items()})


def scored_plan(
    planner: Planner,
    spec: PruneSpec,
    model: nn.Module,
    method: Method,
    *,
    protected: KeepReasons | None = None,
    plan: WidthPlan | None = None,
) -> tuple[PlannedWidths, dict[str, torch.Tensor]]:
    """Plan the widths of the groups that the method can score.

    `protected` names groups to leave alone whatever `spec` says, `plan` the widths of a request with
    `IN_MEMORY`. The scores are returned with the plan.

    Raises:
        PruningError: a given plan narrows a group that the method cannot score.
    """
    method.prepare(model, None, None)
    kept = planner.kept(spec, protected or {})
    if plan is not None or spec.plan is not None:
        planned = planner.plan(spec) if plan is None else planner.plan_given(plan)
        return planned, _scores_of_given(planned.plan, planner, model, method)
    free = [g for g in planner.groups if g.name not in kept]
    scores = score(model, free, method, None)
    unscored = KeepReason("no-score", f"method {method.name} has nothing to go by in this group")
    kept |= {group.name: unscored for group in free if group.name not in scores}
    return planner.plan(spec, protected=kept, scores=scores), scores


def _scores_of_given(plan: WidthPlan, planner: Planner, model: nn.Module, method: Method) -> dict[str, torch.Tensor]:
    """The scores of all groups that a plan from elsewhere narrows."""
    scores = score(model, planner.groups, method, plan)
    unscored = [w.name for w in plan.groups if w.kept < w.channels and w.name not in scores]
    if unscored:
        raise PruningError(
            f"the plan narrows {unscored[0]}, where method {method.name} has nothing to go by",
            fix="choose another `method`, or give the group its dense width in the plan",
        )
    return scores


def score(model: nn.Module, groups: Sequence[ChannelGroup], method: Method, plan: WidthPlan | None) -> dict[str, torch.Tensor]:
    """Score the channels of groups, with shape (channels,) for each.

    Groups that `plan` leaves whole are not scored. Groups without a score are absent.
    """
    narrowing = None if plan is None else {w.name for w in plan.groups if w.kept < w.channels}
    result: dict[str, torch.Tensor] = {}
    for group in groups:
        if narrowing is None or group.name in narrowing:
            scores = method.scores(layer_group(model, group))
            if scores is not None:
                result[group.name] = scores
    return result


def layer_group(model: nn.Module, group: ChannelGroup) -> LayerGroup:
    """Give a group with the real layers behind its names.

    Bare parameters carry no weights to score and are left out.
    """
    layers = tuple(
        GroupLayer(m.name, model.get_submodule(m.name), m.is_output, m.handler, m.positions, m.roots)
        for m in group.members
        if not m.is_parameter
    )
    return LayerGroup(group.name, group.channels, layers)


def receipt_of(spec: PruneSpec, planner: Planner, planned: PlannedWidths, before: Counts) -> Receipt:
    """Write the receipt of a plan before the cut."""
    notes, groups = list(planned.warnings), planned.plan.groups
    if planner.narrows_outputs(planned.plan):
        notes.append("the network's outputs were narrowed: they are no longer one per class (`ignore=('head',)` keeps them)")
    return Receipt(request=spec, before=before, after=before, groups=groups, warnings=tuple(notes))


def refuse(receipt: Receipt, spec: PruneSpec) -> None:
    """Refuse a pruning that removes nothing, or less than asked.

    Less is refused only if the request did not ask for the reason.

    Raises:
        PruningError: the pruning is refused.
    """
    groups = receipt.groups
    if all(width.kept == width.channels for width in groups):
        raise PruningError(
            f"nothing would be removed: all {len(groups)} groups keep their channels ({_tally(groups)})",
            fix=_fix_for_nothing(groups),
        )
    short = receipt.shortfalls
    if short and not spec.allow_shortfall:
        named = "; ".join(f"{g.name} keeps {g.kept} of {g.channels}, {g.asked} asked ({g.reason}: {g.detail})" for g in short[:3])
        more = f"; and {len(short) - 3} more" if len(short) > 3 else ""
        raise PruningError(
            f"{len(short)} of {len(groups)} groups would keep more than asked: {named}{more}",
            fix="accept it with `allow_shortfall=True`, or name them with `ignore`; another `method` may score them",
        )


def _fix_for_nothing(groups: Sequence[GroupWidth]) -> str:
    """The fix for a pruning that removes nothing, by its commonest reason."""
    reasons = [g.reason for g in groups]
    fixes = {
        "no-score": "choose another `method`: this one has nothing to go by in this model",
        "protected": "this architecture breaks when it is narrowed; choose another model or export it with `prune=None`",
        "ignored": "ignore less: `ignore=('head',)`",
        "ignored-member": "ignore less: `ignore=('head',)`",
    }
    return fixes.get(max(reasons, key=reasons.count), "ask for a larger `ratio` or a smaller `round_to`")


def _tally(groups: Sequence[GroupWidth]) -> str:
    reasons = [g.reason for g in groups]
    return ", ".join(f"{reasons.count(r)} {r}" for r in sorted(set(reasons)))
