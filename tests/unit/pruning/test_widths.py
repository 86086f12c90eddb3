"""The arithmetic of widths: ratios, rounding, blocks, caps and scopes, against formulas written here and against torch-pruning."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch
from torch_pruning.pruner.algorithms.base_pruner import BasePruner

from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.widths import KeepReason, grain_of, plan_widths
from prune_deploy.records import GroupWidth
from prune_deploy.specs import PruneSpec, Rounding

RATIOS = (0.01, 0.05, 0.1, 0.25, 0.3, 0.5, 0.625, 0.7, 0.75, 0.9, 0.95, 0.99)
WIDTHS = (1, 2, 3, 7, 8, 9, 10, 12, 16, 24, 31, 48, 64, 100, 160, 336, 1000, 1536)
MULTIPLES = (1, 2, 3, 4, 8, 16, 32)


def group(channels: int, *, name: str = "g", blocks: int = 1, heads: str | None = None, signature: str = "") -> ChannelGroup:
    """A group without layers: all that the arithmetic looks at."""
    return ChannelGroup(name=name, channels=channels, members=(), blocks=blocks, heads=heads, signature=signature)


def width_of(g: ChannelGroup, spec: PruneSpec, ratio: float | None = None, dense: int | None = None) -> GroupWidth:
    """The planned width of one group."""
    asked = spec.ratio if ratio is None else ratio
    assert asked is not None
    (width,) = plan_widths([g], spec, asked, kept={}, dense=None if dense is None else {g.name: dense})
    return width


def torch_pruning_keeps(channels: int, ratio: float, round_to: int) -> int:
    """Channels that torch-pruning keeps of one group in one local step, by its own rounding (BasePruner._prune)."""
    removed = channels - int(channels * (1 - ratio))
    rounded = BasePruner._round_to(None, removed, channels, round_to)
    return int(channels - rounded)


@pytest.mark.parametrize("round_to", MULTIPLES)
@pytest.mark.parametrize("ratio", RATIOS)
def test_kept_counts_are_those_of_torch_pruning(ratio: float, round_to: int) -> None:
    spec = PruneSpec(ratio=ratio, round_to=round_to, when_empty="skip")
    for channels in WIDTHS:
        expected = torch_pruning_keeps(channels, ratio, round_to) or channels  # it skips what would be emptied
        assert width_of(group(channels), spec).kept == expected, channels


@pytest.mark.parametrize("rounding", ["down", "nearest", "up"])
def test_rounding_moves_to_the_multiple_it_names(rounding: Rounding) -> None:
    for channels, ratio, round_to in itertools.product(WIDTHS, RATIOS, MULTIPLES):
        exact = int(channels * (1 - ratio))
        candidates = {
            "down": math.floor(Fraction(exact, round_to)),
            "up": math.ceil(Fraction(exact, round_to)),
            "nearest": math.floor(Fraction(exact, round_to) + Fraction(1, 2)),
        }
        expected = min(channels, round_to * candidates[rounding] or round_to)
        kept = width_of(group(channels), PruneSpec(ratio=ratio, round_to=round_to, rounding=rounding)).kept
        assert kept == expected, (channels, ratio, round_to)


def test_a_group_that_would_be_emptied_keeps_one_multiple_or_everything() -> None:
    unit = width_of(group(12), PruneSpec(ratio=0.9, round_to=8))
    assert (unit.kept, unit.asked, unit.reason) == (8, 8, "minimum")
    assert "1 would round to nothing" in unit.detail
    skipped = width_of(group(12), PruneSpec(ratio=0.9, round_to=8, when_empty="skip"))
    assert (skipped.kept, skipped.asked, skipped.reason) == (12, 12, "minimum")


def test_a_group_narrower_than_one_multiple_is_kept_whole() -> None:
    assert width_of(group(5), PruneSpec(ratio=0.5, round_to=8)).kept == 5


@pytest.mark.parametrize("rounding", ["down", "nearest", "up"])
def test_no_group_is_ever_emptied_or_widened(rounding: Rounding) -> None:
    for channels, ratio, round_to in itertools.product(WIDTHS, (*RATIOS, 1.0), MULTIPLES):
        for blocks in {1, *(b for b in (2, 4, 5) if channels % b == 0)}:
            spec = PruneSpec(ratio=0.5, round_to=round_to, rounding=rounding)
            kept = width_of(group(channels, blocks=blocks), spec, ratio).kept
            assert 0 < kept <= channels, (channels, ratio, round_to, blocks)
            assert kept % blocks == 0


def test_reasons_say_whether_rounding_moved_the_width() -> None:
    exact = width_of(group(64), PruneSpec(ratio=0.5, round_to=8))
    assert (exact.kept, exact.reason, exact.detail) == (32, "as-asked", "")
    moved = width_of(group(60), PruneSpec(ratio=0.5, round_to=8))
    assert (moved.kept, moved.reason, moved.detail) == (24, "rounded", "30 moved to a multiple of 8")


@pytest.mark.parametrize(
    ("channels", "ratio", "cap", "round_to", "kept", "reason"),
    [
        (100, 0.95, 0.9, 1, 10, "capped"),
        (100, 0.5, 0.9, 1, 50, "as-asked"),
        (100, 0.95, 0.9, 8, 16, "capped"),
        (64, 0.9, 0.75, 8, 16, "capped"),
        (10, 0.99, 0.01, 1, 10, "capped"),
        (10, 0.75, 0.75, 1, 3, "capped"),  # two would be left, 80 % gone
    ],
)
def test_group_cap_keeps_the_rest_in_whole_multiples(
    channels: int, ratio: float, cap: float, round_to: int, kept: int, reason: str
) -> None:
    width = width_of(group(channels), PruneSpec(ratio=ratio, group_cap=cap, round_to=round_to))
    assert (width.kept, width.asked, width.reason) == (kept, kept, reason)


def test_group_cap_is_exact_where_floating_point_is_not() -> None:
    for channels, percent in itertools.product(range(1, 300), range(1, 101)):
        spec = PruneSpec(ratio=0.999, group_cap=percent / 100, round_to=1)
        least = channels - channels * percent // 100  # whole numbers only
        assert width_of(group(channels), spec).kept == max(1, least), (channels, percent)


def test_a_cap_equal_to_the_ratio_changes_nothing_where_the_share_is_whole() -> None:
    for channels, percent in itertools.product((10, 20, 50, 100, 200), range(1, 100)):
        if channels * percent % 100 == 0:
            ratio = percent / 100
            free = width_of(group(channels), PruneSpec(ratio=ratio, round_to=1))
            capped = width_of(group(channels), PruneSpec(ratio=ratio, group_cap=ratio, round_to=1))
            # int(n * (1 - r)) can fall one short, in torch-pruning as here; the cap may give that one channel back.
            assert capped.kept == channels - channels * percent // 100
            assert capped.kept - free.kept in (0, 1)


@pytest.mark.parametrize("blocks", [2, 4, 8, 32, 40])
@pytest.mark.parametrize("round_to", MULTIPLES)
def test_grouped_convolutions_keep_whole_positions_in_aligned_layers(blocks: int, round_to: int) -> None:
    for positions, ratio in itertools.product((2, 4, 5, 8, 16), RATIOS):
        channels = blocks * positions
        width = width_of(group(channels, blocks=blocks), PruneSpec(ratio=ratio, round_to=round_to))
        multiple = math.lcm(blocks, round_to)
        asked = blocks * int(positions * (1 - ratio))
        assert width.kept == min(channels, asked - asked % multiple or multiple)
        assert width.whole_blocks is False


@pytest.mark.parametrize("round_to", MULTIPLES)
def test_inside_attention_the_width_of_one_head_is_aligned(round_to: int) -> None:
    for heads, width, ratio in itertools.product((1, 3, 12, 16), (16, 32, 64, 72), RATIOS):
        kept = width_of(group(heads * width, blocks=heads, heads="attn"), PruneSpec(ratio=ratio, round_to=round_to)).kept
        asked = int(width * (1 - ratio))
        assert kept == heads * min(width, asked - asked % round_to or round_to)


@pytest.mark.parametrize("round_to", MULTIPLES)
def test_with_heads_whole_heads_leave_and_the_layer_is_aligned(round_to: int) -> None:
    for heads, width, ratio in itertools.product((2, 3, 12, 16), (16, 24, 32, 64), RATIOS):
        spec = PruneSpec(ratio=ratio, round_to=round_to, heads=True)
        planned = width_of(group(heads * width, blocks=heads, heads="attn"), spec)
        fewest = min(n for n in range(1, 33) if n * width % round_to == 0)  # heads that make an aligned layer
        asked = int(heads * (1 - ratio))
        assert planned.kept == width * min(heads, asked - asked % fewest or fewest)
        assert planned.whole_blocks is True


def test_heads_leave_groups_outside_attention_as_they_were() -> None:
    for blocks in (1, 4):
        plain, heads = (PruneSpec(ratio=0.4, heads=value) for value in (False, True))
        assert width_of(group(96, blocks=blocks), plain) == width_of(group(96, blocks=blocks), heads)


def test_the_grain_is_what_leaves_at_once() -> None:
    spec, heads = PruneSpec(ratio=0.5, round_to=8), PruneSpec(ratio=0.5, round_to=8, heads=True)
    plain, grouped = grain_of(group(64), spec), grain_of(group(64, blocks=32), spec)
    narrowed, removed = grain_of(group(48, blocks=3, heads="a"), spec), grain_of(group(48, blocks=3, heads="a"), heads)
    assert (plain.count, plain.channels, plain.step) == (64, 1, 8)
    assert (grouped.count, grouped.channels, grouped.step) == (2, 32, 1)
    assert (narrowed.count, narrowed.channels, narrowed.step) == (16, 3, 8)
    assert (removed.count, removed.channels, removed.step) == (3, 16, 1)


def test_groups_left_alone_keep_everything_and_say_what_was_asked() -> None:
    groups = [group(64, name="a"), group(64, name="b")]
    a, b = plan_widths(groups, PruneSpec(ratio=0.5), 0.5, kept={"a": KeepReason("protected", "it breaks")})
    assert (a.kept, a.asked, a.reason, a.detail) == (64, 32, "protected", "it breaks")
    assert (b.kept, b.asked, b.reason) == (32, 32, "as-asked")


def test_iterative_ratios_refer_to_the_dense_width() -> None:
    spec = PruneSpec(ratio=0.5, round_to=1)
    assert width_of(group(70), spec, 0.6, dense=100).kept == 40
    assert width_of(group(30), spec, 0.6, dense=100).kept == 30  # already narrower than asked: nothing grows back
    cap = PruneSpec(ratio=0.5, round_to=1, group_cap=0.5)
    assert width_of(group(70), cap, 0.9, dense=100).kept == 50


# --- global and isomorphic scopes -----------------------------------------------------------------------------------------------


def scores_of(*named: tuple[str, list[float]]) -> dict[str, torch.Tensor]:
    """Scores by group name."""
    return {name: torch.tensor(values) for name, values in named}


def survivors_by_sorting(scores: dict[str, torch.Tensor], ratio: float) -> dict[str, int]:
    """How many channels of each group are among the best of all, by sorting them in one list."""
    everything = sorted(((float(v), name) for name, values in scores.items() for v in values), reverse=True)
    best = [name for _, name in everything[: int(len(everything) * (1 - ratio))]]
    return {name: best.count(name) for name in scores}


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_global_scope_keeps_the_best_wherever_they_are(seed: int, ratio: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"a": 40, "b": 25, "c": 60}
    scores = {name: torch.rand(size, generator=generator) * (1 + i) for i, (name, size) in enumerate(sizes.items())}
    groups = [group(size, name=name) for name, size in sizes.items()]
    spec = PruneSpec(ratio=ratio, scope="global", round_to=1)
    widths = plan_widths(groups, spec, ratio, kept={}, scores=scores)
    expected = survivors_by_sorting(scores, ratio)
    assert {w.name: w.kept for w in widths} == {name: max(1, kept) for name, kept in expected.items()}
    assert sum(expected.values()) == int(sum(sizes.values()) * (1 - ratio))


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.6])
def test_global_scope_removes_the_exact_share_when_all_scores_tie(ratio: float) -> None:
    groups = [group(30, name="a"), group(50, name="b"), group(20, name="c")]
    scores = {g.name: torch.ones(g.channels) for g in groups}
    widths = plan_widths(groups, PruneSpec(ratio=ratio, scope="global", round_to=1), ratio, kept={}, scores=scores)
    rescued = sum(w.reason == "minimum" for w in widths)  # a group that lost everything keeps one channel
    assert sum(w.channels - w.kept for w in widths) == round(100 * ratio) - rescued


def test_global_scope_leaves_kept_groups_out_of_the_competition() -> None:
    groups = [group(10, name="weak"), group(10, name="strong")]
    scores = scores_of(("strong", [9.0] * 5 + [1.0] * 5))  # the weak group is not even scored
    spec = PruneSpec(ratio=0.5, scope="global", round_to=1)
    weak, strong = plan_widths(groups, spec, 0.5, kept={"weak": KeepReason("ignored")}, scores=scores)
    assert (weak.kept, strong.kept) == (10, 5)


def test_isomorphic_scope_ranks_only_groups_of_the_same_structure() -> None:
    groups = [
        group(10, name="a", signature="conv"),
        group(10, name="b", signature="conv"),
        group(10, name="c", signature="mlp"),
        group(10, name="d", signature="mlp"),
    ]
    low, high = torch.arange(10.0), torch.arange(10.0) + 100
    scores = {"a": low, "b": high, "c": low + 1000, "d": high + 1000}
    spec = PruneSpec(ratio=0.5, scope="isomorphic", round_to=1)
    kept = {w.name: w.kept for w in plan_widths(groups, spec, 0.5, kept={}, scores=scores)}
    assert kept == {"a": 1, "b": 10, "c": 1, "d": 10}  # 1: the unit that a group keeps
    across = PruneSpec(ratio=0.5, scope="global", round_to=1)
    kept = {w.name: w.kept for w in plan_widths(groups, across, 0.5, kept={}, scores=scores)}
    assert kept == {"a": 1, "b": 1, "c": 10, "d": 10}


def test_global_scope_counts_positions_of_equal_blocks_once() -> None:
    # Two blocks of four positions; a position's score is its mean over the blocks.
    blocked = group(8, name="blocked", blocks=2)
    plain = group(4, name="plain")
    scores = scores_of(("blocked", [0.0, 10.0, 2.0, 9.0, 6.0, 10.0, 0.0, 9.0]), ("plain", [5.0, 4.0, 0.5, 8.0]))
    # Positions: blocked 3, 10, 1, 9; plain 5, 4, 0.5, 8. Half of eight stay: 10, 9, 8, 5.
    spec = PruneSpec(ratio=0.5, scope="global", round_to=1)
    widths = plan_widths([blocked, plain], spec, 0.5, kept={}, scores=scores)
    assert [w.kept for w in widths] == [4, 2]


def test_global_scope_ranks_whole_heads_by_their_mean() -> None:
    attention = group(12, name="attn", blocks=3, heads="attn")
    scores = scores_of(("attn", [0.0, 0.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0, 6.0, 6.0, 6.0, 6.0]))
    spec = PruneSpec(ratio=0.4, scope="global", round_to=1, heads=True)
    (width,) = plan_widths([attention], spec, 0.4, kept={}, scores=scores)
    assert (width.kept, width.whole_blocks) == (4, True)  # one head of three


@pytest.mark.parametrize("round_to", [1, 8])
def test_global_scope_rounds_and_caps_like_local(round_to: int) -> None:
    groups = [group(64, name="a"), group(64, name="b")]
    scores = {"a": torch.arange(64.0), "b": torch.arange(64.0) + 60}
    spec = PruneSpec(ratio=0.5, scope="global", round_to=round_to, group_cap=0.75)
    a, b = plan_widths(groups, spec, 0.5, kept={}, scores=scores)
    # 4 of the top 64 are a's: fewer than the quarter that the cap leaves it.
    assert (a.kept, a.reason) == (16, "capped")
    assert b.kept == (62 if round_to == 1 else 56)


def test_iterative_global_ratios_refer_to_the_dense_total() -> None:
    groups = [group(50, name="a"), group(40, name="b")]
    scores = {"a": torch.arange(50.0) + 100, "b": torch.arange(40.0)}
    spec = PruneSpec(ratio=0.5, scope="global", round_to=1)
    a, b = plan_widths(groups, spec, 0.4, kept={}, dense={"a": 60, "b": 60}, scores=scores)
    assert (a.kept, b.kept) == (50, 22)  # 72 of 120 stay, 18 of today's 90 go
