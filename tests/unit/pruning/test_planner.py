"""From a request to a plan that runs: plan files, and the sizes of an iterative pruning without a single weight."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from prune_deploy.errors import InputError, PruneDeployError, PruningError
from prune_deploy.pruning.counting import count
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.planner import Planner, plan_stages
from prune_deploy.pruning.pruner import prune
from prune_deploy.pruning.widths import KeepReason
from prune_deploy.records import GroupWidth, WidthPlan, to_json
from prune_deploy.specs import IN_MEMORY, PruneSpec
from support.models import tiny_models as tiny

Size = tuple[int, int, int]
IN_MEMORY_SPEC = PruneSpec(plan=IN_MEMORY)


def written(plan: WidthPlan, folder: Path) -> PruneSpec:
    """A request for a plan, which is in a file."""
    path = folder / "plan.json"
    path.write_text(to_json(plan), encoding="utf-8")
    return PruneSpec(plan=str(path))


def plan_of(model: nn.Module, size: Size = tiny.SIZE, **options: object) -> WidthPlan:
    """The plan of a ratio."""
    spec = PruneSpec(**({"ratio": 0.5, "round_to": 4} | options))  # type: ignore[arg-type]
    return Planner(model, size).plan(spec).plan


def changed(plan: WidthPlan, name: str, **fields: object) -> WidthPlan:
    """The plan with one group's fields replaced."""
    groups = tuple(replace(g, **fields) if g.name == name else g for g in plan.groups)  # type: ignore[arg-type]
    assert groups != plan.groups
    return replace(plan, groups=groups)


@pytest.mark.parametrize(
    ("build", "size", "options"),
    [
        (tiny.Residual, tiny.SIZE, {}),
        (tiny.Residual, tiny.SIZE, {"ratio": 0.3, "round_to": 1}),
        (tiny.vit, tiny.VIT_SIZE, {}),
        (tiny.vit, tiny.VIT_SIZE, {"heads": True}),
        (tiny.vit, tiny.VIT_SIZE, {"bottleneck": True}),
        (tiny.swin, tiny.SWIN_SIZE, {"heads": True}),
    ],
)
def test_a_written_plan_prunes_like_the_request_it_came_from(
    build: Callable[[], nn.Module], size: Size, options: dict[str, object], tmp_path: Path
) -> None:
    dense = tiny.lively(build())
    spec = PruneSpec(**({"ratio": 0.5, "round_to": 4} | options))  # type: ignore[arg-type]
    first, second = copy.deepcopy(dense), copy.deepcopy(dense)
    asked = prune(first, spec, size)
    replayed = prune(second, written(asked.plan, tmp_path), size)
    assert replayed.selection == asked.selection
    assert replayed.receipt.after == asked.receipt.after
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert {w.reason for w in replayed.plan.groups} == {"plan"}
    assert [(w.name, w.kept, w.members) for w in replayed.plan.groups] == [(w.name, w.kept, w.members) for w in asked.plan.groups]


def test_a_plan_may_name_only_what_it_changes(tmp_path: Path) -> None:
    plan = WidthPlan(groups=(GroupWidth(name="second.0", channels=24, kept=7),), model="anything")
    model = tiny.lively(tiny.Plain())
    result = prune(model, written(plan, tmp_path), tiny.SIZE)
    assert {w.name: w.kept for w in result.plan.groups} == {"head": 5, "first.0": 16, "second.0": 7}
    assert result.receipt.shortfalls == ()


def refusal(plan: WidthPlan, folder: Path, model: nn.Module, size: Size = tiny.SIZE) -> PruneDeployError:
    """The error of pruning by a plan file, which is also that of the plan in memory; the model must be as before."""
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(PruneDeployError) as of_file:
        prune(model, written(plan, folder), size)
    with pytest.raises(PruneDeployError) as of_memory:
        prune(model, IN_MEMORY_SPEC, size, plan=plan)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert type(of_file.value) is type(of_memory.value)
    assert of_file.value.message.replace(str(folder / "plan.json"), IN_MEMORY) == of_memory.value.message
    assert of_file.value.fix
    assert of_file.value.fix == of_memory.value.fix
    return of_file.value


def test_a_plan_of_another_model_is_bad_input(tmp_path: Path) -> None:
    error = refusal(plan_of(tiny.Concat()), tmp_path, tiny.Plain())
    assert isinstance(error, InputError)
    assert "names groups that Plain does not have: left.0" in error.message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 32}, "8 of 32 channels; the model has 16"),
        ({"kept": 0}, "0 of 16 channels"),
        ({"kept": 17}, "17 of 16 channels"),
        ({"kept": -1}, "-1 of 16 channels"),
    ],
)
def test_widths_that_the_model_cannot_have_are_bad_input(fields: dict[str, object], message: str, tmp_path: Path) -> None:
    error = refusal(changed(plan_of(tiny.Plain()), "first.0", **fields), tmp_path, tiny.Plain())
    assert isinstance(error, InputError)
    assert f"the plan gives first.0 {message}" in error.message


def test_a_grouped_convolution_takes_only_multiples_of_its_groups(tmp_path: Path) -> None:
    error = refusal(changed(plan_of(tiny.Residual()), "grouped.0", kept=6), tmp_path, tiny.Residual())
    assert isinstance(error, InputError)
    assert "kept in multiples of 4" in error.message


def test_whole_heads_are_removed_in_multiples_of_their_width(tmp_path: Path) -> None:
    plan = changed(plan_of(tiny.vit(), tiny.VIT_SIZE, heads=True), "blocks.0.attn.qkv", kept=24)
    error = refusal(plan, tmp_path, tiny.vit(), tiny.VIT_SIZE)
    assert isinstance(error, InputError)
    assert "kept in multiples of 16" in error.message


def test_a_plan_that_breaks_the_model_is_an_error_that_says_how(tmp_path: Path) -> None:
    plan = WidthPlan(groups=(GroupWidth(name="second.0", channels=24, kept=12),), model="m")
    error = refusal(plan, tmp_path, tiny.HardView())
    assert isinstance(error, PruningError)
    assert error.exit_code == 1
    assert "shape '[-1, 24, 16, 16]' is invalid" in error.message


def test_a_plan_that_keeps_everything_removes_nothing(tmp_path: Path) -> None:
    plan = WidthPlan(groups=(GroupWidth(name="first.0", channels=16, kept=16),), model="m")
    error = refusal(plan, tmp_path, tiny.Plain())
    assert isinstance(error, PruningError)
    assert "nothing would be removed" in error.message


def test_a_missing_or_damaged_plan_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`plan=.*gone\.json.`: no such file"):
        prune(tiny.Plain(), PruneSpec(plan=str(tmp_path / "gone.json")), tiny.SIZE)
    spec = written(plan_of(tiny.Plain()), tmp_path)
    path = tmp_path / "plan.json"
    path.write_text(path.read_text()[:-5])
    with pytest.raises(InputError, match=r"plan\.json is not valid JSON"):
        prune(tiny.Plain(), spec, tiny.SIZE)
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(InputError, match=r"plan\.json is not a WidthPlan"):
        prune(tiny.Plain(), spec, tiny.SIZE)


def test_a_plan_in_memory_comes_with_the_request_that_says_so() -> None:
    plan = plan_of(tiny.Plain())
    with pytest.raises(InputError, match="says otherwise how much to remove"):
        prune(tiny.Plain(), PruneSpec(ratio=0.5), tiny.SIZE, plan=plan)
    with pytest.raises(InputError, match="announces a plan in memory, and none came with it"):
        prune(tiny.Plain(), IN_MEMORY_SPEC, tiny.SIZE)


# --- iterative pruning without weights -------------------------------------------------------------------------------------------


def test_stages_are_the_sizes_that_pruning_at_once_gives() -> None:
    ratios = [0.125, 0.25, 0.5, 0.75]
    spec = PruneSpec(ratio=0.5, round_to=2)
    for ratio, (plan, counts) in zip(ratios, plan_stages(tiny.Residual(), spec, tiny.SIZE, ratios), strict=True):
        model = tiny.lively(tiny.Residual())
        at_once = prune(model, replace(spec, ratio=ratio), tiny.SIZE)
        assert {w.name: w.kept for w in plan.groups} == {w.name: w.kept for w in at_once.plan.groups}
        assert counts == at_once.receipt.after == count(make_meta_copy(model), tiny.SIZE)


def test_stages_shrink_down_to_what_must_remain() -> None:
    spec = PruneSpec(ratio=0.5, round_to=2, ignore=("none",), when_empty="skip")
    ratios = [i / 10 for i in range(1, 11)]
    sizes = [counts for _, counts in plan_stages(tiny.Plain(), spec, tiny.SIZE, ratios)]
    assert all(later.params <= earlier.params and later.macs <= earlier.macs for earlier, later in itertools.pairwise(sizes))
    assert sizes[-1].params > 0
    assert sizes[-1] == sizes[-2], "at a ratio of 1 a group that would be emptied keeps what it has"


def test_stages_leave_the_model_alone() -> None:
    model = tiny.lively(tiny.Plain())
    before = [p.clone() for p in model.parameters()]
    list(plan_stages(model, PruneSpec(ratio=0.5), tiny.SIZE, [0.5, 0.75]))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_grouped_convolution_can_be_narrowed_until_it_is_depthwise_and_on() -> None:
    spec = PruneSpec(ratio=0.5, round_to=1)
    sizes = [counts.params for _, counts in plan_stages(tiny.Residual(), spec, tiny.SIZE, [0.5, 0.75, 0.9, 1.0])]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] > 0


# --- plans need no weights -------------------------------------------------------------------------------------------------------


def test_a_plan_costs_no_weights() -> None:
    with torch.device("meta"):
        model = tiny.Residual()
    assert plan_of(model) == plan_of(tiny.lively(tiny.Residual()))


def test_a_plan_names_all_members_of_each_group() -> None:
    members = {w.name: set(w.members) for w in plan_of(tiny.Residual()).groups}
    assert members["stem.0"] >= {"stem.0", "stem.1", "restore.0", "project.0", "reduce.0", "expand.0", "head"}


def test_protected_groups_stay_protected_at_every_ratio() -> None:
    planner = Planner(tiny.HardView(), tiny.SIZE)
    for ratio in (0.5, 0.25):
        reasons = {w.name: w.reason for w in planner.plan(PruneSpec(ratio=ratio)).plan.groups}
        assert {name for name, reason in reasons.items() if reason == "protected"} == {"second.0"}


# --- planning has no side effects ------------------------------------------------------------------------------------------------

REQUESTS = [
    PruneSpec(ratio=0.5, round_to=4),
    PruneSpec(ratio=0.3, round_to=1, ignore=("none",)),
    PruneSpec(target_macs="0.6x", round_to=1),
    PruneSpec(target_params="0.5x", bottleneck=True),
]


def state(planner: Planner) -> dict[str, object]:
    """All that a planner is asked for, down to the attributes of its meta copy's modules."""
    modules = {
        name: {leaf: str(value) for leaf, value in vars(module).items() if not leaf.startswith("_")}
        for name, module in planner.meta_copy.named_modules()
    }
    shapes = {name: p.shape for name, p in planner.meta_copy.named_parameters()}
    fields = {name: copy.copy(value) for name, value in vars(planner).items() if name not in ("meta_copy", "_trials")}
    return fields | {"modules": modules, "shapes": shapes}


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(REQUESTS, 2)))
def test_two_requests_give_the_same_plans_in_either_order(first: PruneSpec, second: PruneSpec) -> None:
    planner, other = (Planner(tiny.HardView(), tiny.SIZE) for _ in range(2))
    before = state(planner)
    forwards = [planner.plan(spec) for spec in (first, second)]
    assert state(planner) == before
    assert forwards == [other.plan(spec) for spec in (second, first)][::-1]
    assert forwards == [planner.plan(spec) for spec in (first, second)]


def test_what_is_protected_for_one_plan_is_not_for_the_next() -> None:
    planner = Planner(tiny.Residual(), tiny.SIZE)
    spec = PruneSpec(ratio=0.5, round_to=4)
    protected = {"stem.0": KeepReason("protected", "as told")}
    kept = {w.name: w.kept for w in planner.plan(spec, protected=protected).plan.groups}
    free = {w.name: w.kept for w in planner.plan(spec).plan.groups}
    assert kept["stem.0"] > free["stem.0"]
    assert {name for name in free if kept[name] != free[name]} == {"stem.0"}
    assert protected == {"stem.0": KeepReason("protected", "as told")}


def test_many_widths_are_planned_with_one_planner_and_each_is_what_a_fresh_one_gives() -> None:
    planner = Planner(tiny.Residual(), tiny.SIZE)
    plan = planner.plan(PruneSpec(ratio=0.25, round_to=1)).plan
    widths = [changed(plan, "expand.0", kept=kept) for kept in range(1, 9)]
    assert [planner.counts(planner.plan_given(each).plan) for each in widths] == [
        (counts := Planner(tiny.Residual(), tiny.SIZE)).counts(counts.plan_given(each).plan) for each in widths
    ]
