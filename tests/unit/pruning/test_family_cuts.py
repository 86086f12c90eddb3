"""Families that need channel tracing, cut: half of the channels is half of the network, and lost channels leave no trace."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from prune_deploy.pruning.apply import cut, select
from prune_deploy.pruning.counting import count_params
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.pruner import prune
from prune_deploy.records import WidthPlan
from prune_deploy.specs import PruneSpec
from support.models import tiny_models as tiny
from support.models.small_families import FAMILIES

_CLASSES = 5
PLANNED = {name: found for name, found in FAMILIES.items() if name not in ("focalnet", "efficientvit", "ghostnet", "pvt_v2")}


SPEC = PruneSpec(ratio=0.5, round_to=4, allow_shortfall=True)


@dataclass(frozen=True)
class Halved:
    """A family without half of its channels."""

    model: nn.Module
    plan: WidthPlan
    dense_params: int


@functools.cache
def halved(family: str) -> Halved:
    """Prune a family once for all tests of it. No test may change it."""
    build, size = PLANNED[family]
    model = tiny.lively(build())
    dense_params = count_params(model)
    return Halved(model, prune(model, SPEC, size).plan, dense_params)


@pytest.mark.parametrize("family", PLANNED)
def test_half_of_the_channels_is_half_of_the_parameters_and_runs(family: str) -> None:
    found, size = halved(family), PLANNED[family][1]
    # So small a mixer is mostly tokens, whose number is no width.
    assert count_params(found.model) <= (0.7 if family == "mixer" else 0.5) * found.dense_params
    with torch.no_grad():
        for batch in (1, 2):
            logits = found.model(tiny.images(size, batch))
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
    planner = Planner(model, size)
    plan = planner.plan(PruneSpec(ratio=0.25, round_to=1)).plan
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


@pytest.mark.parametrize("family", ["eva02", "xcit", "sknet"])
def test_steps_end_at_the_widths_of_one_cut(family: str) -> None:
    build, size = FAMILIES[family]
    once, twice = halved(family), tiny.lively(build())
    assert once.plan == prune(twice, replace(SPEC, steps=2), size).plan
    assert {name: p.shape for name, p in once.model.named_parameters()} == {name: p.shape for name, p in twice.named_parameters()}
