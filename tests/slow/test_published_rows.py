"""Published rows executed for real: the large model built, pruned with weights, run and counted."""

from __future__ import annotations

import csv

import pytest
import torch

from prune_deploy.data import synthetic_images
from prune_deploy.errors import PruningError
from prune_deploy.models import create_model
from prune_deploy.pruning.counting import count_params
from prune_deploy.pruning.pruner import prune
from prune_deploy.specs import ModelSpec, PruneSpec
from support import GOLDEN

pytestmark = pytest.mark.release

PUBLISHED = GOLDEN / "pytorch_pruning_a2000.csv"
SIZE = (3, 224, 224)
METHODS = {"depgraph-l1": "l1", "depgraph-random": "random", "depgraph-group": "bn-scale"}


def published(code: str, method: str, ratio: str) -> int:
    """The parameter count of one published row."""
    with PUBLISHED.open(encoding="utf-8", newline="") as stream:
        (row,) = (r for r in csv.DictReader(stream) if (r["code"], r["method"], r["ratio"]) == (code, method, ratio))
    return int(row["params"])


def request(method: str, ratio: str) -> PruneSpec:
    """The published settings in our options."""
    ignore = ("head", "norm", "attention")
    return PruneSpec(ratio=float(ratio), method=METHODS[method], round_to=8, ignore=ignore, when_empty="skip")


@pytest.mark.parametrize(
    ("code", "method", "ratio"),
    [("c", "depgraph-l1", "0.3"), ("e", "depgraph-random", "0.5"), ("v", "depgraph-l1", "0.5")],
)
def test_a_published_row_comes_out_of_a_real_pruning(code: str, method: str, ratio: str) -> None:
    module = create_model(ModelSpec(name=code)).module
    receipt = prune(module, request(method, ratio), SIZE).receipt
    assert receipt.before.params == published(code, "none", "0")
    assert receipt.after.params == count_params(module) == published(code, method, ratio)
    with torch.no_grad():
        assert module(synthetic_images(1, SIZE, torch.Generator().manual_seed(0))).shape == (1, 10)


@pytest.mark.parametrize("method", ["depgraph-l1", "depgraph-random"])
def test_mobilenet_whose_published_rows_removed_nothing_is_an_error(method: str) -> None:
    module = create_model(ModelSpec(name="m")).module
    with pytest.raises(PruningError, match="nothing would be removed"):
        prune(module, request(method, "0.5"), SIZE)
    assert count_params(module) == published("m", method, "0.5") == published("m", "none", "0")


@pytest.mark.parametrize("code", ["c", "e", "m", "v"])
def test_the_batch_norm_rows_removed_nothing_and_are_errors(code: str) -> None:
    module = create_model(ModelSpec(name=code)).module
    with pytest.raises(PruningError, match="nothing would be removed"):
        prune(module, request("depgraph-group", "0.5"), SIZE)
    assert count_params(module) == published(code, "depgraph-group", "0.5") == published(code, "none", "0")
