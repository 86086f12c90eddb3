"""Published parameter counts and MACs come out again, exactly. Planning needs no weights, so the large models cost seconds here."""

from __future__ import annotations

import csv
import functools
from typing import Any

import pytest
import torch
from torch import nn

from prune_deploy.models import resolve, skeleton
from prune_deploy.pruning.checks.trial import cut_copy
from prune_deploy.pruning.counting import count, count_params
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.planner import Planner, plan_stages
from prune_deploy.records import Counts, WidthPlan
from prune_deploy.specs import SHORT_CODES, ModelSpec, PruneSpec
from support import GOLDEN

pytestmark = pytest.mark.release

SIZE = (3, 224, 224)


def rows(name: str) -> list[dict[str, str]]:
    """A golden table."""
    with (GOLDEN / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


TABLE = rows("pytorch_pruning_a2000.csv")
DENSE = {row["code"]: int(row["params"]) for row in TABLE if row["method"] == "none"}
PRUNED = [row for row in TABLE if row["method"] in ("depgraph-l1", "depgraph-random")]
CURVE = rows("torch_pruning_resnet50_curve.csv")


@functools.cache
def weightless(code: str) -> nn.Module:
    """A reference model as the short code builds it, without weights."""
    return skeleton(resolve(ModelSpec(name=code)))


@functools.cache
def planner_of(code: str) -> Planner:
    """A model's planner; one graph serves every ratio."""
    return Planner(weightless(code), SIZE)


@functools.cache
def planned(code: str, ratio: float) -> tuple[WidthPlan, int]:
    """Plan and parameters of the published rows of a ratio, by the options that docs/results/published.md gives.

    Local widths do not depend on the method.
    """
    planner = planner_of(code)
    plan = planner.plan(PruneSpec(ratio=ratio, round_to=8, ignore=("head", "norm", "attention"), when_empty="skip")).plan
    return plan, count_params(cut_copy(planner.meta_copy, planner.groups, plan))


def test_the_golden_tables_are_whole() -> None:
    assert set(DENSE) == set(SHORT_CODES)
    assert all(SHORT_CODES[row["code"]] == row["timm_model"] for row in TABLE)
    assert {(row["code"], row["method"], row["ratio"]) for row in PRUNED} == {
        (code, method, ratio) for code in "cemv" for method in ("depgraph-l1", "depgraph-random") for ratio in ("0.3", "0.5")
    }
    assert [int(row["step"]) for row in CURVE] == list(range(21))


@pytest.mark.parametrize("code", SHORT_CODES)
def test_the_short_codes_have_the_published_number_of_parameters(code: str) -> None:
    assert count_params(weightless(code)) == DENSE[code]


@pytest.mark.parametrize("row", PRUNED, ids=lambda row: f"{row['code']}-{row['method']}-{row['ratio']}")
def test_the_published_parameter_counts_come_out(row: dict[str, str]) -> None:
    plan, params = planned(row["code"], float(row["ratio"]))
    assert params == int(row["params"])
    assert plan.removes_nothing == (int(row["params"]) == DENSE[row["code"]])


def test_ignoring_norms_is_why_mobilenet_never_shrinks_there() -> None:
    plan, _ = planned("m", 0.5)
    reasons = {width.reason for width in plan.groups}
    assert plan.removes_nothing
    assert reasons <= {"ignored", "ignored-member"}
    assert any("`ignore=('norm',)`" in width.detail for width in plan.groups)


@pytest.fixture(scope="module")
def curve() -> list[tuple[WidthPlan, Counts]]:
    """The twenty steps of the published curve, iteratively, as the ratios grow linearly to 1.0."""
    with torch.device("meta"):
        model = skeleton(resolve(ModelSpec(name="resnet50")))
    spec = PruneSpec(ratio=0.5, round_to=2, ignore=("none",), when_empty="skip")
    return list(plan_stages(model, spec, SIZE, [step / 20 for step in range(1, 21)]))


@pytest.mark.parametrize("row", CURVE[1:], ids=lambda row: f"step{row['step']}")
def test_the_published_curve_comes_out(curve: list[tuple[WidthPlan, Counts]], row: dict[str, str]) -> None:
    _, counts = curve[int(row["step"]) - 1]
    got: Any = {"macs_g": f"{counts.macs / 1e9:.2f}", "params_m": f"{counts.params / 1e6:.2f}"}
    assert got == {key: row[key] for key in got}


def test_the_published_curve_starts_at_the_dense_model() -> None:
    counts = count(make_meta_copy(skeleton(resolve(ModelSpec(name="resnet50")))), SIZE)
    assert (f"{counts.macs / 1e9:.2f}", f"{counts.params / 1e6:.2f}") == (CURVE[0]["macs_g"], CURVE[0]["params_m"])


def test_an_older_copy_of_the_curve_was_resnet152() -> None:
    assert count_params(skeleton(resolve(ModelSpec(name="resnet152")))) == 60_192_808
