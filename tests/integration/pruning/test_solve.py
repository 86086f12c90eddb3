"""Solving for a target: the nearest plan among those that widths in steps allow."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from prune_deploy.errors import InputError
from prune_deploy.pruning.checks.trial import cut_copy
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.solve import solve
from prune_deploy.records import GroupWidth, WidthPlan
from prune_deploy.specs import PruneSpec
from support.models import tiny_models as tiny


def plan_at(widths: tuple[int, ...], step: int, ratio: float) -> WidthPlan:
    """A local plan over groups of these widths, in multiples of `step`, at least one each."""
    kept = [max(step, int(w * (1 - ratio)) // step * step) for w in widths]
    groups = [GroupWidth(name=f"g{i}", channels=w, kept=k) for i, (w, k) in enumerate(zip(widths, kept, strict=True))]
    return WidthPlan(groups=tuple(groups), model="m")


def chain_size(plan: WidthPlan) -> int:
    """Parameters of a chain of dense layers with these widths."""
    widths = [3, *(g.kept for g in plan.groups), 10]
    return sum(a * b for a, b in itertools.pairwise(widths))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
@pytest.mark.parametrize("step", [1, 8])
def test_a_target_is_met_within_one_percent_where_widths_are_fine(step: int, share: float) -> None:
    widths = tuple(range(256, 1024, 96))
    target = int(chain_size(plan_at(widths, 1, 0.0)) * share)
    plan, reached = solve(lambda r: plan_at(widths, step, r), chain_size, target)
    assert reached == chain_size(plan)
    assert abs(reached / target - 1) < 0.01


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_coarse_widths_come_no_farther_than_either_neighbouring_ratio(share: float) -> None:
    widths = (64, 128, 96, 160)
    target = int(chain_size(plan_at(widths, 1, 0.0)) * share)
    _, reached = solve(lambda r: plan_at(widths, 32, r), chain_size, target)
    every_ratio = {chain_size(plan_at(widths, 32, i / 4096)) for i in range(4096)}
    assert abs(reached - target) <= min(abs(size - target) for size in every_ratio)


def test_a_target_below_the_narrowest_plan_gives_the_narrowest_plan() -> None:
    widths = (64, 64)
    plan, reached = solve(lambda r: plan_at(widths, 16, r), chain_size, 10)
    assert [g.kept for g in plan.groups] == [16, 16]
    assert reached == chain_size(plan)


def test_an_exact_target_is_met_exactly() -> None:
    widths = (100, 200, 300)
    wanted = plan_at(widths, 1, 0.37)
    _, reached = solve(lambda r: plan_at(widths, 1, r), chain_size, chain_size(wanted))
    assert reached == chain_size(wanted)


@pytest.mark.parametrize("share", [0.3, 0.45, 0.6, 0.8])
def test_one_wide_group_that_no_step_can_settle_is_made_up_for_by_the_others(share: float) -> None:
    """A ViT in small: one stream, whose step is worth more than the tolerance, and inner widths in fine steps."""
    inner = 40

    def size(plan: WidthPlan) -> int:
        return plan.groups[0].kept * (50 + sum(g.kept for g in plan.groups[1:]))

    def at(ratio: float) -> WidthPlan:
        stream, rest = plan_at((192,), 32, ratio), plan_at((768,) * inner, 8, ratio)
        return replace(rest, groups=(*stream.groups, *(replace(g, name=f"inner{g.name}") for g in rest.groups)))

    target = int(size(at(0.0)) * share)
    _, reached = solve(at, size, target)
    assert abs(reached / target - 1) < 0.01


def test_solving_takes_few_measurements() -> None:
    widths, calls = tuple(range(256, 1024, 32)), []

    def measure(plan: WidthPlan) -> int:
        calls.append(plan)
        return chain_size(plan)

    solve(lambda r: plan_at(widths, 8, r), measure, chain_size(plan_at(widths, 1, 0.0)) // 2)
    assert len(calls) < 2 + 16 + 2 * len(widths)


# --- on networks -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_target_params_are_met_within_one_percent(share: float) -> None:
    planner = Planner(tiny.vit(embed_dim=96), tiny.VIT_SIZE)
    planned = planner.plan(PruneSpec(target_params=f"{share}x", round_to=1))
    params, _ = planner.counts(planned.plan)
    assert abs(params / planner.before.params / share - 1) < 0.01
    (note,) = planned.warnings
    assert f"`target_params='{share}x'`: {params:,} of {int(planner.before.params * share):,} asked for" in note
    assert "allow no closer" not in note


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_target_macs_are_met_within_one_percent(share: float) -> None:
    planner = Planner(tiny.Residual(), tiny.SIZE)
    _, macs = planner.counts(planner.plan(PruneSpec(target_macs=f"{share}x", round_to=1)).plan)
    assert abs(macs / planner.before.macs / share - 1) < 0.01


def test_absolute_targets_mean_what_is_left() -> None:
    planner = Planner(tiny.vit(), tiny.VIT_SIZE)
    params, _ = planner.counts(planner.plan(PruneSpec(target_params="30k", round_to=1)).plan)
    assert params == pytest.approx(30_000, rel=0.01)


def test_a_target_that_steps_cannot_meet_is_said_in_the_receipt() -> None:
    planner = Planner(tiny.Plain(), tiny.SIZE)
    planned = planner.plan(PruneSpec(target_params="0.9x", round_to=16))
    params, _ = planner.counts(planned.plan)
    assert abs(params / planner.before.params / 0.9 - 1) > 0.01
    assert "widths in steps of 16 allow no closer" in planned.warnings[0]


def test_a_target_above_the_dense_model_is_bad_input() -> None:
    planner = Planner(tiny.Plain(), tiny.SIZE)
    with pytest.raises(InputError, match=r"`target_macs='2\.0G'` asks for 2,000,000,000"):
        planner.plan(PruneSpec(target_macs="2.0G"))


def test_a_target_is_met_around_a_group_that_must_be_protected() -> None:
    planner = Planner(tiny.HardView(), tiny.SIZE)
    planned = planner.plan(PruneSpec(target_macs="0.6x", round_to=1))
    plan = planned.plan
    assert {w.name: w.reason for w in plan.groups}["second.0"] == planned.kept["second.0"].reason == "protected"
    params, macs = planner.counts(plan)
    assert abs(macs / planner.before.macs / 0.6 - 1) < 0.05
    assert sum(p.numel() for p in cut_copy(planner.meta_copy, planner.groups, plan).parameters()) == params


def test_targets_and_ratios_give_plans_of_the_same_kind() -> None:
    planner = Planner(tiny.Plain(), tiny.SIZE)
    by_target, by_ratio = (planner.plan(spec).plan for spec in (PruneSpec(target_params="0.5x"), PruneSpec(ratio=0.5)))
    strip = [replace(g, kept=0, asked=0, reason="as-asked", detail="") for g in by_target.groups]
    assert strip == [replace(g, kept=0, asked=0, reason="as-asked", detail="") for g in by_ratio.groups]
