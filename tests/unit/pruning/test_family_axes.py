"""Our own reading of channels: exact where DepGraph is wrong, blind or too slow. The proof is always the same: channels of a group
change places everywhere, and the outputs stay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from prune_deploy.pruning.apply import cut, select
from prune_deploy.pruning.checks.probe import wrongly_mapped
from prune_deploy.pruning.counting import count_params
from prune_deploy.pruning.find_groups import find_groups
from prune_deploy.pruning.groups.agreement import contradicted
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.groups.depgraph import trace_groups
from prune_deploy.pruning.meta_copy import example_input, make_meta_copy
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.pruner import prune
from prune_deploy.specs import PruneSpec
from support.models import tiny_models as tiny
from support.models.small_families import FAMILIES, Size, inner, own_groups

_CLASSES = 5


@pytest.mark.parametrize("family", FAMILIES)
def test_channels_of_a_group_can_change_places_without_changing_the_outputs(family: str) -> None:
    build, size = FAMILIES[family]
    model = tiny.lively(build())
    before = copy.deepcopy(model.state_dict())
    assert wrongly_mapped(model, inner(own_groups(model, size)), size) == {}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "left as it was"


PLANNED = {name: found for name, found in FAMILIES.items() if name not in ("focalnet", "efficientvit", "ghostnet", "pvt_v2")}


@pytest.mark.parametrize("family", PLANNED)
def test_half_of_the_channels_is_half_of_the_parameters_and_runs(family: str) -> None:
    build, size = PLANNED[family]
    model = tiny.lively(build())
    dense = count_params(model)
    prune(model, PruneSpec(ratio=0.5, round_to=4, allow_shortfall=True), size)
    # So small a mixer is mostly tokens, whose number is no width.
    assert count_params(model) <= (0.7 if family == "mixer" else 0.5) * dense
    with torch.no_grad():
        for batch in (1, 2):
            logits = model(tiny.images(size, batch))
            assert logits.shape == (batch, _CLASSES)
            assert bool(logits.isfinite().all())


def silence(model: nn.Module, groups: tuple[ChannelGroup, ...], kept: dict[str, tuple[int, ...]]) -> None:
    """Take away what every layer makes of the channels that are to go."""
    for group in groups:
        gone = set(range(group.channels)) - set(kept[group.name])
        for member in group.members:
            if not member.is_parameter and not member.is_output:
                layer: Any = model.get_submodule(member.name)
                lost = {p % layer.weight.shape[1] for p, root in zip(member.positions, member.roots, strict=True) if root in gone}
                layer.weight.data[:, sorted(lost)] = 0


@pytest.mark.parametrize("family", ["sknet", "resnest", "ghostnet"])
def test_channels_that_no_layer_reads_can_go_without_a_trace(family: str) -> None:
    build, size = FAMILIES[family]
    model = tiny.lively(build())
    planner = Planner(model, PruneSpec(ratio=0.25, round_to=1), size)
    plan = planner.plan()
    generator = torch.Generator().manual_seed(3)
    chosen = select(planner.groups, plan, {g.name: torch.rand(g.channels, generator=generator) for g in planner.groups})
    images = tiny.images(size)
    with torch.no_grad():
        untouched = model(images)
        silence(model, planner.groups, chosen.kept)
        silent = model(images)
        cut(model, planner.groups, plan, chosen)
        narrow = model(images)
    spread = float(untouched.std())
    assert float((silent - untouched).abs().max()) > 0.01 * spread, "the channels should have had an effect before"
    assert float((narrow - silent).abs().max()) < 1e-4 * spread


# --- where DepGraph is wrong though shapes fit ------------------------------------------------------------------------------------


class Shuffled(tiny.Pooled):
    """Channels change places between two convolutions, written as view, transpose, reshape."""

    def __init__(self) -> None:
        super().__init__(16)
        self.first = tiny.conv_bn(3, 24)
        self.second = tiny.conv_bn(24, 16)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        result: torch.Tensor = self.second(x)
        return result


def depgraph(model: nn.Module, size: Size = tiny.SIZE) -> tuple[ChannelGroup, ...]:
    """What torch-pruning reads."""
    return trace_groups(make_meta_copy(model), example_input(size))


def test_a_shuffle_that_fits_is_contradicted_and_read_right() -> None:
    model = tiny.lively(Shuffled())
    assert contradicted(depgraph(model), own_groups(model, tiny.SIZE)) == "first.0"
    assert set(wrongly_mapped(model, inner(depgraph(model)), tiny.SIZE)) == {"first.0"}
    first = next(g for g in find_groups(model, tiny.SIZE)[0] if g.name == "first.0")
    reader = next(m for m in first.members if m.name == "second.0")
    # Position p of the shuffled map holds channel (p % 2) * 12 + p // 2.
    assert [root % 12 for root in reader.roots] == [p // 2 for p in reader.positions]
    assert wrongly_mapped(model, inner(find_groups(model, tiny.SIZE)[0]), tiny.SIZE) == {}


def test_separate_queries_and_keys_are_contradicted() -> None:
    build, size = FAMILIES["twins"]
    model = tiny.lively(build())
    groups = depgraph(model, size)
    assert contradicted(groups, own_groups(model, size))
    assert wrongly_mapped(model, inner(groups), size)


@pytest.mark.parametrize(
    ("build", "size"),
    [(tiny.Residual, tiny.SIZE), (tiny.Concat, tiny.SIZE), (tiny.vit, tiny.VIT_SIZE), (tiny.swin, tiny.SWIN_SIZE)],
)
def test_what_depgraph_understands_is_not_contradicted(build: Callable[[], nn.Module], size: Size) -> None:
    model = build()
    assert contradicted(depgraph(model, size), own_groups(model, size)) == ""


@pytest.mark.parametrize("build", [tiny.Plain, tiny.Residual, tiny.Concat, tiny.Flattened])
def test_both_readings_find_the_same_groups(build: Callable[[], nn.Module]) -> None:
    def message(groups: tuple[ChannelGroup, ...]) -> dict[str, Any]:
        return {
            g.name: (g.channels, g.blocks, g.residual, {(m.name, m.is_output): set(m.positions) for m in g.members})
            for g in groups
        }

    assert message(own_groups(build(), tiny.SIZE)) == message(depgraph(build()))


def test_a_width_that_a_module_keeps_as_an_attribute_follows() -> None:
    build, size = FAMILIES["sknet"]
    model = build()
    attributes = {m.name for g in own_groups(model, size) for m in g.members if type(m.handler).__name__ == "NarrowAttribute"}
    assert "layer1.0.conv1" in attributes or "layer1.0.conv2" in attributes, "split at in_channels // num_paths"


def test_whole_heads_are_refused_where_they_cannot_be_told() -> None:
    build, size = FAMILIES["beit"]
    planner = Planner(build(), PruneSpec(ratio=0.5, heads=True), size)
    reasons = {name: kept.detail for name, kept in planner.kept.items() if kept.reason == "protected"}
    message = [g for g in planner.groups if g.heads is not None]
    assert message or any("`heads`" in reason for reason in reasons.values())


@pytest.mark.parametrize("family", ["eva02", "xcit", "sknet"])
def test_steps_end_at_the_widths_of_one_cut(family: str) -> None:
    build, size = FAMILIES[family]
    spec = PruneSpec(ratio=0.5, round_to=4, allow_shortfall=True)
    once, thrice = (tiny.lively(build()) for _ in range(2))
    assert prune(once, spec, size).plan == prune(thrice, replace(spec, steps=3), size).plan
    assert {name: p.shape for name, p in once.named_parameters()} == {name: p.shape for name, p in thrice.named_parameters()}


def test_the_network_is_run_where_only_one_reading_understands_it(monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[int] = []

    def record(_model: nn.Module, groups: list[ChannelGroup], _size: Size) -> dict[str, str]:
        probed.append(len(groups))
        return {groups[0].name: "as told"} if groups else {}

    monkeypatch.setattr("prune_deploy.pruning.pruner.wrongly_mapped", record)
    spec = PruneSpec(ratio=0.5, round_to=4, allow_shortfall=True)
    prune(tiny.lively(tiny.Residual()), spec, tiny.SIZE)
    assert probed == []
    build, size = FAMILIES["mixer"]
    result = prune(tiny.lively(build()), spec, size)
    assert len(probed) == 1
    assert [w.detail for w in result.plan.groups].count("as told") == 1
