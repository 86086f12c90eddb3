"""Explanations of made traces: every cause provoked, none without its evidence, and steps that add up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from prune_deploy.records import BETWEEN_LAYERS, Cause, Explanation, LayerTime, LayerVerdict, Trace, from_json, to_json
from prune_deploy.reporting.explain.alignment import Alignment
from prune_deploy.reporting.explain.explanation import Timing, explain
from support.made_traces import NCHWC, conv, layer, machine, timing, trace


def explained(dense: Trace, pruned: Trace, alignment: Alignment | None = NCHWC, macs_ratio: float | None = None) -> Explanation:
    """The explanation of two traces that were measured as they were traced."""
    return explain(dense, pruned, timing(dense, pruned, macs_ratio), machine(alignment))


def verdict(found: Explanation, name: str) -> LayerVerdict:
    """One layer of an explanation."""
    return next(each for each in found.layers if each.name == name)


def step_ms(found: Explanation, cause: Cause) -> float:
    """The size of a step, 0 where there is none."""
    return sum(step.delta_ms for step in found.steps if step.cause == cause)


def assert_adds_up(found: Explanation) -> None:
    """To the nanosecond, the unit in which steps are computed."""
    nanoseconds = [round(value * 1e6) for value in (found.predicted_ms, *(step.delta_ms for step in found.steps))]
    assert sum(nanoseconds) == round(found.measured_ms * 1e6)


BIG = conv("big", 8000.0, 256, 256)
"""A convolution that sets the best rate, 14.5 MACs a nanosecond."""


def test_a_network_whose_layers_all_shrink_alike_has_no_gap() -> None:
    dense = trace(conv("a", 1000.0, 64, 64), conv("b", 1000.0, 64, 64))
    pruned = trace(conv("a", 250.0, 32, 32), conv("b", 250.0, 32, 32))
    found = explained(dense, pruned)
    assert found.macs_ratio == 4.0
    assert found.predicted_ms == found.measured_ms == 0.5
    assert {each.cause for each in found.layers if each.name != BETWEEN_LAYERS} == {"as-predicted"}
    assert all(step.delta_ms == 0 for step in found.steps)
    assert found.advice == ()
    assert "There is no gap" in found.sentences[1]
    assert_adds_up(found)


def test_steps_add_up_whatever_the_traces_say() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        widths = random.integers(8, 200, size=(2, 6))
        sides = []
        for side in range(2):
            convs = [conv(f"c{n}", float(random.gamma(2, 400)), int(widths[side, n]), 64) for n in range(6)]
            moves = [layer("relu", bytes_moved=int(random.integers(1, 10**6)), time_us=float(random.gamma(2, 50)))]
            sides.append(trace(*convs[: 4 + side], *moves, between_us=float(random.gamma(2, 100))))
        found = explain(
            sides[0], sides[1], Timing(dense_ms=7.7, measured_ms=5.3, macs_ratio=float(random.uniform(1, 6))), machine(NCHWC)
        )
        assert_adds_up(found)
        assert found.measured_ms == 5.3
        assert found.steps[-1].cause == "other"
        by_cause = sum(round(each.delta_ms * 1e6) for each in found.layers if each.cause == found.steps[0].cause)
        if found.steps[0].cause != "other":
            assert round(found.steps[0].delta_ms * 1e6) == by_cause


def test_times_are_scaled_to_what_was_measured_without_the_profiler() -> None:
    dense, pruned = trace(conv("a", 1000.0, 64, 64)), trace(conv("a", 250.0, 32, 32))
    # The profiler made the dense run 1.5 times as long: what it added lies between layers as far as there is room.
    dense = replace(dense, run_ms=1.5, untraced_ms=1.2)
    found = explain(dense, pruned, Timing(dense_ms=2.4, measured_ms=1.0, macs_ratio=4.0), machine())
    assert verdict(found, "a").dense_us == pytest.approx(2000.0)
    assert verdict(found, BETWEEN_LAYERS).dense_us == pytest.approx(400.0)
    assert verdict(found, "a").pruned_us == pytest.approx(1000.0)  # layers take the whole run
    slowed = replace(dense, untraced_ms=0.8)
    inside = explain(slowed, pruned, Timing(dense_ms=2.4, measured_ms=1.0, macs_ratio=4.0), machine())
    assert verdict(inside, "a").dense_us == pytest.approx(2400.0)
    assert verdict(inside, BETWEEN_LAYERS).dense_us == 0.0


def test_runs_that_were_slower_for_other_reasons_leave_no_time_between_layers() -> None:
    dense, pruned = trace(conv("a", 1000.0, 64, 64)), trace(conv("a", 250.0, 32, 32))
    contended = replace(pruned, untraced_ms=0.5)  # twice as long as with the profiler
    found = explain(dense, contended, Timing(dense_ms=1.0, measured_ms=0.3, macs_ratio=4.0), machine())
    assert verdict(found, BETWEEN_LAYERS).pruned_us == pytest.approx(0.0, abs=1e-9)
    assert verdict(found, "a").pruned_us == pytest.approx(300.0)


def test_channels_that_lose_the_blocked_kernel_are_misaligned() -> None:
    dense = trace(BIG, conv("a", 1000.0, 64, 64))
    pruned = trace(BIG, conv("a", 1500.0, 60, 61, op="FusedConv", kernel="NCHW"))
    found = explained(dense, pruned)
    a = verdict(found, "a")
    assert a.cause == "misaligned"
    assert "61 input channels are no multiple of 4" in a.evidence
    assert "FusedConv NCHW instead of Conv NCHWc" in a.evidence
    assert step_ms(found, "misaligned") == pytest.approx(a.delta_ms)
    assert a.delta_ms > 0.5
    assert any("misaligned channels" in sentence for sentence in found.sentences)
    assert found.advice == (
        "prune with --round-to 16: whole blocks of ONNX Runtime's blocked kernels (NCHWc), with nothing padded or reordered",
    )
    assert_adds_up(found)


@pytest.mark.parametrize(
    ("outputs", "inputs", "blocked_before", "says"),
    [
        (61, 1, True, "61 channels are no multiple of 4"),  # depthwise
        (60, 1, True, None),
        (64, 24, True, "24 input channels per group are no multiple of 16"),
        (64, 32, True, None),
        (60, 61, False, None),  # never had it
    ],
)
def test_a_lost_kernel_is_blamed_on_channels_only_where_they_are_to_blame(
    outputs: int, inputs: int, blocked_before: bool, says: str | None
) -> None:
    before = conv("a", 1000.0, 64, inputs if inputs == 1 else 64, kernel="NCHWc" if blocked_before else "NCHW")
    found = explained(trace(BIG, before), trace(BIG, conv("a", 2000.0, outputs, inputs, kernel="NCHW")))
    a = verdict(found, "a")
    assert (a.cause == "misaligned") == (says is not None)
    assert says is None or says in a.evidence


def test_padding_that_accounts_for_the_excess_is_misaligned() -> None:
    padded = 80 * 80 / (65 * 65)  # 65 channels become 80, in and out
    before, ideal = conv("a", 1000.0, 128, 128), 1000.0 * 65 * 65 / 128 / 128
    found = explained(trace(BIG, before), trace(BIG, conv("a", ideal * padded, 65, 65)))
    a = verdict(found, "a")
    assert a.cause == "misaligned"
    assert "65 × 65 channels are padded to multiples of 16: 51% more MACs" in a.evidence
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
    found = explained(dense, pruned)
    added = verdict(found, "every ReorderInput")
    assert added.cause == "reformat"
    assert "3 of them, the dense model has 0" in added.evidence
    assert added.pruned_us == pytest.approx(600.0)
    assert verdict(found, "every ReorderOutput").cause != "reformat"  # as many and as slow as before
    many = [layer(f"y{n}:ReorderOutput", "ReorderOutput", 50.0, bytes_moved=1000) for n in range(4)]
    more = verdict(explained(dense, trace(BIG, conv("a", 900.0, 60, 64), *many)), "every ReorderOutput")
    assert more.cause == "reformat"
    assert more.pruned_us == pytest.approx(200.0)
    assert more.predicted_us == pytest.approx(50.0)  # four times the bytes are no reason to take four times the time
    assert step_ms(found, "reformat") == pytest.approx(0.6)
    assert any("--round-to 16" in advice for advice in found.advice)
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

    found = explained(side(64, 400.0, 1000.0), side(32, 200.0, 250.0))
    relu = verdict(found, "relu")
    assert relu.cause == "memory-bound"
    assert "moves 3.2 MB at 16 GB/s, and memory gives 20; ×0.50 of the bytes" in relu.evidence
    assert relu.predicted_us == pytest.approx(200.0)  # by its bytes
    assert relu.delta_ms == pytest.approx(0.1)  # half its bytes for a quarter of the MACs
    assert step_ms(found, "memory-bound") == pytest.approx(0.1)
    idle = explained(side(64, 4000.0, 1000.0), side(32, 2000.0, 250.0))
    assert verdict(idle, "relu").cause == "as-predicted"  # 8 % of its time at the bandwidth: that is not what holds it


def test_a_convolution_can_be_bound_by_memory_too() -> None:
    wide = conv("a", 1000.0, 64, 64, bytes_moved=20_000_000)
    narrow = conv("a", 600.0, 32, 32, bytes_moved=10_000_000)  # 500 µs at 20 GB/s, and a quarter of the MACs
    found = explained(trace(BIG, wide), trace(BIG, narrow))
    assert verdict(found, "a").cause == "memory-bound"
    assert "moves 10.0 MB at 16.7 GB/s, and memory gives 20; ×0.25 of the MACs" in verdict(found, "a").evidence
    assert any("feature maps" in advice for advice in found.advice) == (step_ms(found, "memory-bound") > 0.05 * found.measured_ms)


def tiny(number: int, width: int) -> LayerTime:
    """A convolution whose time is that of starting it."""
    return conv(f"tiny{number}", 30.0 + number, width, width, macs=width * width * 9, bytes_moved=40 * width)


def test_layers_near_the_floor_are_overhead_bound() -> None:
    dense = trace(BIG, *(tiny(n, 64) for n in range(20)))
    pruned = trace(replace(BIG, time_us=2000.0, macs=(BIG.macs or 0) // 4), *(tiny(n, 32) for n in range(20)))
    found = explained(dense, pruned)
    assert {verdict(found, f"tiny{n}").cause for n in range(20)} == {"overhead-bound"}
    assert "the smallest of its kind take 31.5 µs" in verdict(found, "tiny3").evidence
    assert found.steps[0].cause == "overhead-bound"
    assert found.steps[0].layers == 20
    assert found.advice[0].startswith("use a larger batch than 8")
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
    found = explained(dense, pruned)
    between = verdict(found, BETWEEN_LAYERS)
    assert between.cause == "overhead-bound"
    assert between.evidence == "no layer runs for 44.4% of a run"
    assert (between.dense_us, between.pruned_us) == pytest.approx((200.0, 200.0))
    assert step_ms(found, "overhead-bound") == pytest.approx(0.15)
    assert any("compile, ort or trt" in advice for advice in found.advice)
    little = explained(trace(conv("a", 1000.0, 64, 64)), trace(conv("a", 250.0, 32, 32), between_us=10.0))
    assert verdict(little, BETWEEN_LAYERS).cause == "other"
    assert step_ms(little, "other") == pytest.approx(0.01)


def test_what_kept_its_size_weighs_by_what_its_macs_cost() -> None:
    # The stem's MACs cost four times as much as the others'; it stays while half of them go.
    stem = conv("stem", 400.0, 64, 64, macs=100_000)
    dense, pruned = trace(stem, conv("a", 1000.0, 64, 64, macs=1_000_000)), trace(stem, conv("a", 500.0, 64, 64, macs=500_000))
    found = explained(dense, pruned)
    kept = verdict(found, "stem")
    assert kept.cause == "not-pruned"
    assert kept.delta_ms > 0
    assert found.measured_ms == pytest.approx(0.9)
    assert found.predicted_ms == pytest.approx(1.4 * 0.6 / 1.1, abs=1e-6)
    assert_adds_up(found)
    # At the average price, keeping a layer costs nothing beyond what the network's MACs say.
    even = conv("stem", 100.0, 64, 64, macs=100_000)
    fair = explained(trace(even, conv("a", 1000.0, 64, 64, macs=1_000_000)), trace(even, conv("a", 500.0, 64, 64, macs=500_000)))
    assert verdict(fair, "stem").cause == "not-pruned"
    assert verdict(fair, "stem").delta_ms == pytest.approx(0, abs=1e-6)


def test_macs_that_were_removed_where_they_are_cheap_are_a_step_of_their_own() -> None:
    cheap, dear = conv("cheap", 200.0, 64, 64, macs=1_000_000), conv("dear", 800.0, 64, 64, macs=1_000_000)
    pruned = trace(replace(cheap, time_us=50.0, macs=250_000), replace(dear, time_us=600.0, macs=750_000))
    found = explained(trace(cheap, dear), pruned)
    assert {verdict(found, name).cause for name in ("cheap", "dear")} == {"as-predicted"}
    assert step_ms(found, "as-predicted") == pytest.approx(0.15)
    assert any("dear" in advice and "--plan" in advice for advice in found.advice)


def test_what_only_one_graph_has_is_said_and_not_explained_away() -> None:
    dense = trace(BIG, layer("fused_1", "Kernel", 500.0), backend="compile")
    pruned = trace(BIG, layer("fused_2", "Kernel", 4000.0), backend="compile")
    found = explained(dense, pruned, alignment=None, macs_ratio=2.0)
    assert {verdict(found, name).cause for name in ("fused_1", "fused_2")} == {"other"}
    assert found.sentences[-1].startswith("33% of its layer time is in kernels that fuse several layers")
    assert_adds_up(found)


@pytest.mark.parametrize(("time_us", "cause"), [(240.0, "as-predicted"), (300.0, "other")])
def test_a_kernel_whose_work_nobody_knows_is_held_against_the_networks_macs(time_us: float, cause: Cause) -> None:
    dense = trace(conv("a", 1000.0, 64, 64), layer("fused_1", "Kernel", 500.0), backend="compile")
    pruned = trace(conv("a", 500.0, 32, 64), layer("fused_1", "Kernel", time_us), backend="compile")
    found = explained(dense, pruned, alignment=None)
    fused = verdict(found, "fused_1")
    assert fused.cause == cause
    assert fused.predicted_us == pytest.approx(250.0)
    assert "its own work is not known" in fused.evidence
    assert any("fuse several layers" in sentence for sentence in found.sentences)


def test_layers_join_by_parameters_whatever_they_are_called() -> None:
    dense = trace(conv("a", 1000.0, 64, 64), layer("relu", time_us=10.0, bytes_moved=100))
    renamed = replace(conv("a", 250.0, 32, 32), name="a.r_nchwc", op="FusedConv")
    split = replace(conv("a", 30.0, 32, 32, macs=None, bytes_moved=None), name="a.prologue", parameters=("a.weight",))
    found = explained(dense, trace(renamed, split, layer("relu", time_us=5.0, bytes_moved=50)))
    assert {each.name for each in found.layers} == {"a.r_nchwc", "a.prologue", "relu", BETWEEN_LAYERS}
    exact = verdict(found, "a.r_nchwc")
    assert (exact.dense_us, exact.pruned_us) == pytest.approx((1000.0, 250.0))
    assert verdict(found, "a.prologue").cause == "other"
    # With one parameter fused away the first one still joins them.
    without_bias = replace(conv("a", 250.0, 32, 32), name="b", parameters=("a.weight",))
    assert verdict(explained(trace(conv("a", 1000.0, 64, 64)), trace(without_bias)), "b").dense_us == pytest.approx(1000.0)


def test_an_explanation_survives_its_file() -> None:
    found = explained(trace(BIG, conv("a", 1000.0, 64, 64)), trace(BIG, conv("a", 1500.0, 60, 61, kernel="NCHW")))
    assert from_json(Explanation, to_json(found), source="test") == found


def in_precision(each: Trace, precision: str) -> Trace:
    """A trace as if it had been taken in that precision."""
    return replace(each, case=replace(each.case, precision=precision))


def test_two_precisions_of_one_network_are_held_against_each_other() -> None:
    full = trace(conv("a", 1000.0, 64, 64), conv("b", 500.0, 64, 64))
    casts = layer("quantize", op="QuantizeLinear", time_us=200.0)
    quantised = trace(conv("a", 400.0, 64, 64, op="QLinearConv", kernel=""), conv("b", 1500.0, 64, 64, op="QLinearConv"), casts)
    found = explained(full, in_precision(quantised, "int8"), macs_ratio=1.0)
    assert found.against == "fp32"
    assert found.predicted_ms == found.dense_ms
    assert verdict(found, "a").cause == "as-predicted"
    assert verdict(found, "b").cause == "kernel"
    assert "QLinearConv NCHWc instead of Conv NCHWc" in verdict(found, "b").evidence
    assert verdict(found, "every QuantizeLinear").cause == "reformat"
    assert step_ms(found, "kernel") == pytest.approx(1.0)
    assert step_ms(found, "reformat") == pytest.approx(0.2)
    assert "int8 takes 1.40× the time" in found.sentences[0]
    assert "beyond fp32's time" in found.sentences[1]
    assert any("--int8-keep" in text for text in found.advice)
    assert_adds_up(found)


def test_a_precision_that_is_faster_says_what_was_gained_and_lost() -> None:
    full = trace(conv("a", 1000.0, 64, 64), conv("b", 500.0, 64, 64))
    quantised = trace(conv("a", 400.0, 64, 64), conv("b", 600.0, 64, 64))
    found = explained(full, in_precision(quantised, "int8"), macs_ratio=1.0)
    assert "gain 0.6 ms" in found.sentences[1]
    assert "cost 0.1 ms" in found.sentences[1]
    assert found.advice == ()
    assert_adds_up(found)
