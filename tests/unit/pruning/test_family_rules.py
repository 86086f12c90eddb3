"""Rules of our own reading: what single operations do to channels."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from prune_deploy.pruning.channel_tracing.classes import Classes
from prune_deploy.pruning.channel_tracing.reshaping import reshaped
from support.models import tiny_models as tiny
from support.models.small_families import own_groups


def test_an_axis_taken_apart_loses_equal_positions_of_its_blocks() -> None:
    classes = Classes()
    labels = classes.fresh(12)
    axes = reshaped(classes, {2: labels}, (1, 7, 12), (1, 7, 3, 4))
    assert list(axes) == [3]
    assert [root % 4 for root in classes.roots()[labels]] == [0, 1, 2, 3] * 3
    assert np.array_equal(reshaped(classes, axes, (1, 7, 3, 4), (1, 7, 12))[2] % 4, labels % 4)


def test_flattening_gives_every_pixel_its_channel() -> None:
    classes = Classes()
    labels = classes.fresh(3)
    assert reshaped(classes, {1: labels}, (1, 3, 2, 2), (1, 12))[1].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_two_axes_of_channels_in_one_stay() -> None:
    classes = Classes()
    first, second = classes.fresh(3), classes.fresh(4)
    reshaped(classes, {0: first, 1: second}, (3, 4), (12,))
    assert not classes.free(first)
    assert not classes.free(second)


def test_a_pin_holds_for_all_that_is_united_with_it_before_and_after() -> None:
    classes = Classes()
    first, second, third = classes.fresh(2), classes.fresh(2), classes.fresh(2)
    classes.unite(first, second)
    classes.pin(second[:1], "because")
    classes.unite(third, first)
    assert [classes.pinned(root) for root in classes.roots()[third]] == ["because", ""]


class Padded(tiny.Pooled):
    """A shortcut widened by zeros: those channels are none, so what they are added to stays; the rest may go."""

    def __init__(self) -> None:
        super().__init__(24)
        self.first = tiny.conv_bn(3, 16)
        self.second = tiny.conv_bn(16, 24)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        result: torch.Tensor = self.second(x) + nn.functional.pad(x, (0, 0, 0, 0, 0, 8))
        return result


def test_channels_added_to_padding_stay_and_say_why() -> None:
    groups = {g.name: g for g in own_groups(Padded(), tiny.SIZE)}
    assert {name: (g.channels, g.unusable) for name, g in groups.items() if "head" not in name} == {
        "first.0": (16, ""),
        "second.0": (8, "it is padded"),
    }


class Unlisted(tiny.Pooled):
    """An operation that no rule describes reads the channels of `first`."""

    def __init__(self) -> None:
        super().__init__(16)
        self.first = tiny.conv_bn(3, 16)
        self.second = tiny.conv_bn(16, 16)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(self.first(x).sort(dim=1).values)
        return result


def test_an_operation_without_a_rule_keeps_what_it_reads() -> None:
    groups = {g.name: g.unusable for g in own_groups(Unlisted(), tiny.SIZE)}
    assert "not known" in groups["first.0"]
    assert groups["second.0"] == ""
