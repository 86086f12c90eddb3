"""The seven reference models at full size. One at a time: the largest needs a few gigabytes."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from prune_deploy.data import synthetic_images
from prune_deploy.export.bundle import write_module
from prune_deploy.models import create_model, resolve, skeleton
from prune_deploy.pruning.checks.trial import cut_copy
from prune_deploy.pruning.counting import count
from prune_deploy.pruning.meta_copy import example_input
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.pruner import prune
from prune_deploy.specs import SHORT_CODES, ModelSpec, PruneSpec
from support.reloading import UNCHANGED, reload, write_expected

pytestmark = pytest.mark.release

RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)


def size_of(code: str) -> tuple[int, int, int]:
    """The input that a code stands for."""
    return resolve(ModelSpec(name=code)).input_size


@functools.lru_cache(maxsize=1)
def planner_of(code: str) -> Planner:
    """One weightless model and its graph, which serve every ratio."""
    return Planner(skeleton(resolve(ModelSpec(name=code))), size_of(code))


@pytest.mark.parametrize(("code", "ratio"), [(code, ratio) for code in SHORT_CODES for ratio in RATIOS])
def test_a_reference_model_runs_at_every_ratio_with_no_group_protected(code: str, ratio: float) -> None:
    planner = planner_of(code)
    plan = planner.plan(PruneSpec(ratio=ratio)).plan
    whole = [width for width in plan.groups if width.kept == width.channels]
    assert [width.name for width in whole if width.reason != "minimum"] == [w.name for w in whole if w.reason == "ignored"]
    # One multiple of eight is the least that stays: the narrowest squeeze layers of EfficientNet have no more to begin with.
    assert all(width.channels <= 8 for width in whole if width.reason == "minimum")
    assert {width.reason for width in plan.groups} <= {"as-asked", "rounded", "minimum", "ignored"}
    narrowed = cut_copy(planner.meta_copy, planner.groups, plan)
    with torch.no_grad():
        for batch in (1, 2):
            assert narrowed(example_input(size_of(code), batch)).shape == (batch, 10)


@pytest.mark.parametrize("code", SHORT_CODES)
def test_half_of_the_channels_is_at_least_65_percent_of_parameters_and_macs(code: str) -> None:
    planner = planner_of(code)
    after = count(cut_copy(planner.meta_copy, planner.groups, planner.plan(PruneSpec(ratio=0.5)).plan), size_of(code))
    assert after.params <= 0.35 * planner.before.params
    assert after.macs <= 0.35 * planner.before.macs
    assert after.macs_with_attention <= 0.35 * planner.before.macs_with_attention


WRITTEN = [(code, ratio) for code in "rs" for ratio in (0.1, 0.5, 0.9)] + [(code, 0.5) for code in "cevmx"]


@pytest.mark.parametrize(("code", "ratio"), WRITTEN)
def test_a_fresh_process_gives_bit_identical_outputs(code: str, ratio: float, tmp_path: Path) -> None:
    loaded = create_model(ModelSpec(name=code))
    result = prune(loaded.module, PruneSpec(ratio=ratio), size_of(code))
    assert result.receipt.shortfalls == ()
    folder = tmp_path / code
    folder.mkdir()
    write_module(loaded.module, loaded.resolved, result, folder)
    images = synthetic_images(2, size_of(code), torch.Generator().manual_seed(0))
    assert write_expected(loaded.module, images, folder) == [(1, 10), (2, 10)]
    del loaded, result
    assert reload([folder]) == {code: UNCHANGED}
