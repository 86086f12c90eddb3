"""From a request to a WidthPlan that is known to run. Needs no weights: it works on the meta copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from prune_deploy.errors import InputError, PruningError, setting
from prune_deploy.pruning.checks.trial import breaking_groups, cut_copy, failure
from prune_deploy.pruning.counting import count, count_macs, count_params
from prune_deploy.pruning.find_groups import GroupAnalysis, find_groups
from prune_deploy.pruning.groups.depgraph import DEFAULT_TIME_LIMIT_S
from prune_deploy.pruning.ignoring import left_alone
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.solve import solve
from prune_deploy.pruning.widths import KeepReason, plan_widths
from prune_deploy.records import Counts, GroupWidth, WidthPlan, from_json
from prune_deploy.specs import PruneSpec, parse_amount

Scores = Mapping[str, torch.Tensor]
_TOLERANCE = 0.01


class Planner:
    """Plans widths for one model under one request; protected groups are found once and stay protected.

    `dense` gives the widths that ratios refer to, where the model has been pruned before, and `reading` how it was read then.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: PruneSpec,
        input_size: tuple[int, int, int],
        *,
        dense: Mapping[str, int] | None = None,
        limit_s: float = DEFAULT_TIME_LIMIT_S,
        analysis: GroupAnalysis | None = None,
    ) -> None:
        self.spec = spec
        self.limit_s = limit_s
        self.input_size = input_size
        self.name = type(model).__name__
        self.meta_copy = make_meta_copy(model)
        self.groups, self.analysis = find_groups(model, input_size, limit_s=limit_s, analysis=analysis)
        self.kept: dict[str, KeepReason] = left_alone(self.meta_copy, self.groups, spec)
        self.before = count(self.meta_copy, input_size)
        self.dense = dict(dense) if dense is not None else {g.name: g.channels for g in self.groups}
        self.notes: list[str] = []

    def plan(self, ratio: float | None = None, scores: Scores | None = None) -> WidthPlan:
        """A plan that runs: for `ratio`, or else for what the request asks.

        Raises:
            PruningError: the model does not run even with everything protected, or a plan file breaks it.
            InputError: the plan file or a target does not fit the model.
        """
        if self.spec.plan is not None and ratio is None:
            return self._plan_from_file(Path(self.spec.plan))
        while True:
            plan = self._plan_once(ratio, scores)
            breaking = breaking_groups(self.meta_copy, self.groups, plan, self.input_size)
            if not breaking:
                return plan
            self.kept.update({name: KeepReason("protected", reason) for name, reason in breaking.items()})

    def counts(self, plan: WidthPlan) -> tuple[int, int]:
        """(parameters, MACs) of the planned model."""
        narrowed = cut_copy(self.meta_copy, self.groups, plan)
        return count_params(narrowed), count_macs(narrowed, self.input_size)

    def _plan_once(self, ratio: float | None, scores: Scores | None) -> WidthPlan:
        ratio = self.spec.ratio if ratio is None else ratio
        if ratio is not None:
            return self._at(ratio, scores)
        by_macs = self.spec.target_macs is not None
        field, text = ("target_macs", self.spec.target_macs) if by_macs else ("target_params", self.spec.target_params)
        before = self.before.macs if by_macs else self.before.params
        target = parse_amount(str(text), before, field)
        plan, reached = solve(lambda r: self._at(r, scores), self._macs if by_macs else self._params, target)
        off = reached / target - 1
        note = f"{setting(field, text)}: {reached:,} of {target:,} asked for ({off:+.2%})"
        if abs(off) > _TOLERANCE:
            note += f"; widths in steps of {self.spec.round_to} allow no closer"
        self.notes = [note]
        return plan

    def _at(self, ratio: float, scores: Scores | None) -> WidthPlan:
        return WidthPlan(
            groups=plan_widths(self.groups, self.spec, ratio, kept=self.kept, dense=self.dense, scores=scores), model=self.name
        )

    def _macs(self, plan: WidthPlan) -> int:
        # While solving, groups that break the model are not known yet; such a plan has no MACs to count.
        if failure(self.meta_copy, self.groups, plan, self.input_size):
            breaking = breaking_groups(self.meta_copy, self.groups, plan, self.input_size)
            self.kept.update({name: KeepReason("protected", reason) for name, reason in breaking.items()})
            plan = replace(
                plan,
                groups=tuple(replace(w, kept=w.channels, reason="protected") if w.name in breaking else w for w in plan.groups),
            )
        return self.counts(plan)[1]

    def _params(self, plan: WidthPlan) -> int:
        return count_params(cut_copy(self.meta_copy, self.groups, plan))

    def _plan_from_file(self, path: Path) -> WidthPlan:
        if not path.is_file():
            raise InputError(
                f"{setting('plan', path)}: no such file", fix="name a plan written by an earlier export (plan.json)", field="plan"
            )
        asked = {width.name: width for width in from_json(WidthPlan, path.read_bytes(), source=str(path)).groups}
        widths = tuple(
            self._from_file(asked.pop(g.name, None), g.name, g.channels, g.blocks, g.heads is not None) for g in self.groups
        )
        if asked:
            raise InputError(
                f"{path} names groups that {self.name} does not have: {', '.join(list(asked)[:3])}",
                fix="use a plan of this model",
            )
        members = {g.name: tuple(m.name for m in g.members) for g in self.groups}
        plan = WidthPlan(groups=tuple(replace(w, members=members[w.name]) for w in widths), model=self.name)
        if error := failure(self.meta_copy, self.groups, plan, self.input_size):
            raise PruningError(
                f"the model does not run with the widths of {path}: {error}", fix="give the breaking group its dense width"
            )
        return plan

    @staticmethod
    def _from_file(asked: GroupWidth | None, name: str, channels: int, blocks: int, heads: bool) -> GroupWidth:
        if asked is None:
            return GroupWidth(name=name, channels=channels, kept=channels, blocks=blocks, asked=channels, reason="plan")
        whole = asked.whole_blocks and heads
        step = channels // blocks if whole else blocks
        if asked.channels != channels or not 0 < asked.kept <= channels or asked.kept % step:
            raise InputError(
                f"the plan gives {name} {asked.kept} of {asked.channels} channels; the model has {channels}, kept in multiples of {step}",
                fix="correct the plan, or make one for this model with an export of a `ratio`",
            )
        return GroupWidth(
            name=name, channels=channels, kept=asked.kept, blocks=blocks, whole_blocks=whole, asked=asked.kept, reason="plan"
        )


def plan_stages(
    model: nn.Module, spec: PruneSpec, input_size: tuple[int, int, int], ratios: Sequence[float]
) -> Iterator[tuple[WidthPlan, Counts]]:
    """Plans and sizes of an iterative pruning, one per ratio of the dense widths, each starting from what the one before left.

    Needs no weights, so it holds for local widths only, which do not depend on scores. A ratio of 1.0 is legal here: it asks for
    nothing to remain, and `when_empty` says what does.
    """
    current, dense, analysis = model, None, None
    for ratio in ratios:
        planner = Planner(current, spec, input_size, dense=dense, analysis=analysis)
        dense, analysis = planner.dense, planner.analysis
        plan = planner.plan(ratio)
        current = cut_copy(planner.meta_copy, planner.groups, plan)
        yield plan, count(current, input_size)
