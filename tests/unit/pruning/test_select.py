"""Which channels stay, by their scores."""

from __future__ import annotations

import pytest
import torch

from prune_deploy.pruning.apply import position_scores, select, select_first
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.records import GroupWidth, WidthPlan


def group(channels: int, blocks: int = 1, heads: str | None = None) -> ChannelGroup:
    return ChannelGroup(name="g", channels=channels, members=(), blocks=blocks, heads=heads)


def plan_of(channels: int, kept: int, blocks: int = 1, whole: bool = False) -> WidthPlan:
    width = GroupWidth(name="g", channels=channels, kept=kept, blocks=blocks, whole_blocks=whole)
    return WidthPlan(groups=(width,), model="m")


def test_the_best_scored_channels_stay_in_their_order() -> None:
    scores = torch.tensor([0.3, 0.9, 0.1, 0.8, 0.2, 0.7])
    assert select([group(6)], plan_of(6, 3), {"g": scores}).kept == {"g": (1, 3, 5)}


@pytest.mark.parametrize("kept", range(1, 41))
def test_no_channel_that_stays_scores_below_one_that_goes(kept: int) -> None:
    scores = torch.rand(40, generator=torch.Generator().manual_seed(kept)).round(decimals=1)  # with ties
    stay = select([group(40)], plan_of(40, kept), {"g": scores}).kept["g"]
    gone = set(range(40)) - set(stay)
    assert len(stay) == kept == len(set(stay))
    assert list(stay) == sorted(stay)
    assert not gone or scores[list(stay)].min() >= scores[list(gone)].max()


def test_equal_blocks_lose_equal_positions_by_their_mean_score() -> None:
    # Two blocks of three; the means of the positions are 2, 5 and 3.
    scores = torch.tensor([4.0, 1.0, 3.0, 0.0, 9.0, 3.0])
    assert position_scores(group(6, blocks=2), scores, whole_blocks=False).tolist() == [2.0, 5.0, 3.0]
    assert select([group(6, blocks=2)], plan_of(6, 4, blocks=2), {"g": scores}).kept == {"g": (1, 2, 4, 5)}


def test_whole_blocks_stay_by_their_mean_score() -> None:
    scores = torch.tensor([1.0, 1.0, 9.0, 0.0, 2.0, 2.0])  # three heads of two: means 1, 4.5, 2
    plan = plan_of(6, 4, blocks=3, whole=True)
    assert select([group(6, blocks=3, heads="attn")], plan, {"g": scores}).kept == {"g": (2, 3, 4, 5)}


def test_a_group_that_keeps_everything_needs_no_scores() -> None:
    assert select([group(3)], plan_of(3, 3), {}).kept == {"g": (0, 1, 2)}


def test_the_first_channels_can_be_kept_without_scores() -> None:
    assert select_first([group(6)], plan_of(6, 2)).kept == {"g": (0, 1)}
    assert select_first([group(6, blocks=2)], plan_of(6, 4, blocks=2)).kept == {"g": (0, 1, 3, 4)}


def test_half_precision_scores_rank_like_single() -> None:
    scores = torch.tensor([3.0, 1.0, 2.0, 4.0])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert select([group(4)], plan_of(4, 2), {"g": scores.to(dtype)}).kept == {"g": (0, 3)}
