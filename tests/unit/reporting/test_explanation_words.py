"""Sentences, advice and bars: each only where its cause carries weight, and figures that add up as printed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from prune_deploy.records import Cause, Explanation, LayerVerdict, WaterfallStep
from prune_deploy.reporting.explain.advice import advise, has_gap, tell, weighty
from prune_deploy.reporting.explain.alignment import Alignment
from prune_deploy.reporting.explain.waterfall import waterfall
from prune_deploy.specs import RunOptions
from support.made_traces import NCHWC
from support.run_records import case, estimate


def explanation(steps: Mapping[Cause, float], **changes: object) -> Explanation:
    """An explanation with a layer per step; 100 ms dense, a quarter of the MACs."""
    values: dict[str, object] = {
        "case": case(batch=8),
        "label": "net-l2-r0.50",
        "dense_ms": 100.0,
        "predicted_ms": 25.0,
        "measured_ms": 25.0 + sum(steps.values()),
        "macs_ratio": 4.0,
        "speedup": None,
        "bandwidth_gb_s": 20.0,
        "steps": tuple(WaterfallStep(cause=cause, delta_ms=delta, layers=3) for cause, delta in steps.items()),
        "layers": tuple(
            LayerVerdict(
                name=f"layer-{cause}",
                op="Conv",
                dense_us=1,
                pruned_us=1,
                predicted_us=1,
                cause=cause,
                evidence="proof",
                delta_ms=delta,
            )
            for cause, delta in steps.items()
        ),
        "sentences": (),
        "advice": (),
    }
    return Explanation(**(values | changes))  # type: ignore[arg-type]


def test_small_steps_get_neither_sentence_nor_advice() -> None:
    found = explanation({"misaligned": 20.0, "memory-bound": 2.0, "as-predicted": -3.0, "other": 1.0})
    assert [step.cause for step in weighty(found)] == ["misaligned"]
    sentences = tell(found, NCHWC, 0.0)
    assert len(sentences) == 2
    assert (
        "has 0.25× the dense model's MACs, which predicts 25 ms; it takes 45 ms, 0.45× the dense model's 100 ms" in sentences[0]
    )
    assert sentences[1].startswith("Of the 20 ms beyond the prediction, 20 ms (100%) come from misaligned channels: 3 layers")
    assert "layer-misaligned, for one: proof" in sentences[1]
    assert len(advise(found, NCHWC)) == 1
    assert "--round-to 16" in advise(found, NCHWC)[0]


def test_the_two_largest_causes_are_told() -> None:
    found = explanation({"memory-bound": 10.0, "misaligned": 20.0, "not-pruned": 8.0, "other": 0.0})
    sentences = tell(found, NCHWC, 0.0)
    assert len(sentences) == 3
    assert "(53%) come from misaligned" in sentences[1]
    assert sentences[2].startswith("Another 10 ms come from 3 layers bound by memory, measured at 20 GB/s")
    assert len(advise(found, NCHWC)) == 3  # advice costs one line


@pytest.mark.parametrize(
    ("measured_ms", "says"),
    [(25.0, "differ by 0.00%"), (26.0, "differ by 4.0%"), (20.0, "20% faster than its MACs predict")],
)
def test_no_gap_is_said(measured_ms: float, says: str) -> None:
    found = explanation({"other": measured_ms - 25.0})
    assert not has_gap(found)
    assert says in tell(found, NCHWC, 0.0)[1]
    assert advise(found, NCHWC) == ()


def test_a_gap_within_the_interval_may_be_noise() -> None:
    found = explanation({"misaligned": 5.0, "reformat": 4.0}, speedup=estimate(3.3, 0.25))
    sentences = tell(found, NCHWC, 0.0)
    assert len(sentences) == 3
    assert sentences[1].startswith("The gap may be noise: the speed-up, 3.300 [2.570, 4.237], reaches the MACs ratio, 4.00")
    assert "misaligned channels" in sentences[2]  # what the layers show is no less true
    assert not any("noise" in each for each in tell(replace(found, speedup=estimate(3.3, 0.05)), NCHWC, 0.0))
    assert "no gap" in tell(replace(found, measured_ms=25.0), NCHWC, 0.0)[1]


@pytest.mark.parametrize(
    "cause", ["misaligned", "memory-bound", "overhead-bound", "reformat", "not-pruned", "as-predicted", "other"]
)
def test_every_cause_has_a_sentence_and_advice(cause: Cause) -> None:
    found = explanation({cause: 20.0})
    assert f"layer-{cause}, for one: proof" in tell(found, NCHWC, 0.0)[1]
    assert advise(found, NCHWC)


def test_without_a_rule_nobody_is_told_to_round() -> None:
    assert advise(explanation({"misaligned": 20.0}), None) == ()


@pytest.mark.parametrize(
    ("cause", "backend", "options", "wanted", "unwanted"),
    [
        ("overhead-bound", "trt", RunOptions(device="cuda"), "trt:cuda-graph", "compile, ort or trt"),
        ("overhead-bound", "trt", RunOptions(device="cuda", variant="cuda-graph"), "larger batch than 8", "trt:cuda-graph"),
        ("overhead-bound", "compile", RunOptions(device="cuda"), "--compile-mode reduce-overhead", "trt:cuda-graph"),
        ("overhead-bound", "compile", RunOptions(), "larger batch", "reduce-overhead"),
        ("overhead-bound", "eager", RunOptions(), "compile, ort or trt", "CUDA graph"),
        ("memory-bound", "eager", RunOptions(), "--channels-last", "CUDA graph"),
        ("memory-bound", "eager", RunOptions(channels_last=True), "compile, ort or trt", "--channels-last"),
        ("memory-bound", "ort", RunOptions(), "layer-memory-bound", "--channels-last"),
        ("reformat", "eager", RunOptions(), "--channels-last", "--round-to"),
        ("reformat", "ort", RunOptions(), "--round-to 16", "--channels-last"),
        ("not-pruned", "ort", RunOptions(), "layer-not-pruned", "--round-to"),
    ],
)
def test_advice_fits_the_backend(cause: Cause, backend: str, options: RunOptions, wanted: str, unwanted: str) -> None:
    found = explanation({cause: 20.0}, case=replace(case(batch=8, backend=backend), options=options))
    advice = " ".join(advise(found, NCHWC))
    assert wanted in advice
    assert unwanted not in advice


def test_kernels_that_could_not_be_joined_are_said() -> None:
    assert "40% of its layer time" in tell(explanation({"other": 20.0}), NCHWC, 0.4)[-1]
    assert not any("fuse several" in each for each in tell(explanation({"other": 20.0}), NCHWC, 0.1))


def test_printed_steps_add_up_as_printed() -> None:
    steps: dict[Cause, float] = {"misaligned": 1.0049, "reformat": 1.0049, "memory-bound": 1.0049, "other": -0.0049}
    found = explanation(steps, dense_ms=40.0, predicted_ms=10.0049, measured_ms=13.0147)
    lines = list(waterfall(found))
    figures = [float(re.search(r"([+-]?\d+\.\d+) ms", line)[1]) for line in lines]  # type: ignore[index]
    assert [line.split()[0] for line in lines] == [
        "dense",
        "predicted",
        "misaligned",
        "reformat",
        "memory-bound",
        "other",
        "measured",
    ]
    assert figures[0] == 40.0
    assert round(sum(figures[1:-1]), 2) == figures[-1] == 13.01


def test_bars_stand_between_the_levels_they_join() -> None:
    found = explanation({"misaligned": 55.0, "as-predicted": -30.0}, dense_ms=100.0, predicted_ms=25.0, measured_ms=50.0)
    _, predicted, up, down, measured = list(waterfall(found))
    bars = [re.search(r" ms  ( *)([█░]+)$", line) for line in (predicted, up, down, measured)]
    ends = [(len(bar[1]), len(bar[1]) + len(bar[2])) for bar in bars if bar is not None]
    assert ends == [(0, 8), (8, 26), (16, 26), (0, 16)]
    assert "░" in down
    assert "░" not in up


def test_advice_names_the_block_of_the_rule() -> None:
    rule = Alignment(block=8, kernels="FP16 tensor cores", pads_matrices=True)
    assert advise(explanation({"misaligned": 20.0}), rule) == (
        "prune with --round-to 8: whole blocks of FP16 tensor cores, with nothing padded or reordered",
    )
