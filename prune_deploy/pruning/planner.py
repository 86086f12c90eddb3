"""Planner of widths, which works on a meta copy without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import nn

from prune_deploy.errors import PruningError, setting
from prune_deploy.pruning.checks.outputs import REACHES_AN_OUTPUT
from prune_deploy.pruning.checks.trial import Trials, cut_copy
from prune_deploy.pruning.counting import count, count_macs, count_params
from prune_deploy.pruning.find_groups import GroupAnalysis, find_groups, halved
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.groups.depgraph import DEFAULT_TIME_LIMIT_S
from prune_deploy.pruning.ignoring import left_alone
from prune_deploy.pruning.imported_plans import fit_plan, read_plan
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.solve import solve
from prune_deploy.pruning.widths import KeepReason, plan_widths
from prune_deploy.records import Counts, WidthPlan
from prune_deploy.specs import IN_MEMORY, PruneSpec, parse_amount

Scores = Mapping[str, torch.Tensor]
KeepReasons = Mapping[str, KeepReason]
_NOTHING: KeepReasons = MappingProxyType({})
_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWidths:
    """Plan that runs, with the reasons found on the way.

    `kept` gives the groups that were left alone, each with its reason. `warnings` say how near a target the plan comes.
    """

    plan: WidthPlan
    kept: KeepReasons
    warnings: tuple[str, ...] = ()


class Planner:
    """Planner of one model's widths, which no plan changes.

    The meta copy and the channel groups are built once, and a trial run of the same widths happens once.
    `input_size` is (channels, height, width). `dense` gives the widths that ratios refer to where the model has been pruned before,
    and `analysis` how it was read then. `limit_s` bounds the building of the dependency graph, in seconds.
    """

    def __init__(
        self,
        model: nn.Module,
        input_size: tuple[int, int, int],
        *,
        dense: Mapping[str, int] | None = None,
        limit_s: float = DEFAULT_TIME_LIMIT_S,
        analysis: GroupAnalysis | None = None,
    ) -> None:
        self.input_size = input_size
        self.name = type(model).__name__
        self.meta_copy = make_meta_copy(model)
        self.groups, self.analysis = find_groups(model, input_size, limit_s=limit_s, analysis=analysis)
        self.before = count(self.meta_copy, input_size)
        self.dense: Mapping[str, int] = dict(dense) if dense is not None else {g.name: g.channels for g in self.groups}
        self._trials = Trials(self.meta_copy, self.groups, input_size)

    def plan(self, spec: PruneSpec, *, protected: KeepReasons = _NOTHING, scores: Scores | None = None) -> PlannedWidths:
        """Plan the widths that `spec` asks for.

        It names a ratio, a target or a plan file. `protected` names groups to leave alone beside those that `spec` itself leaves
        alone. `scores` have shape (channels,), and only the global and isomorphic scopes need them.

        Raises:
            PruningError: the model runs under no plan, or the plan file breaks it.
            InputError: the plan file, a target or a name in `ignore` does not fit the model.
        """
        if spec.plan is not None:
            return self.plan_given(read_plan(spec.plan), source=spec.plan)
        if spec.ratio is not None:
            return self.plan_ratio(spec.ratio, spec, protected=protected, scores=scores)
        return self.plan_target(spec, protected=protected, scores=scores)

    def plan_ratio(
        self, ratio: float, spec: PruneSpec, *, protected: KeepReasons = _NOTHING, scores: Scores | None = None
    ) -> PlannedWidths:
        """Plan the widths at `ratio` by the rules of `spec`.

        The amount that `spec` itself names does not count.

            Raises:
                PruningError, InputError: as `plan`.
        """
        kept = self.kept(spec, protected)
        plan = self._running(lambda: self._at(ratio, spec, kept, scores), kept, spec)
        return PlannedWidths(plan=plan, kept=kept)

    def plan_target(self, spec: PruneSpec, *, protected: KeepReasons = _NOTHING, scores: Scores | None = None) -> PlannedWidths:
        """Plan the widths that come nearest to the target of `spec`.

        The target is a number of MACs or of parameters.

            Raises:
                PruningError, InputError: as `plan`.
        """
        by_macs = spec.target_macs is not None
        field, text = ("target_macs", spec.target_macs) if by_macs else ("target_params", spec.target_params)
        target = parse_amount(str(text), self.before.macs if by_macs else self.before.params, field)
        kept, reached = self.kept(spec, protected), 0

        def nearest() -> WidthPlan:
            nonlocal reached
            measure = (lambda plan: self._macs(plan, kept, spec)) if by_macs else self._params
            plan, reached = solve(lambda ratio: self._at(ratio, spec, kept, scores), measure, target)
            return plan

        plan = self._running(nearest, kept, spec)
        off = reached / target - 1
        note = f"{setting(field, text)}: {reached:,} of {target:,} asked for ({off:+.2%})"
        if abs(off) > _TOLERANCE:
            note += f"; widths in steps of {spec.round_to} allow no closer"
        return PlannedWidths(plan=plan, kept=kept, warnings=(note,))

    def plan_given(self, plan: WidthPlan, *, source: str = IN_MEMORY) -> PlannedWidths:
        """Check a plan from elsewhere, and complete it.

        Groups that it does not name keep their channels. `source` says in errors where it comes from.

        Raises:
            InputError: it names an unknown group, or a width that the group cannot have.
            PruningError: the model does not run with it.
        """
        plan = fit_plan(plan, self.groups, self.name, source)
        if error := self._trials.failure(plan):
            raise PruningError(
                f"the model does not run with the widths of {source}: {error}", fix="give the breaking group its dense width"
            )
        return PlannedWidths(plan=plan, kept={})

    def kept(self, spec: PruneSpec, protected: KeepReasons = _NOTHING) -> dict[str, KeepReason]:
        """Find the groups that keep their channels whatever the amount, with reasons.

        They are `protected`, those that `spec` leaves alone, and those that reach an output, unless `spec` narrows outputs.

        Raises:
            InputError: a name in `ignore` matches nothing.
        """
        kept = {**protected, **left_alone(self.meta_copy, self.groups, spec)}
        if spec.narrows_outputs:
            return kept
        free = [group for group in self.groups if group.name not in kept]
        return kept | {name: KeepReason("ignored", REACHES_AN_OUTPUT) for name in self.reaching_outputs(free)}

    def counts(self, plan: WidthPlan) -> tuple[int, int]:
        """Count the planned model's (parameters, MACs)."""
        narrowed = cut_copy(self.meta_copy, self.groups, plan)
        return count_params(narrowed), count_macs(narrowed, self.input_size)

    def reaching_outputs(self, groups: Sequence[ChannelGroup]) -> frozenset[str]:
        """Find those of `groups` whose channels are the network's outputs.

        Their names are found by narrowing, so a group that only changes values is not among them.
        """
        names, plan = {group.name for group in groups}, halved(self.groups)
        plan = replace(plan, groups=tuple(w if w.name in names else replace(w, kept=w.channels) for w in plan.groups))
        breaking = self._trials.breaking_groups(plan, narrows_outputs=False)
        return frozenset(name for name, reason in breaking.items() if reason == REACHES_AN_OUTPUT)

    def narrows_outputs(self, plan: WidthPlan) -> bool:
        """Tell whether a plan makes an output narrower."""
        return self._trials.failure(plan, narrows_outputs=False) == REACHES_AN_OUTPUT

    def _running(self, make: Callable[[], WidthPlan], kept: dict[str, KeepReason], spec: PruneSpec) -> WidthPlan:
        """Make plans until one runs.

        Every group that breaks the model, or reaches an output that stays, joins `kept` before the next plan is made.
        """
        while True:
            plan = make()
            breaking = self._trials.breaking_groups(plan, narrows_outputs=spec.narrows_outputs)
            if not breaking:
                return plan
            kept.update(_protected(breaking))

    def _at(self, ratio: float, spec: PruneSpec, kept: KeepReasons, scores: Scores | None) -> WidthPlan:
        widths = plan_widths(self.groups, spec, ratio, kept=kept, dense=self.dense, scores=scores)
        return WidthPlan(groups=widths, model=self.name)

    def _macs(self, plan: WidthPlan, kept: dict[str, KeepReason], spec: PruneSpec) -> int:
        # While solving, groups that break the model are not known yet. Such a plan has no MACs to count.
        if breaking := self._trials.breaking_groups(plan, narrows_outputs=spec.narrows_outputs):
            kept.update(_protected(breaking))
            whole = (replace(w, kept=w.channels, reason="protected") if w.name in breaking else w for w in plan.groups)
            plan = replace(plan, groups=tuple(whole))
        return self.counts(plan)[1]

    def _params(self, plan: WidthPlan) -> int:
        return count_params(cut_copy(self.meta_copy, self.groups, plan))


def _protected(breaking: Mapping[str, str]) -> dict[str, KeepReason]:
    return {name: KeepReason("ignored" if error == REACHES_AN_OUTPUT else "protected", error) for name, error in breaking.items()}


def plan_stages(
    model: nn.Module, spec: PruneSpec, input_size: tuple[int, int, int], ratios: Sequence[float]
) -> Iterator[tuple[WidthPlan, Counts]]:
    """Plan an iterative pruning, and count what each stage leaves.

    There is a stage per ratio of the dense widths, and each starts from what the one before left. No weights are needed, so this holds
    for local widths only, which do not depend on scores. A ratio of 1.0 is legal here: it asks for nothing to remain, and `when_empty`
    says what does.
    """
    current, dense, analysis = model, None, None
    for ratio in ratios:
        planner = Planner(current, input_size, dense=dense, analysis=analysis)
        dense, analysis = planner.dense, planner.analysis
        plan = planner.plan_ratio(ratio, spec).plan
        current = cut_copy(planner.meta_copy, planner.groups, plan)
        yield plan, count(current, input_size)
