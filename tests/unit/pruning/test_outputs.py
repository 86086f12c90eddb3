"""Outputs of a network keep their channels, wherever its head is and whatever it returns."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import timm
import torch
from torch import nn

from prune_deploy.pruning.checks.outputs import REACHES_AN_OUTPUT, output_shapes, output_tensors
from prune_deploy.pruning.checks.probe import wrongly_mapped
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.pruner import prune
from prune_deploy.specs import PruneSpec
from support.models import tiny_models as tiny

SIZE = (3, 32, 32)


class Body(nn.Module):
    """A stem and a block of 32 channels, for all that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = tiny.conv_bn(3, 32), tiny.conv_bn(32, 32)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.block(self.stem(x))
        return result


class Segmentation(Body):
    """A map of 24 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(32, 24, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.out(self.features(x))
        return result


class ConvolutionalClassifier(Segmentation):
    """Its head is a convolution, and its last Linear belongs to a squeeze-and-excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(32, 16), nn.Linear(16, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = x * self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]
        result: torch.Tensor = self.out(x).mean((2, 3))
        return result


class ImageToImage(Body):
    """A residual image of 16 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(32, 16, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.out(self.features(x))
        return result


class HeadFirst(Body):
    """The head is declared before the neck."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.neck = nn.Linear(32, 24), nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.neck(self.features(x).mean((2, 3))).relu())
        return result


class Pair(NamedTuple):
    """Two outputs by name."""

    classes: torch.Tensor
    boxes: torch.Tensor


@dataclass
class Found:
    """Two outputs of a dataclass, and a number beside them."""

    classes: torch.Tensor
    boxes: list[torch.Tensor]
    scale: float


class Detector(Body):
    """Two heads, in whatever `pack` makes of them."""

    def __init__(self, pack: Any) -> None:
        super().__init__()
        self.classes, self.boxes, self.pack = nn.Conv2d(32, 24, 1), nn.Conv2d(32, 16, 1), pack

    def forward(self, x: torch.Tensor) -> Any:
        x = self.features(x)
        return self.pack(self.classes(x), self.boxes(x))


PACKS: dict[str, Any] = {
    "list": lambda classes, boxes: [classes, boxes],
    "tuple": lambda classes, boxes: (classes, boxes),
    "dict": lambda classes, boxes: {"classes": classes, "boxes": boxes},
    "OrderedDict": lambda classes, boxes: OrderedDict(classes=classes, boxes=boxes),
    "named tuple": Pair,
    "dataclass": lambda classes, boxes: Found(classes, [boxes], 0.5),
    "nested": lambda classes, boxes: {"all": (classes, {"boxes": boxes}), "none": None},
}


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
    assert output_shapes(make_meta_copy(model), SIZE)[0] == {"": (1, 8, 32, 32)}
    (note,) = pruned.receipt.warnings
    assert "outputs were narrowed" in note
    model = tiny.lively(Segmentation())
    prune(model, PruneSpec(ratio=0.5, ignore=("block",)), SIZE)
    assert output_shapes(make_meta_copy(model), SIZE)[0] == {"": (1, 24, 32, 32)}


def test_a_target_is_met_beside_outputs_that_stay() -> None:
    model = tiny.lively(Segmentation())
    pruned = prune(model, PruneSpec(target_params="0.5x", round_to=1), SIZE)
    assert pruned.receipt.after.params == pytest.approx(0.5 * pruned.receipt.before.params, rel=0.05)
    assert output_shapes(make_meta_copy(model), SIZE)[0] == {"": (1, 24, 32, 32)}


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
    assert list(output_tensors(one)) == [""]
    assert list(output_tensors(Found(one, [two, one], 0.5))) == ["classes", "boxes.0", "boxes.1"]
    assert list(output_tensors({"a": (one, {"b": two}), "c": None})) == ["a.0", "a.1.b"]
    assert output_tensors(None) == {}
