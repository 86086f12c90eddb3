"""The whole of a pruning: what was asked, what was cut, and a receipt that says so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from prune_deploy.errors import InputError, PruningError
from prune_deploy.models import create_model
from prune_deploy.pruning import methods
from prune_deploy.pruning.counting import count, count_params
from prune_deploy.pruning.groups.depgraph import trace_groups
from prune_deploy.pruning.meta_copy import example_input, make_meta_copy
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.pruner import Pruned, prune, score
from prune_deploy.records import WidthPlan, from_json, to_json
from prune_deploy.specs import IN_MEMORY, ModelSpec, PruneSpec
from support.models import tiny_models as tiny

Size = tuple[int, int, int]
Build = Callable[[], nn.Module]
NETWORKS: list[tuple[Build, Size]] = [
    (tiny.Residual, tiny.SIZE),
    (tiny.Concat, tiny.SIZE),
    (tiny.Flattened, tiny.SIZE),
    (tiny.vit, tiny.VIT_SIZE),
    (tiny.swin, tiny.SWIN_SIZE),
]


def pruned(build: Build, size: Size, **options: Any) -> tuple[nn.Module, nn.Module, Pruned]:
    """A dense network, its pruned copy, and what was done."""
    dense = tiny.lively(build())
    model = copy.deepcopy(dense)
    return dense, model, prune(model, PruneSpec(**({"ratio": 0.5, "round_to": 4} | options)), size)


def assert_indexes(dense: nn.Module, model: nn.Module, result: Pruned, size: Size) -> None:
    """Every layer of `model` is the dense layer, indexed by the channels of the selection, in their order."""
    kept_out: dict[str, list[int]] = {}
    kept_in: dict[str, list[int]] = {}
    for group in trace_groups(make_meta_copy(dense), example_input(size)):
        stays = set(result.selection.kept[group.name])
        for member in group.members:
            place = kept_out if member.is_output else kept_in
            positions = [p for p, root in zip(member.positions, member.roots, strict=True) if root in stays]
            place[member.name] = sorted([*place.get(member.name, []), *positions])
    compared = 0
    for name, layer in model.named_modules():
        before: Any = dense.get_submodule(name)
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and name in kept_out:
            expected = before.weight[kept_out[name]]
            if name in kept_in and getattr(layer, "groups", 1) == 1:
                expected = expected[:, kept_in[name]]
            elif name in kept_in and before.weight.shape[1] > 1:  # grouped: positions within the first block
                expected = expected[:, [i for i in kept_in[name] if i < before.weight.shape[1]]]
            assert torch.equal(layer.weight, expected), name
            assert layer.bias is None or torch.equal(layer.bias, before.bias[kept_out[name]])
            compared += 1
        elif isinstance(layer, (nn.BatchNorm2d, nn.LayerNorm)) and name in kept_out:
            assert layer.weight is not None
            assert torch.equal(layer.weight, before.weight[kept_out[name]]), name
            compared += 1
    assert compared >= 4


@pytest.mark.parametrize(("build", "size"), NETWORKS)
def test_the_receipt_agrees_with_the_network(build: Build, size: Size) -> None:
    dense, model, result = pruned(build, size)
    receipt = result.receipt
    assert receipt.before == count(make_meta_copy(dense), size)
    assert receipt.after == count(make_meta_copy(model), size)
    assert receipt.before.params == sum(p.numel() for p in dense.parameters())
    assert receipt.after.params == sum(p.numel() for p in model.parameters())
    assert receipt.after.params < 0.5 * receipt.before.params
    assert receipt.after.macs < receipt.before.macs
    assert receipt.after.macs_with_attention < receipt.before.macs_with_attention
    assert receipt.groups == result.plan.groups
    assert receipt.shortfalls == ()
    assert model(tiny.images(size, 1)).shape == (1, 5)
    assert model(tiny.images(size, 2)).shape == (2, 5)


@pytest.mark.parametrize(("build", "size"), NETWORKS)
def test_every_group_really_has_its_planned_width(build: Build, size: Size) -> None:
    dense, model, result = pruned(build, size, ratio=0.3)
    again = {g.name: g for g in trace_groups(make_meta_copy(model), example_input(size))}
    for width in result.plan.groups:
        assert again[width.name].channels == width.kept, width.name
        assert len(result.selection.kept[width.name]) == width.kept
    assert {g.name: g.channels for g in trace_groups(make_meta_copy(dense), example_input(size))} == {
        w.name: w.channels for w in result.plan.groups
    }


@pytest.mark.parametrize(("build", "size"), NETWORKS)
def test_the_selection_is_of_the_best_scored_channels_and_says_what_was_kept(build: Build, size: Size) -> None:
    dense, model, result = pruned(build, size, method="l1")
    groups = trace_groups(make_meta_copy(dense), example_input(size))
    scores = score(dense, groups, methods.create("l1"), None)
    for group in groups:
        blocks = scores[group.name].reshape(group.blocks, -1).mean(0)  # equal blocks lose equal positions
        kept = sorted({i % len(blocks) for i in result.selection.kept[group.name]})
        gone = sorted(set(range(len(blocks))) - set(kept))
        assert not gone or blocks[kept].min() >= blocks[gone].max(), group.name
    assert_indexes(dense, model, result, size)


@pytest.mark.parametrize(("build", "size", "steps"), [(*network, 3) for network in NETWORKS] + [(tiny.Residual, tiny.SIZE, 5)])
def test_the_selection_of_several_steps_is_told_in_the_dense_numbering(build: Build, size: Size, steps: int) -> None:
    dense, model, result = pruned(build, size, ratio=0.6, steps=steps)
    once = pruned(build, size, ratio=0.6)[2]
    assert result.plan == once.plan, "steps change which channels go, not how many"
    assert result.receipt.after == once.receipt.after
    assert_indexes(dense, model, result, size)


def test_the_selection_of_heads_in_several_steps_is_told_in_the_dense_numbering() -> None:
    dense, model, result = pruned(lambda: tiny.vit(embed_dim=96, num_heads=6), tiny.VIT_SIZE, steps=3, heads=True)
    assert all(model.get_submodule(f"blocks.{i}.attn").num_heads == 3 for i in range(2))
    kept = result.selection.kept["blocks.0.attn.qkv"]
    assert all(set(range(h * 16, h * 16 + 16)) <= set(kept) for h in {channel // 16 for channel in kept}), "heads go whole"
    assert_indexes(dense, model, result, tiny.VIT_SIZE)


def test_later_steps_judge_what_the_earlier_ones_left() -> None:
    """Random scores depend on how many channels are left, so three steps choose otherwise than one."""
    one, three = (pruned(tiny.Plain, tiny.SIZE, method="random", steps=steps)[2].selection.kept for steps in (1, 3))
    assert {name: len(kept) for name, kept in one.items()} == {name: len(kept) for name, kept in three.items()}
    assert one != three


@pytest.mark.parametrize("method", ["random", "l2"])
@pytest.mark.parametrize("heads", [False, True])
def test_norms_inside_attention_follow_the_width_of_a_head_and_not_the_number_of_heads(heads: bool, method: str) -> None:
    for seed in range(3 if method == "random" else 1):  # any of the three heads may be the one that stays
        _, model, _ = pruned(lambda: tiny.vit(qk_norm=True, depth=1), tiny.VIT_SIZE, heads=heads, method=method, seed=seed)
        attention: Any = model.get_submodule("blocks.0.attn")
        width = 16 if heads else 8
        assert attention.q_norm.normalized_shape == attention.k_norm.normalized_shape == (width,)
        assert attention.qkv.out_features == 3 * width * (1 if heads else 3)
        assert model(tiny.images(tiny.VIT_SIZE)).shape == (2, 5)


class GatedUnit(tiny.Pooled):
    """A gated linear unit halves its channels unseen by DepGraph, which gives `after` twice the inputs it has."""

    def __init__(self) -> None:
        super().__init__(16)
        self.stem = tiny.conv_bn(3, 16)
        self.pair = nn.Conv2d(16, 48, 1)
        self.after = nn.Conv2d(24, 16, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.after(functional.glu(self.pair(self.stem(x)), 1))
        return result


class SortedUnit(GatedUnit):
    """The same with channels in an order that depends on the image: neither reading knows which is which."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.after(functional.glu(self.pair(self.stem(x)).sort(1).values, 1))
        return result


def test_a_gated_unit_loses_equal_positions_of_its_halves() -> None:
    _, model, result = pruned(GatedUnit, tiny.SIZE)
    kept = result.selection.kept["pair"]
    assert [channel + 24 for channel in kept[:12]] == list(kept[12:])
    assert model(tiny.images(tiny.SIZE)).shape == (2, 5)


@pytest.mark.parametrize("method", ["l1", "l2", "lamp", "fpgm", "random", "bn-scale"])
def test_a_group_that_cannot_be_read_is_protected_before_it_is_scored(method: str) -> None:
    _, model, result = pruned(SortedUnit, tiny.SIZE, method=method, allow_shortfall=True)
    width = next(w for w in result.plan.groups if w.name == "pair")
    assert (width.kept, width.reason) == (48, "protected")
    assert width.detail == "an operation whose effect on channels is not known reads it"
    assert result.selection.kept["stem.0"] != tuple(range(16)), "the others shrink"
    assert model(tiny.images(tiny.SIZE)).shape == (2, 5)


def test_the_same_request_prunes_the_same_channels() -> None:
    for method in ("l2", "random"):
        first, second = (pruned(tiny.Residual, tiny.SIZE, method=method, seed=5) for _ in range(2))
        assert first[2] == second[2]
        assert all(torch.equal(a, b) for a, b in zip(first[1].parameters(), second[1].parameters(), strict=True))
    assert first[2].selection != pruned(tiny.Residual, tiny.SIZE, method="random", seed=6)[2].selection


def test_the_mode_of_the_network_and_its_gradients_do_not_change_the_outcome() -> None:
    expected = pruned(tiny.Residual, tiny.SIZE)[2]
    model = tiny.lively(tiny.Residual()).train().requires_grad_(False)
    assert prune(model, PruneSpec(ratio=0.5, round_to=4), tiny.SIZE) == expected
    assert model.training


# --- scopes, heads, bottleneck ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "size", "scope"),
    [(tiny.Residual, tiny.SIZE, "global"), (tiny.vit, tiny.VIT_SIZE, "global"), (tiny.vit, tiny.VIT_SIZE, "isomorphic")],
)
def test_groups_that_compete_lose_the_share_together(build: Build, size: Size, scope: str) -> None:
    _, model, result = pruned(build, size, scope=scope, round_to=1)
    free = [w for w in result.plan.groups if w.reason not in ("ignored", "minimum")]
    # Blocks count once: a position is lost by all of them together.
    lost = sum((w.channels - w.kept) // w.blocks for w in free) / sum(w.channels // w.blocks for w in free)
    assert lost == pytest.approx(0.5, abs=0.08)
    assert len({w.kept / w.channels for w in free}) > 1, "widths differ, as nobody's share is fixed"
    assert model(tiny.images(size)).shape == (2, 5)


def test_groups_of_unlike_structure_do_not_compete_in_the_isomorphic_scope() -> None:
    local, isomorphic = (pruned(tiny.Residual, tiny.SIZE, scope=scope)[2] for scope in ("local", "isomorphic"))
    assert isomorphic.plan == local.plan


def test_bottleneck_narrows_inside_and_leaves_the_stream() -> None:
    _, model, result = pruned(tiny.vit, tiny.VIT_SIZE, bottleneck=True)
    reasons = {w.name: (w.reason, w.kept) for w in result.plan.groups}
    assert reasons["patch_embed.proj"] == ("bottleneck", 48)
    assert reasons["blocks.0.mlp.fc1"] == ("as-asked", 96)
    assert result.receipt.shortfalls == ()
    assert model.get_parameter("pos_embed").shape[-1] == 48


def test_group_cap_limits_what_the_global_scope_takes_from_one_group() -> None:
    _, _, result = pruned(tiny.Residual, tiny.SIZE, scope="global", ratio=0.7, group_cap=0.75, round_to=1)
    assert all(w.kept >= w.channels / 4 for w in result.plan.groups)
    assert any(w.reason == "capped" for w in result.plan.groups)


# --- refusals --------------------------------------------------------------------------------------------------------------------


def unchanged(model: nn.Module, build: Build) -> bool:
    """Whether a model that `lively(build())` made is still what it was."""
    fresh = tiny.lively(build())
    return all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), fresh.state_dict().values(), strict=True))


def test_a_pruning_that_removes_nothing_is_an_error() -> None:
    model = tiny.lively(tiny.Plain())
    with pytest.raises(PruningError, match="nothing would be removed: all 3 groups keep their channels") as caught:
        prune(model, PruneSpec(ratio=0.01, round_to=8, rounding="up", allow_shortfall=True), tiny.SIZE)
    assert caught.value.exit_code == 1
    assert unchanged(model, tiny.Plain)


def test_a_pruning_whose_every_group_is_ignored_is_an_error_that_says_so() -> None:
    with pytest.raises(PruningError, match="3 ignored") as caught:
        prune(tiny.lively(tiny.Plain()), PruneSpec(ratio=0.5, ignore=("*",)), tiny.SIZE)
    assert "`ignore" in caught.value.fix


def test_groups_without_a_score_are_a_shortfall_that_must_be_accepted() -> None:
    model = tiny.lively(tiny.Residual())
    spec = PruneSpec(ratio=0.5, round_to=4, method="bn-scale")
    with pytest.raises(PruningError, match=r"squeeze keeps 8 of 8, 4 asked \(no-score: method bn-scale") as caught:
        prune(model, spec, tiny.SIZE)
    assert "`method`" in caught.value.fix
    assert unchanged(model, tiny.Residual)
    result = pruned(tiny.Residual, tiny.SIZE, method="bn-scale", allow_shortfall=True)[2]
    assert [w.name for w in result.receipt.shortfalls] == ["squeeze"]
    assert result.receipt.after.params < result.receipt.before.params


def test_a_method_that_can_score_no_group_removes_nothing_even_if_a_shortfall_is_allowed() -> None:
    for allowed in (False, True):
        model = tiny.lively(tiny.vit())
        with pytest.raises(PruningError, match=r"nothing would be removed.*5 no-score") as caught:
            prune(model, PruneSpec(ratio=0.5, method="bn-scale", allow_shortfall=allowed), tiny.VIT_SIZE)
        assert "`method`" in caught.value.fix


def test_an_unknown_method_is_refused_before_any_work() -> None:
    with pytest.raises(InputError, match="unknown pruning method"):
        prune(tiny.Untraceable(), PruneSpec(ratio=0.5, method="l3"), tiny.SIZE)


def test_a_narrowed_classifier_is_noted() -> None:
    result = pruned(tiny.Plain, tiny.SIZE, ignore=("none",), round_to=1)[2]
    (note,) = result.receipt.warnings
    assert "the network's outputs were narrowed" in note
    assert pruned(tiny.Plain, tiny.SIZE)[2].receipt.warnings == ()


def test_counts_are_of_one_image_and_shared_parameters_count_once() -> None:
    model = tiny.Plain()
    macs = 16 * 16 * (16 * 3 * 9 + 24 * 16 * 9) + 24 * 5
    assert count(make_meta_copy(model), tiny.SIZE).macs_with_attention == macs
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert count_params(nn.Sequential(first, second)) == 16 + 4 + 4


def test_attention_products_are_counted_only_where_they_are_said_to_be() -> None:
    counts = count(make_meta_copy(tiny.vit(depth=1)), tiny.VIT_SIZE)
    tokens, width = 17, 48
    layers = 16 * width * 3 * 64 + tokens * width * (3 * width + width + 8 * width) + width * 5
    assert counts.macs_with_attention == layers + 2 * tokens * tokens * width


# --- plan files -------------------------------------------------------------------------------------------------------------------


def written_plan(folder: Path) -> str:
    """A plan that narrows everything, the classifier included."""
    model = create_model(ModelSpec(name="test_vit", num_classes=24)).module
    pruned = prune(model, PruneSpec(ratio=0.5, ignore=("none",)), (3, 160, 160))
    path = folder / "plan.json"
    path.write_text(to_json(pruned.plan), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_plan_file_counts_more_than_what_is_ignored_by_default(tmp_path: Path, steps: int) -> None:
    model = create_model(ModelSpec(name="test_vit", num_classes=24)).module
    pruned = prune(model, PruneSpec(plan=written_plan(tmp_path), steps=steps), (3, 160, 160))
    assert {width.name: width.kept for width in pruned.plan.groups}["head"] < 24
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 160, 160)).shape == (2, len(pruned.selection.kept["head"]))
    assert any("outputs were narrowed" in note for note in pruned.receipt.warnings)


def test_a_plan_file_that_the_method_cannot_score_is_refused_before_the_cut(tmp_path: Path) -> None:
    model = create_model(ModelSpec(name="test_vit", num_classes=24)).module
    before = count_params(model)
    with pytest.raises(PruningError, match=r"the plan narrows patch_embed\.proj, where method bn-scale has nothing to go by"):
        prune(model, PruneSpec(plan=written_plan(tmp_path), method="bn-scale"), (3, 160, 160))
    assert count_params(model) == before


# --- plans in memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2])
def test_a_plan_that_was_changed_in_memory_is_cut_exactly(steps: int) -> None:
    model = create_model(ModelSpec(name="test_resnet", num_classes=10)).module
    size = (3, 160, 160)
    planned = Planner(model, size).plan(PruneSpec(ratio=0.25, round_to=1)).plan
    # One channel less than planned in every other group: widths that no ratio gives.
    wanted = replace(
        planned,
        groups=tuple(
            replace(w, kept=w.kept - w.blocks) if index % 2 and w.kept < w.channels else w
            for index, w in enumerate(planned.groups)
        ),
    )
    assert wanted != planned
    pruned = prune(model, PruneSpec(plan=IN_MEMORY, method="l1", steps=steps), size, plan=wanted)
    kept = {width.name: width.kept for width in wanted.groups}
    assert {width.name: width.kept for width in pruned.receipt.groups} == kept
    assert {name: len(channels) for name, channels in pruned.selection.kept.items()} == kept
    assert all(model.get_parameter(f"{name}.weight").shape[0] == width for name, width in kept.items())
    assert {width.reason for width in pruned.receipt.groups} == {"plan"}
    assert pruned.receipt.request == PruneSpec(plan=IN_MEMORY, method="l1", steps=steps)
    with torch.inference_mode():
        assert model(torch.zeros(2, *size)).shape == (2, 10)


def test_a_plan_in_memory_cuts_what_the_same_plan_in_a_file_cuts(tmp_path: Path) -> None:
    size, path = (3, 160, 160), written_plan(tmp_path)
    plan = from_json(WidthPlan, Path(path).read_bytes(), source=path)
    of_file, of_memory = (create_model(ModelSpec(name="test_vit", num_classes=24)).module for _ in range(2))
    first = prune(of_file, PruneSpec(plan=path), size)
    second = prune(of_memory, PruneSpec(plan=IN_MEMORY), size, plan=plan)
    assert (first.plan, first.selection, first.receipt.after) == (second.plan, second.selection, second.receipt.after)
    assert all(torch.equal(a, b) for a, b in zip(of_file.parameters(), of_memory.parameters(), strict=True))
