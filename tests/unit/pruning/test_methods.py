"""Scores: what each method looks at, against torch-pruning itself and against the definitions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch_pruning as tp
from torch import nn

from prune_deploy.errors import InputError
from prune_deploy.interfaces import LayerGroup, Method
from prune_deploy.pruning import methods
from prune_deploy.pruning.groups.depgraph import trace_groups
from prune_deploy.pruning.meta_copy import example_input, make_meta_copy
from prune_deploy.pruning.methods.base import FunctionMethod
from prune_deploy.pruning.pruner import layer_group, score
from support.models import tiny_models as tiny

NAMES = ("bn-scale", "fpgm", "l1", "l2", "lamp", "random")
IMPORTANCES: dict[str, Callable[[], Any]] = {
    "l1": lambda: tp.importance.GroupMagnitudeImportance(p=1),
    "l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "bn-scale": tp.importance.BNScaleImportance,
    "lamp": tp.importance.LAMPImportance,
    "fpgm": tp.importance.FPGMImportance,
}


def groups_of(model: nn.Module, size: tuple[int, int, int] = tiny.SIZE) -> dict[str, LayerGroup]:
    """The model's groups as a method sees them."""
    groups = trace_groups(make_meta_copy(model), example_input(size))
    return {g.name: layer_group(model, g) for g in groups}


def scores_of(name: str, model: nn.Module, size: tuple[int, int, int] = tiny.SIZE) -> dict[str, torch.Tensor | None]:
    """Scores of all groups by one method."""
    method = methods.create(name)
    return {group: method.scores(layers) for group, layers in groups_of(model, size).items()}


def test_the_methods_of_the_first_release_are_found_by_themselves() -> None:
    assert tuple(methods.discover()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_method_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    method = methods.create(name)
    assert isinstance(method, Method)
    assert method.name == name
    assert method.summary
    assert "arXiv" in method.source
    assert method.needs <= {"data", "gradients", "training"}


def test_an_unknown_method_is_bad_input_with_those_that_exist() -> None:
    with pytest.raises(InputError, match="unknown pruning method 'l3'") as caught:
        methods.create("l3")
    assert caught.value.exit_code == 2
    assert all(name in caught.value.fix for name in NAMES)


@pytest.mark.parametrize("build", [tiny.Residual, tiny.Concat, tiny.Flattened, tiny.Plain])
@pytest.mark.parametrize("name", IMPORTANCES)
def test_scores_are_torch_prunings_own(name: str, build: Callable[[], nn.Module]) -> None:
    model = tiny.lively(build())
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=torch.randn(2, *tiny.SIZE))
    compared = 0
    for group, ours in scores_of(name, model).items():
        if (name, group) == ("fpgm", "reduce.0"):
            continue  # torch-pruning fails here; see the next test
        root: Any = model.get_submodule(group)
        channels = root.weight.shape[0]
        narrow = graph.get_pruner_of_module(root).prune_out_channels
        theirs = IMPORTANCES[name]()(graph.get_pruning_group(root, narrow, list(range(channels))))
        if theirs is None:
            assert ours is None
            continue
        assert ours is not None
        torch.testing.assert_close(ours, theirs)
        compared += 1
    assert compared >= 1


def test_fpgm_leaves_the_choice_before_a_grouped_convolution_to_the_filters() -> None:
    model: Any = tiny.lively(tiny.Residual())
    filters = model.reduce[0].weight.detach().square().flatten(1)
    distances = (filters[:, None] - filters[None]).square().sum(-1).sqrt().sum(0)
    scores = scores_of("fpgm", model)["reduce.0"]
    assert scores is not None
    torch.testing.assert_close(scores, distances / distances.mean(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "power"), [("l1", 1), ("l2", 2)])
def test_magnitude_is_the_mean_over_the_group_of_summed_powers(name: str, power: int) -> None:
    model: Any = tiny.lively(tiny.Plain())
    conv, norm, consumer = model.first[0].weight, model.first[1].weight, model.second[0].weight
    layers = [conv.abs().pow(power).sum((1, 2, 3)), norm.abs().pow(power), consumer.abs().pow(power).sum((0, 2, 3))]
    expected = torch.stack(layers).mean(0)
    torch.testing.assert_close(scores_of(name, model)["first.0"], expected / expected.mean())


def test_bn_scale_is_the_scale_of_the_batch_norms() -> None:
    model: Any = tiny.lively(tiny.Plain())
    scale = model.first[1].weight.detach().abs()
    torch.testing.assert_close(scores_of("bn-scale", model)["first.0"], scale / scale.mean())


def test_bn_scale_has_nothing_to_go_by_without_a_batch_norm() -> None:
    assert scores_of("bn-scale", tiny.lively(tiny.Residual()))["squeeze"] is None
    assert all(s is None for s in scores_of("bn-scale", tiny.lively(tiny.vit()), tiny.VIT_SIZE).values())


def test_norms_that_see_only_part_of_a_group_give_no_score() -> None:
    assert scores_of("bn-scale", tiny.lively(tiny.Chunked()))["pair"] is None


def test_lamp_ranks_like_magnitude_and_tells_large_channels_apart() -> None:
    model = tiny.lively(tiny.Plain())
    lamp, l2 = scores_of("lamp", model)["second.0"], scores_of("l2", model)["second.0"]
    assert lamp is not None
    assert l2 is not None
    assert torch.equal(lamp.argsort(), l2.argsort())
    assert float(lamp.max()) == pytest.approx(1.0, rel=1e-4), "the largest is all that would remain of itself"


def test_fpgm_gives_up_the_filter_that_others_can_replace() -> None:
    model: Any = tiny.lively(tiny.Plain())
    middle = model.first[0].weight.data.abs().mean(0)
    model.first[0].weight.data[7] = middle  # the powers' centre is closest to all
    model.second[0].weight.data[:, 7] = model.second[0].weight.data.abs().mean(1)
    scores = scores_of("fpgm", model)["first.0"]
    assert scores is not None
    assert int(scores.argmin()) == 7


@pytest.mark.parametrize("name", ["l1", "l2", "lamp"])
def test_a_channel_of_zeros_scores_lowest(name: str) -> None:
    model: Any = tiny.lively(tiny.Plain())
    model.first[0].weight.data[3] = 0
    model.first[1].weight.data[3] = 0
    model.second[0].weight.data[:, 3] = 0
    scores = scores_of(name, model)["first.0"]
    assert scores is not None
    assert int(scores.argmin()) == 3
    assert float(scores[3]) == 0.0


@pytest.mark.parametrize("name", ["l1", "l2", "random", "fpgm", "lamp"])
@pytest.mark.parametrize(("build", "size"), [(tiny.vit, tiny.VIT_SIZE), (tiny.swin, tiny.SWIN_SIZE), (tiny.Residual, tiny.SIZE)])
def test_every_group_gets_one_finite_score_per_channel(
    name: str, build: Callable[[], nn.Module], size: tuple[int, int, int]
) -> None:
    model = tiny.lively(build())
    groups = {g.name: g.channels for g in trace_groups(make_meta_copy(model), example_input(size))}
    for group, scores in scores_of(name, model, size).items():
        assert scores is not None, group
        assert scores.shape == (groups[group],)
        assert bool(scores.isfinite().all())
        assert len(set(scores.tolist())) > 1, group


def test_scoring_changes_nothing_in_the_model() -> None:
    model = tiny.lively(tiny.Residual())
    before = {name: t.clone() for name, t in model.state_dict().items()}
    for name in NAMES:
        scores_of(name, model)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


# --- random ----------------------------------------------------------------------------------------------------------------------


def named(name: str, channels: int = 64) -> LayerGroup:
    return LayerGroup(name=name, channels=channels, layers=())


def chance(seed: int, name: str) -> torch.Tensor:
    scores = methods.create("random", seed).scores(named(name))
    assert scores is not None
    return scores


def test_random_scores_do_not_depend_on_the_order_of_groups() -> None:
    method = methods.create("random", 4)
    forwards = {name: method.scores(named(name)) for name in ("a", "b", "c")}
    backwards = {name: method.scores(named(name)) for name in ("c", "b", "a")}
    for name in forwards:
        first, second = forwards[name], backwards[name]
        assert first is not None
        assert second is not None
        assert torch.equal(first, second)


def test_random_scores_differ_between_seeds_and_between_groups() -> None:
    drawn = [chance(seed, name) for seed in (0, 1, 2, 2**31) for name in ("a", "b")]
    assert not any(torch.equal(x, y) for i, x in enumerate(drawn) for y in drawn[:i])
    assert torch.equal(chance(1, "a"), chance(1, "a"))


def test_random_scores_leave_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    chance(5, "a")
    assert torch.equal(torch.rand(3), expected)


def test_random_scores_are_uniform() -> None:
    values = torch.cat([chance(seed, "g") for seed in range(100)])
    assert float(values.min()) >= 0
    assert float(values.max()) <= 1
    assert float(values.mean()) == pytest.approx(0.5, abs=0.02)


# --- methods of others -----------------------------------------------------------------------------------------------------------


def last_first(group: LayerGroup) -> torch.Tensor:
    """Keeps the last channels."""
    return torch.arange(float(group.channels))


class Constant(FunctionMethod):
    """A method as a class, made without arguments."""

    def __init__(self) -> None:
        super().__init__("constant", lambda group: torch.ones(group.channels))


@pytest.fixture
def _plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two methods of another package, declared through real entry points that resolve into this module."""
    declared = importlib.metadata.EntryPoints(
        [
            importlib.metadata.EntryPoint("last-first", f"{__name__}:last_first", "prune_deploy.methods"),
            importlib.metadata.EntryPoint("constant", f"{__name__}:Constant", "prune_deploy.methods"),
        ]
    )
    monkeypatch.setattr(methods, "entry_points", lambda group: declared.select(group=group))
    methods.discover.cache_clear()
    yield
    methods.discover.cache_clear()


@pytest.mark.usefixtures("_plugins")
def test_another_packages_function_or_class_is_a_method() -> None:
    assert set(methods.discover()) == {*NAMES, "last-first", "constant"}
    method = methods.create("last-first")
    assert isinstance(method, Method)
    assert (method.name, method.summary) == ("last-first", "Keeps the last channels.")
    scores = method.scores(named("g", 4))
    assert scores is not None
    assert scores.tolist() == [0, 1, 2, 3]
    assert isinstance(methods.create("constant"), Constant)


def test_a_method_that_is_neither_function_nor_class_is_refused() -> None:
    with pytest.raises(InputError, match="neither a Method class nor a function"):
        methods._third_party("odd", 3)


def test_groups_that_a_plan_leaves_whole_are_not_scored() -> None:
    from prune_deploy.records import GroupWidth, WidthPlan

    model = tiny.lively(tiny.Plain())
    groups = trace_groups(make_meta_copy(model), example_input(tiny.SIZE))
    widths = [GroupWidth(name=g.name, channels=g.channels, kept=8 if g.name == "first.0" else g.channels) for g in groups]
    plan = WidthPlan(groups=tuple(widths), model="m")
    assert set(score(model, groups, methods.create("l2"), plan)) == {"first.0"}
    assert set(score(model, groups, methods.create("l2"), None)) == {"first.0", "second.0", "head"}
