"""Our own reading of channels: exact where DepGraph is wrong, blind or too slow. The proof is always the same: channels of a group
change places everywhere, and the outputs stay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from prune_deploy.pruning.checks.probe import wrongly_mapped
from prune_deploy.pruning.find_groups import contradicted, find_groups
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.groups.depgraph import trace_groups
from prune_deploy.pruning.meta_copy import example_input, make_meta_copy
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.pruner import prune
from prune_deploy.specs import PruneSpec
from support.models import tiny_models as tiny
from support.models.small_families import FAMILIES, Size, inner, own_groups


@pytest.mark.parametrize("family", FAMILIES)
def test_channels_of_a_group_can_change_places_without_changing_the_outputs(family: str) -> None:
    build, size = FAMILIES[family]
    model = tiny.lively(build())
    before = copy.deepcopy(model.state_dict())
    assert wrongly_mapped(model, inner(own_groups(model, size)), size) == {}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "left as it was"


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
    planner = Planner(build(), size)
    left_alone = planner.kept(PruneSpec(ratio=0.5, heads=True))
    reasons = {name: kept.detail for name, kept in left_alone.items() if kept.reason == "protected"}
    message = [g for g in planner.groups if g.heads is not None]
    assert message or any("`heads`" in reason for reason in reasons.values())


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
