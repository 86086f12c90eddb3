"""The safety net: exactly the groups whose narrowing breaks the network are found, with the error that each one causes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prune_deploy.errors import PruningError
from prune_deploy.pruning.checks.trial import Trials, cut_copy, failure
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.groups.depgraph import trace_groups
from prune_deploy.pruning.meta_copy import example_input, make_meta_copy
from prune_deploy.pruning.pruner import prune
from prune_deploy.records import GroupWidth, WidthPlan
from prune_deploy.specs import PruneSpec
from support.models import tiny_models as tiny


def halved(groups: tuple[ChannelGroup, ...], *, but: tuple[str, ...] = ("head",)) -> WidthPlan:
    """A plan that halves every group except those named."""
    widths = [
        GroupWidth(name=g.name, channels=g.channels, kept=g.channels if g.name in but else g.channels // 2, blocks=g.blocks)
        for g in groups
    ]
    return WidthPlan(groups=tuple(widths), model="m")


def breaking(model: nn.Module, but: tuple[str, ...] = ("head",), size: tuple[int, int, int] = tiny.SIZE) -> dict[str, str]:
    """What the safety net finds when every group is halved."""
    meta_copy = make_meta_copy(model)
    groups = trace_groups(make_meta_copy(model), example_input(size))
    return Trials(meta_copy, groups, size).breaking_groups(halved(groups, but=but))


def test_a_network_that_torch_pruning_understands_needs_no_protection() -> None:
    assert breaking(tiny.Residual()) == {}


def test_exactly_the_group_behind_a_hard_coded_view_is_protected() -> None:
    found = breaking(tiny.HardView())
    assert set(found) == {"second.0"}
    assert found["second.0"].startswith("RuntimeError: shape '[-1, 24, 16, 16]' is invalid")


def test_a_width_that_would_fold_into_the_batch_is_protected() -> None:
    assert set(breaking(tiny.FoldsBatch())) == {"second.0"}


class MergesImages(nn.Module):
    """With half the channels, two images become one; a single image comes out right."""

    def __init__(self) -> None:
        super().__init__()
        self.first = tiny.conv_bn(3, 16)
        self.second = tiny.conv_bn(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x)).mean((2, 3))
        return x.reshape(max(1, x.numel() // 16), -1)


def test_an_output_of_the_wrong_batch_is_a_failure_though_nothing_was_raised() -> None:
    assert breaking(MergesImages(), but=()) == {"second.0": "a batch of 2 comes out as 1"}


class Chain(tiny.Pooled):
    """Eight convolutions; behind those listed, forward insists on the dense width."""

    WIDTH = 16

    def __init__(self, hard: tuple[int, ...]) -> None:
        super().__init__(self.WIDTH)
        self.hard = hard
        self.layers = nn.ModuleList(nn.Conv2d(3 if i == 0 else self.WIDTH, self.WIDTH, 1) for i in range(8))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.hard and x.shape[1] != self.WIDTH:
                raise IndexError(f"layer {index}")
        return x


@pytest.mark.parametrize("hard", [(0,), (7,), (3,), (0, 7), (2, 3, 4), (0, 1, 2, 3, 4, 5, 6, 7), ()])
def test_every_breaking_group_is_found_and_no_other(hard: tuple[int, ...]) -> None:
    assert breaking(Chain(hard)) == {f"layers.{i}": f"IndexError: layer {i}" for i in hard}


class Pair(tiny.Pooled):
    """Either branch may shrink, but not both: their widths must differ."""

    def __init__(self) -> None:
        super().__init__(32)
        self.left = nn.Conv2d(3, 16, 1)
        self.right = nn.Conv2d(3, 16, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.left(x), self.right(x)
        if left.shape[1] + right.shape[1] < 24:
            raise ValueError("too narrow together")
        return torch.cat([left, right], 1)


def test_of_groups_that_break_only_together_one_is_protected() -> None:
    assert breaking(Pair()) == {"right": "ValueError: too narrow together"}


def test_a_failure_is_told_in_one_line_and_a_success_in_none() -> None:
    model = tiny.HardView()
    groups = trace_groups(make_meta_copy(model), example_input(tiny.SIZE))
    meta_copy = make_meta_copy(model)
    assert "\n" not in failure(meta_copy, groups, halved(groups), tiny.SIZE)
    assert failure(meta_copy, groups, halved(groups), tiny.SIZE)
    assert failure(meta_copy, groups, halved(groups, but=("head", "second.0")), tiny.SIZE) == ""


def test_trials_leave_the_twin_as_it_was() -> None:
    meta_copy = make_meta_copy(tiny.Residual())
    shapes = {name: p.shape for name, p in meta_copy.named_parameters()}
    groups = trace_groups(make_meta_copy(tiny.Residual()), example_input(tiny.SIZE))
    narrowed = cut_copy(meta_copy, groups, halved(groups))
    assert {name: p.shape for name, p in meta_copy.named_parameters()} == shapes
    assert sum(p.numel() for p in narrowed.parameters()) < sum(p.numel() for p in meta_copy.parameters())
    assert all(p.is_meta for p in narrowed.parameters())


def test_a_protected_group_is_a_shortfall_that_must_be_accepted() -> None:
    model = tiny.lively(tiny.HardView())
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(
        PruningError, match=r"1 of 4 groups would keep more than asked: second\.0 keeps 24 of 24, 8 asked"
    ) as caught:
        prune(model, PruneSpec(ratio=0.5), tiny.SIZE)
    assert caught.value.exit_code == 1
    assert "`allow_shortfall=True`" in caught.value.fix
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items()), "the model was touched"
    pruned = prune(model, PruneSpec(ratio=0.5, allow_shortfall=True), tiny.SIZE)
    (short,) = pruned.receipt.shortfalls
    assert (short.name, short.reason, short.kept, short.asked) == ("second.0", "protected", 24, 8)
    assert "is invalid" in short.detail
    assert model(tiny.images(tiny.SIZE)).shape == (2, 5)


def test_an_ignored_group_is_no_shortfall_even_where_it_would_break() -> None:
    pruned = prune(tiny.lively(tiny.HardView()), PruneSpec(ratio=0.5, ignore=("head", "second.0")), tiny.SIZE)
    assert pruned.receipt.shortfalls == ()
    assert {g.name: g.reason for g in pruned.receipt.groups}["second.0"] == "ignored"
