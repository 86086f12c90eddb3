"""Outputs of a network keep their channels, wherever its head is and whatever it returns."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from prune_deploy.pruning.checks.outputs import REACHES_AN_OUTPUT, output_shapes
from prune_deploy.pruning.checks.probe import wrongly_mapped
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.pruner import prune
from prune_deploy.specs import PruneSpec
from prune_deploy.tensors import OUTPUT_NAME, output_tensors
from support.models import tiny_models as tiny
from support.models.output_models import (
    PACKS,
    SIZE,
    ConvolutionalClassifier,
    Detector,
    Found,
    HeadFirst,
    ImageToImage,
    Segmentation,
)


def kept(model: nn.Module, size: tuple[int, int, int] = SIZE, **options: Any) -> dict[str, str]:
    """Reasons of the groups that a pruning by half left whole, the outputs checked on the weightless copy."""
    before = output_shapes(make_meta_copy(model), size)
    pruned = prune(model, PruneSpec(ratio=0.5, **options), size)
    assert output_shapes(make_meta_copy(model), size) == before
    assert pruned.receipt.after.params < 0.7 * pruned.receipt.before.params
    assert pruned.receipt.shortfalls == ()
    assert pruned.receipt.warnings == ()
    return {group.name: group.detail for group in pruned.receipt.groups if group.kept == group.channels}


@pytest.mark.parametrize("make", [Segmentation, ConvolutionalClassifier, ImageToImage])
def test_channels_of_a_last_convolution_stay(make: Any) -> None:
    assert kept(tiny.lively(make())) == {"out": REACHES_AN_OUTPUT}


def test_a_head_is_found_where_it_is_and_not_where_it_stands_in_the_code() -> None:
    assert kept(tiny.lively(HeadFirst())) == {"head": REACHES_AN_OUTPUT}


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_each_of_several_outputs_stays_whatever_they_come_in(pack: Any) -> None:
    assert kept(tiny.lively(Detector(pack))) == {"classes": REACHES_AN_OUTPUT, "boxes": REACHES_AN_OUTPUT}


@pytest.mark.parametrize("scope", ["global", "isomorphic"])
def test_outputs_take_no_part_where_groups_compete(scope: str) -> None:
    assert "out" in kept(tiny.lively(Segmentation()), scope=scope)


def test_embeddings_and_feature_maps_of_timm_stay() -> None:
    embedding = timm.create_model("test_resnet", num_classes=0)
    assert REACHES_AN_OUTPUT in kept(embedding, (3, 64, 64)).values()
    maps = timm.create_model("test_resnet", features_only=True)
    before = [tuple(each.shape) for each in maps(torch.zeros(1, 3, 64, 64))]
    prune(maps, PruneSpec(ratio=0.5), (3, 64, 64))
    assert [tuple(each.shape) for each in maps(torch.zeros(1, 3, 64, 64))] == before


def test_only_none_narrows_an_output_and_that_is_said() -> None:
    model = tiny.lively(Segmentation())
    pruned = prune(model, PruneSpec(ratio=0.5, ignore=("none",)), SIZE)
    assert output_shapes(make_meta_copy(model), SIZE)[0] == {OUTPUT_NAME: (1, 8, 32, 32)}
    (note,) = pruned.receipt.warnings
    assert "outputs were narrowed" in note
    model = tiny.lively(Segmentation())
    prune(model, PruneSpec(ratio=0.5, ignore=("block",)), SIZE)
    assert output_shapes(make_meta_copy(model), SIZE)[0] == {OUTPUT_NAME: (1, 24, 32, 32)}


def test_a_target_is_met_beside_outputs_that_stay() -> None:
    model = tiny.lively(Segmentation())
    pruned = prune(model, PruneSpec(target_params="0.5x", round_to=1), SIZE)
    assert pruned.receipt.after.params == pytest.approx(0.5 * pruned.receipt.before.params, rel=0.05)
    assert output_shapes(make_meta_copy(model), SIZE)[0] == {OUTPUT_NAME: (1, 24, 32, 32)}


def test_a_wrong_mapping_shows_in_any_of_several_outputs() -> None:
    """The probe compares output by output: a small one beside a large one counts as much."""

    class Loud(Detector):
        def forward(self, x: torch.Tensor) -> Any:
            return {"loud": x * 1e6, **super().forward(x)}

    model = tiny.lively(Loud(PACKS["dict"]))
    planner = Planner(model, SIZE)
    inner = [group for group in planner.groups if group.name in ("stem.0", "block.0")]
    assert wrongly_mapped(model, inner, SIZE) == {}
    broken = [group for group in planner.groups if group.name == "boxes"]
    assert list(wrongly_mapped(model, broken, SIZE)) == ["boxes"], "in another order they are other outputs"


def test_tensors_of_an_output_have_names() -> None:
    one, two = torch.zeros(1), torch.zeros(2)
    assert list(output_tensors(one)) == [OUTPUT_NAME]
    assert list(output_tensors(Found(one, [two, one], 0.5))) == ["classes", "boxes.0", "boxes.1"]
    assert list(output_tensors({"a": (one, {"b": two}), "c": None})) == ["a.0", "a.1.b"]
    assert output_tensors(None) == {}
