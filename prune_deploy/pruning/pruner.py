"""The road through pruning: trace, score, plan, choose, cut, and a receipt. Everything that can refuse does so before the cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from prune_deploy.errors import PruningError
from prune_deploy.interfaces import GroupLayer, LayerGroup, Method
from prune_deploy.pruning import methods
from prune_deploy.pruning.apply import cut, select
from prune_deploy.pruning.checks.probe import wrongly_mapped
from prune_deploy.pruning.counting import count
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.groups.depgraph import DEFAULT_TIME_LIMIT_S
from prune_deploy.pruning.ignoring import classifiers
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.widths import KeepReason
from prune_deploy.records import Counts, GroupWidth, Receipt, Selection, WidthPlan
from prune_deploy.specs import PruneSpec


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was done to a model: the widths, the channels, and the receipt. The model itself was narrowed in place."""

    plan: WidthPlan
    selection: Selection
    receipt: Receipt


def prune(
    model: nn.Module, spec: PruneSpec, input_size: tuple[int, int, int], *, limit_s: float = DEFAULT_TIME_LIMIT_S
) -> Pruned:
    """Remove channels from `model` in place, as `spec` asks.

    `input_size` is (channels, height, width); `limit_s` bounds the building of the dependency graph, in seconds.

    Raises:
        PruningError: nothing would be removed, or less than asked without `allow_shortfall`; the model is then left as it was.
        InputError: the request does not fit the model.
    """
    method = methods.create(spec.method, spec.seed)
    planner = Planner(model, spec, input_size, limit_s=limit_s)
    protect_wrongly_mapped(planner, model)
    plan, scores = scored_plan(planner, model, method)
    receipt = receipt_of(spec, planner, plan, planner.before)
    refuse(receipt, plan)
    selection = Selection(kept={g.name: tuple(range(g.channels)) for g in planner.groups})
    for planner_now, plan_now, chosen in _steps(model, planner, plan, method, scores):
        cut(model, planner_now.groups, plan_now, chosen)
        selection = compose(selection, chosen)
    after = count(make_meta_copy(model), input_size)
    return Pruned(plan, selection, replace(receipt, after=after))


def protect_wrongly_mapped(planner: Planner, model: nn.Module) -> None:
    """Set groups aside whose mapping the weights prove wrong; `model` is the planner's, with its weights.

    Where two readings agree the network is not run for a third opinion: a large one takes its time.
    """
    if planner.analysis.confirmed:
        return
    heads = _classifier_names(model)
    # A classifier's outputs are the network's: in another order they are other outputs.
    free = [g for g in planner.groups if g.name not in planner.kept and heads.isdisjoint(g.outputs)]
    wrong = wrongly_mapped(model, free, planner.input_size)
    planner.kept.update({name: KeepReason("protected", reason) for name, reason in wrong.items()})


def _steps(
    model: nn.Module, planner: Planner, plan: WidthPlan, method: Method, scores: Mapping[str, torch.Tensor]
) -> Iterator[tuple[Planner, WidthPlan, Selection]]:
    """The cuts that lead to `plan`: one, or `steps` of them, each choosing among what the one before left."""
    steps = planner.spec.steps
    dense = {width.name: width.channels for width in plan.groups}
    for step in range(1, steps + 1):
        now = (
            planner
            if step == 1
            else Planner(model, planner.spec, planner.input_size, limit_s=planner.limit_s, analysis=planner.analysis)
        )
        widths = {w.name: _at_step(w, step / steps) for w in plan.groups}
        # Widths between dense and final are counted from the dense model; each step sees the model the last one left.
        stage = replace(plan, groups=tuple(_resized(widths[g.name], g.channels, dense[g.name]) for g in now.groups))
        current = scores if step == 1 else score(model, now.groups, method, stage)
        yield now, stage, select(now.groups, stage, current)


def _at_step(width: GroupWidth, share: float) -> GroupWidth:
    """The width after `share` of the way from dense to planned, in whole multiples of what the group can lose."""
    unit = width.channels // width.blocks if width.whole_blocks else width.blocks
    lost = int((width.channels - width.kept) // unit * share) * unit
    return replace(width, kept=width.channels - lost)


def _resized(width: GroupWidth, channels: int, dense: int) -> GroupWidth:
    if width.whole_blocks:
        return replace(width, channels=channels, blocks=channels // (dense // width.blocks))
    return replace(width, channels=channels)


def compose(first: Selection, then: Selection) -> Selection:
    """One selection in dense numbering for two cuts in a row."""
    return Selection(kept={name: tuple(first.kept[name][i] for i in kept) for name, kept in then.kept.items()})


def scored_plan(planner: Planner, model: nn.Module, method: Method) -> tuple[WidthPlan, dict[str, torch.Tensor]]:
    """The plan, after groups that the method cannot score have been set aside, and the scores.

    Raises:
        PruningError: a plan file narrows a group that the method cannot score.
    """
    method.prepare(model, None, None)
    if planner.spec.plan is not None:
        return _scored_plan_file(planner, model, method)
    free = [g for g in planner.groups if g.name not in planner.kept]
    scores = score(model, free, method, None)
    for group in free:
        if group.name not in scores:
            planner.kept[group.name] = KeepReason("no-score", f"method {method.name} has nothing to go by in this group")
    return planner.plan(scores=scores), scores


def _scored_plan_file(planner: Planner, model: nn.Module, method: Method) -> tuple[WidthPlan, dict[str, torch.Tensor]]:
    """The plan of a file, which says itself what stays, and the scores of all that it narrows."""
    plan = planner.plan()
    scores = score(model, planner.groups, method, plan)
    unscored = [w.name for w in plan.groups if w.kept < w.channels and w.name not in scores]
    if unscored:
        raise PruningError(
            f"the plan narrows {unscored[0]}, where method {method.name} has nothing to go by",
            fix="choose another `method`, or give the group its dense width in the plan",
        )
    return plan, scores


def score(model: nn.Module, groups: Sequence[ChannelGroup], method: Method, plan: WidthPlan | None) -> dict[str, torch.Tensor]:
    """Scores of shape (channels,) per group; groups that `plan` leaves whole are not scored, groups without a score are absent."""
    narrowing = None if plan is None else {w.name for w in plan.groups if w.kept < w.channels}
    result: dict[str, torch.Tensor] = {}
    for group in groups:
        if narrowing is None or group.name in narrowing:
            scores = method.scores(layer_group(model, group))
            if scores is not None:
                result[group.name] = scores
    return result


def layer_group(model: nn.Module, group: ChannelGroup) -> LayerGroup:
    """A group with the real layers behind its names; bare parameters carry no weights to score and are left out."""
    layers = tuple(
        GroupLayer(m.name, model.get_submodule(m.name), m.is_output, m.handler, m.positions, m.roots)
        for m in group.members
        if not m.is_parameter
    )
    return LayerGroup(group.name, group.channels, layers)


def receipt_of(spec: PruneSpec, planner: Planner, plan: WidthPlan, before: Counts) -> Receipt:
    """The receipt of a plan, as if nothing had been cut yet."""
    notes = list(planner.notes)
    if any(width.kept < width.channels and width.name in _classifier_names(planner.meta_copy) for width in plan.groups):
        notes.append(
            "the classifier's outputs were narrowed: the logits are no longer one per class (`ignore=('head',)` keeps them)"
        )
    return Receipt(request=spec, before=before, after=before, groups=plan.groups, warnings=tuple(notes))


def _classifier_names(model: nn.Module) -> set[str]:
    heads = classifiers(model)
    return {name for name, module in model.named_modules() if any(module is head for head in heads)}


def refuse(receipt: Receipt, plan: WidthPlan) -> None:
    """Refuse a plan that removes nothing, or less than asked for a reason nobody asked for.

    Raises:
        PruningError: it does.
    """
    assert receipt.request is not None
    if plan.removes_nothing:
        raise PruningError(
            f"nothing would be removed: all {len(plan.groups)} groups keep their channels ({_tally(plan.groups)})",
            fix=_fix_for_nothing(plan.groups),
        )
    short = receipt.shortfalls
    if short and not receipt.request.allow_shortfall:
        named = "; ".join(f"{g.name} keeps {g.kept} of {g.channels}, {g.asked} asked ({g.reason}: {g.detail})" for g in short[:3])
        more = f"; and {len(short) - 3} more" if len(short) > 3 else ""
        raise PruningError(
            f"{len(short)} of {len(plan.groups)} groups would keep more than asked: {named}{more}",
            fix="accept it with `allow_shortfall=True`, or name them with `ignore`; another `method` may score them",
        )


def _fix_for_nothing(groups: Sequence[GroupWidth]) -> str:
    """What would make a pruning remove something, judged by the commonest reason that it does not."""
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
