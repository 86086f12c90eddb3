"""Causes of a layer's time: every one provoked, none without its evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prune_deploy.records import BETWEEN_LAYERS, Cause, LayerTime, Trace
from prune_deploy.reporting.figures.sentence import Sentence, sentence
from support.explanations import BIG, assert_adds_up, explained, findings, keys, step_ms, verdict
from support.made_traces import NCHWC, conv, layer, trace


def test_channels_that_lose_the_blocked_kernel_are_misaligned() -> None:
    dense = trace(BIG, conv("a", 1000.0, 64, 64))
    pruned = trace(BIG, conv("a", 1500.0, 60, 61, op="FusedConv", kernel="NCHW"))
    stated = findings(dense, pruned)
    found = stated.explanation()
    a = verdict(found, "a")
    assert a.cause == "misaligned"
    why = sentence("input-channels", count=61, multiple=4)
    assert stated.evidence["a"] == sentence("lost-kernel", why=why, kernel="FusedConv NCHW", dense_kernel="Conv NCHWc")
    assert step_ms(found, "misaligned") == pytest.approx(a.delta_ms)
    assert a.delta_ms > 0.5
    assert [each.params["cause"] for each in stated.sentences[1:]] == ["misaligned"]
    assert stated.advice == (sentence("round-to", block=16, kernels=NCHWC.kernels),)
    assert_adds_up(found)


@pytest.mark.parametrize(
    ("outputs", "inputs", "blocked_before", "why"),
    [
        (61, 1, True, sentence("channels", count=61, multiple=4)),  # depthwise
        (60, 1, True, None),
        (64, 24, True, sentence("channels-per-group", count=24, multiple=16)),
        (64, 32, True, None),
        (60, 61, False, None),  # never had it
    ],
)
def test_a_lost_kernel_is_blamed_on_channels_only_where_they_are_to_blame(
    outputs: int, inputs: int, blocked_before: bool, why: Sentence | None
) -> None:
    before = conv("a", 1000.0, 64, inputs if inputs == 1 else 64, kernel="NCHWc" if blocked_before else "NCHW")
    found = findings(trace(BIG, before), trace(BIG, conv("a", 2000.0, outputs, inputs, kernel="NCHW")))
    assert (verdict(found.figures, "a").cause == "misaligned") == (why is not None)
    assert found.evidence["a"].params.get("why") == why


def test_padding_that_accounts_for_the_excess_is_misaligned() -> None:
    padded = 80 * 80 / (65 * 65)  # 65 channels become 80, in and out
    before, ideal = conv("a", 1000.0, 128, 128), 1000.0 * 65 * 65 / 128 / 128
    found = findings(trace(BIG, before), trace(BIG, conv("a", ideal * padded, 65, 65)))
    assert verdict(found.figures, "a").cause == "misaligned"
    assert found.evidence["a"] == sentence("padded", widths=(65, 65), multiple=16, waste=pytest.approx(padded - 1))
    much_slower = explained(trace(BIG, before), trace(BIG, conv("a", 4 * ideal * padded, 65, 65)))
    assert verdict(much_slower, "a").cause == "other"  # padding is 14 % of the excess: no evidence
    aligned = explained(trace(BIG, before), trace(BIG, conv("a", ideal * padded, 64, 64)))
    assert verdict(aligned, "a").cause == "other"
    unknown = explained(trace(BIG, before), trace(BIG, conv("a", ideal * padded, 65, 65)), alignment=None)
    assert verdict(unknown, "a").cause == "other"


def test_what_ran_fused_before_and_runs_alone_now_is_misaligned_if_its_channels_say_so() -> None:
    dense = trace(BIG, conv("a", 1000.0, 64, 64))
    pruned = trace(BIG, conv("a", 800.0, 60, 60), layer("add", "Add", 200.0, shape=(1, 60, 14, 14), bytes_moved=1000))
    assert verdict(explained(dense, pruned), "add").cause == "misaligned"
    fitting = trace(BIG, conv("a", 800.0, 60, 60), layer("add", "Add", 200.0, shape=(1, 64, 14, 14), bytes_moved=1000))
    assert verdict(explained(dense, fitting), "add").cause == "other"


def test_reorders_that_the_dense_model_has_not_are_reformats() -> None:
    dense = trace(BIG, conv("a", 1000.0, 64, 64), layer("end:ReorderOutput", "ReorderOutput", 50.0, bytes_moved=1000))
    reorders = [layer(f"x{n}:ReorderInput", "ReorderInput", 200.0, bytes_moved=1000) for n in range(3)]
    pruned = trace(
        BIG, conv("a", 900.0, 60, 64), *reorders, layer("other:ReorderOutput", "ReorderOutput", 50.0, bytes_moved=1000)
    )
    stated = findings(dense, pruned)
    found = stated.explanation()
    added = verdict(found, "every ReorderInput")
    assert added.cause == "reformat"
    assert stated.evidence["every ReorderInput"] == sentence("copies", count=3, dense_count=0)
    assert added.pruned_us == pytest.approx(600.0)
    assert verdict(found, "every ReorderOutput").cause != "reformat"  # as many and as slow as before
    many = [layer(f"y{n}:ReorderOutput", "ReorderOutput", 50.0, bytes_moved=1000) for n in range(4)]
    more = verdict(explained(dense, trace(BIG, conv("a", 900.0, 60, 64), *many)), "every ReorderOutput")
    assert more.cause == "reformat"
    assert more.pruned_us == pytest.approx(200.0)
    assert more.predicted_us == pytest.approx(50.0)  # four times the bytes are no reason to take four times the time
    assert step_ms(found, "reformat") == pytest.approx(0.6)
    assert sentence("round-to", block=16, kernels=NCHWC.kernels) in stated.advice
    assert_adds_up(found)


def test_a_copy_that_the_pruned_model_no_longer_needs_counts_for_it() -> None:
    dense = trace(BIG, conv("a", 1000.0, 64, 64), layer("t", "Transpose", 300.0, bytes_moved=1000))
    found = explained(dense, trace(BIG, conv("a", 500.0, 32, 64)))
    gone = verdict(found, "every Transpose")
    assert (gone.cause, gone.pruned_us) == ("reformat", 0.0)
    assert gone.delta_ms == pytest.approx(-0.3 / found.macs_ratio, abs=1e-6)


def test_bytes_at_the_machines_bandwidth_are_memory_bound() -> None:
    def side(width: int, time_us: float, conv_us: float) -> Trace:
        # 20 GB/s move 20 kB a microsecond.
        return trace(conv("a", conv_us, width, width), layer("relu", time_us=time_us, bytes_moved=width * 100_000))

    stated = findings(side(64, 400.0, 1000.0), side(32, 200.0, 250.0))
    found = stated.explanation()
    relu = verdict(found, "relu")
    assert relu.cause == "memory-bound"
    rate = {"moved_bytes": 3_200_000, "gb_s": pytest.approx(16.0), "memory_gb_s": 20.0}
    assert stated.evidence["relu"] == sentence("only-bytes", **rate, left=0.5, times=pytest.approx(0.5))
    assert relu.predicted_us == pytest.approx(200.0)  # by its bytes
    assert relu.delta_ms == pytest.approx(0.1)  # half its bytes for a quarter of the MACs
    assert step_ms(found, "memory-bound") == pytest.approx(0.1)
    idle = explained(side(64, 4000.0, 1000.0), side(32, 2000.0, 250.0))
    assert verdict(idle, "relu").cause == "as-predicted"  # 8 % of its time at the bandwidth: that is not what holds it


def test_a_convolution_can_be_bound_by_memory_too() -> None:
    wide = conv("a", 1000.0, 64, 64, bytes_moved=20_000_000)
    narrow = conv("a", 600.0, 32, 32, bytes_moved=10_000_000)  # 500 µs at 20 GB/s, and a quarter of the MACs
    stated = findings(trace(BIG, wide), trace(BIG, narrow))
    found = stated.explanation()
    assert verdict(found, "a").cause == "memory-bound"
    rate = {"moved_bytes": 10_000_000, "gb_s": pytest.approx(16.7, abs=0.05), "memory_gb_s": 20.0}
    assert stated.evidence["a"] == sentence("many-bytes", **rate, left=0.25, work="MACs")
    assert ("narrow-maps" in keys(stated.advice)) == (step_ms(found, "memory-bound") > 0.05 * found.measured_ms)


def tiny(number: int, width: int) -> LayerTime:
    """A convolution whose time is that of starting it."""
    return conv(f"tiny{number}", 30.0 + number, width, width, macs=width * width * 9, bytes_moved=40 * width)


def test_layers_near_the_floor_are_overhead_bound() -> None:
    dense = trace(BIG, *(tiny(n, 64) for n in range(20)))
    pruned = trace(replace(BIG, time_us=2000.0, macs=(BIG.macs or 0) // 4), *(tiny(n, 32) for n in range(20)))
    stated = findings(dense, pruned)
    found = stated.explanation()
    assert {verdict(found, f"tiny{n}").cause for n in range(20)} == {"overhead-bound"}
    assert stated.evidence["tiny3"].key == "little-work"
    assert stated.evidence["tiny3"].params["floor_us"] == pytest.approx(31.5)
    assert found.steps[0].cause == "overhead-bound"
    assert found.steps[0].layers == 20
    assert stated.advice[0] == sentence("larger-batch", batch=8)
    # The same times with work in them that the best rate could just about do: no overhead.
    work = round((BIG.macs or 0) / 8000 * 20)
    busy = [
        trace(BIG, *(replace(tiny(n, 64), macs=work) for n in range(20))),
        trace(BIG, *(replace(tiny(n, 32), macs=work * 3 // 4) for n in range(20))),
    ]
    assert "overhead-bound" not in {verdict(explained(busy[0], busy[1]), f"tiny{n}").cause for n in range(20)}


def test_a_run_in_which_no_layer_runs_is_the_cost_of_starting_them() -> None:
    dense = trace(conv("a", 1000.0, 64, 64), layer(BETWEEN_LAYERS, "python", 300.0), between_us=200.0, backend="eager")
    pruned = trace(conv("a", 250.0, 32, 32), between_us=200.0, backend="eager")
    stated = findings(dense, pruned)
    found = stated.explanation()
    between = verdict(found, BETWEEN_LAYERS)
    assert between.cause == "overhead-bound"
    assert stated.evidence[BETWEEN_LAYERS] == sentence("idle", idle_share=pytest.approx(0.2 / 0.45))
    assert (between.dense_us, between.pruned_us) == pytest.approx((200.0, 200.0))
    assert step_ms(found, "overhead-bound") == pytest.approx(0.15)
    assert "fewer-kernels" in keys(stated.advice)
    little = explained(trace(conv("a", 1000.0, 64, 64)), trace(conv("a", 250.0, 32, 32), between_us=10.0))
    assert verdict(little, BETWEEN_LAYERS).cause == "other"
    assert step_ms(little, "other") == pytest.approx(0.01)


def test_what_only_one_graph_has_is_said_and_not_explained_away() -> None:
    dense = trace(BIG, layer("fused_1", "Kernel", 500.0), backend="compile")
    pruned = trace(BIG, layer("fused_2", "Kernel", 4000.0), backend="compile")
    found = findings(dense, pruned, alignment=None, macs_ratio=2.0)
    assert {verdict(found.figures, name).cause for name in ("fused_1", "fused_2")} == {"other"}
    assert found.sentences[-1] == sentence("fused-kernels", unknown_share=pytest.approx(1 / 3))
    assert_adds_up(found.figures)


@pytest.mark.parametrize(("time_us", "cause"), [(240.0, "as-predicted"), (300.0, "other")])
def test_a_kernel_whose_work_nobody_knows_is_held_against_the_networks_macs(time_us: float, cause: Cause) -> None:
    dense = trace(conv("a", 1000.0, 64, 64), layer("fused_1", "Kernel", 500.0), backend="compile")
    pruned = trace(conv("a", 500.0, 32, 64), layer("fused_1", "Kernel", time_us), backend="compile")
    found = findings(dense, pruned, alignment=None)
    fused = verdict(found.figures, "fused_1")
    assert fused.cause == cause
    assert fused.predicted_us == pytest.approx(250.0)
    assert found.evidence["fused_1"] == sentence(
        "unknown-work", times=pytest.approx(time_us / 500.0), macs_left=pytest.approx(0.5)
    )
    assert found.sentences[-1].key == "fused-kernels"
