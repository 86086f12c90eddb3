"""Explanations of made traces: steps that add up, layers that find each other, and precisions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from prune_deploy.records import BETWEEN_LAYERS, Explanation, Trace, from_json, to_json
from prune_deploy.reporting.explain.explanation import Timing, explain
from prune_deploy.reporting.figures.sentence import sentence
from support.explanations import BIG, assert_adds_up, explained, findings, keys, step_ms, verdict
from support.made_traces import NCHWC, conv, layer, machine, trace


def test_a_network_whose_layers_all_shrink_alike_has_no_gap() -> None:
    dense = trace(conv("a", 1000.0, 64, 64), conv("b", 1000.0, 64, 64))
    pruned = trace(conv("a", 250.0, 32, 32), conv("b", 250.0, 32, 32))
    found = explained(dense, pruned)
    assert found.macs_ratio == 4.0
    assert found.predicted_ms == found.measured_ms == 0.5
    assert {each.cause for each in found.layers if each.name != BETWEEN_LAYERS} == {"as-predicted"}
    assert all(step.delta_ms == 0 for step in found.steps)
    assert found.advice == ()
    assert keys(findings(dense, pruned).sentences) == ["pruned", "no-gap"]
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
    stated = findings(trace(cheap, dear), pruned)
    found = stated.explanation()
    assert {verdict(found, name).cause for name in ("cheap", "dear")} == {"as-predicted"}
    assert step_ms(found, "as-predicted") == pytest.approx(0.15)
    assert stated.advice == (sentence("set-widths", layers="cheap, dear"),)


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
    stated = findings(full, in_precision(quantised, "int8"), macs_ratio=1.0)
    found = stated.explanation()
    assert found.against == "fp32"
    assert found.predicted_ms == found.dense_ms
    assert verdict(found, "a").cause == "as-predicted"
    assert verdict(found, "b").cause == "kernel"
    kernels = {"kernel": "QLinearConv NCHWc", "dense_kernel": "Conv NCHWc"}
    assert stated.evidence["b"] == sentence("other-kernel", work="MACs", times=pytest.approx(3.0), **kernels)
    assert verdict(found, "every QuantizeLinear").cause == "reformat"
    assert step_ms(found, "kernel") == pytest.approx(1.0)
    assert step_ms(found, "reformat") == pytest.approx(0.2)
    assert stated.sentences[0].key == "precisions"
    assert stated.sentences[0].params["times"] == pytest.approx(1.4)
    assert stated.sentences[1].params["against"] == "fp32"
    assert "keep-float" in keys(stated.advice)
    assert_adds_up(found)


def test_a_precision_that_is_faster_says_what_was_gained_and_lost() -> None:
    full = trace(conv("a", 1000.0, 64, 64), conv("b", 500.0, 64, 64))
    quantised = trace(conv("a", 400.0, 64, 64), conv("b", 600.0, 64, 64))
    found = findings(full, in_precision(quantised, "int8"), macs_ratio=1.0)
    assert found.sentences[1] == sentence("gains-and-losses", gained_ms=pytest.approx(0.6), lost_ms=pytest.approx(0.1))
    assert found.advice == ()
    assert_adds_up(found.figures)
