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
from prune_deploy.reporting.explain.wording import in_words
from prune_deploy.reporting.figures.sentence import Sentence, sentence
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


def keys(statements: tuple[Sentence, ...]) -> list[str]:
    """Which statements these are."""
    return [each.key for each in statements]


def causes(statements: tuple[Sentence, ...]) -> list[tuple[Cause, bool]]:
    """The causes that are told, and whether each comes first."""
    return [(each.params["cause"], each.params["is_first"]) for each in statements if each.key == "cause"]


def test_small_steps_get_neither_sentence_nor_advice() -> None:
    found = explanation({"misaligned": 20.0, "memory-bound": 2.0, "as-predicted": -3.0, "other": 1.0})
    assert [step.cause for step in weighty(found)] == ["misaligned"]
    first, second = tell(found, NCHWC, 0.0)
    assert first.key == "pruned"
    assert {name: first.params[name] for name in ("predicted_ms", "measured_ms", "dense_ms", "macs_left", "times")} == {
        "predicted_ms": 25.0,
        "measured_ms": 45.0,
        "dense_ms": 100.0,
        "macs_left": 0.25,
        "times": 0.45,
    }
    assert (second.params["cause"], second.params["gap_ms"], second.params["delta_ms"]) == ("misaligned", 20.0, 20.0)
    assert (second.params["layers"], second.params["example"]) == ("3 layers", ("layer-misaligned", "proof"))
    assert advise(found, NCHWC) == (sentence("round-to", block=16, kernels=NCHWC.kernels),)


def test_the_two_largest_causes_are_told() -> None:
    found = explanation({"memory-bound": 10.0, "misaligned": 20.0, "not-pruned": 8.0, "other": 0.0})
    assert causes(tell(found, NCHWC, 0.0)) == [("misaligned", True), ("memory-bound", False)]
    assert keys(advise(found, NCHWC)) == ["round-to", "narrow-maps", "prune-kept"], "advice costs one line"


@pytest.mark.parametrize(
    ("measured_ms", "key", "difference"),
    [(25.0, "no-gap", 0.0), (26.0, "no-gap", 0.04), (20.0, "faster-than-predicted", 0.2)],
)
def test_no_gap_is_said(measured_ms: float, key: str, difference: float) -> None:
    found = explanation({"other": measured_ms - 25.0})
    assert not has_gap(found)
    assert tell(found, NCHWC, 0.0)[1:] == (sentence(key, difference=pytest.approx(difference)),)
    assert advise(found, NCHWC) == ()


def test_a_gap_within_the_interval_may_be_noise() -> None:
    speedup = estimate(3.3, 0.25)
    found = explanation({"misaligned": 5.0, "reformat": 4.0}, speedup=speedup)
    _, noise, cause = tell(found, NCHWC, 0.0)
    assert noise == sentence("may-be-noise", speedup=3.3, low=speedup.low, high=speedup.high, macs_ratio=4.0)
    assert cause.params["cause"] == "misaligned"  # what the layers show is no less true
    assert "may-be-noise" not in keys(tell(replace(found, speedup=estimate(3.3, 0.05)), NCHWC, 0.0))
    assert tell(replace(found, measured_ms=25.0), NCHWC, 0.0)[1].key == "no-gap"


@pytest.mark.parametrize(
    "cause", ["misaligned", "memory-bound", "overhead-bound", "reformat", "kernel", "not-pruned", "as-predicted", "other"]
)
def test_every_cause_has_a_sentence_and_advice(cause: Cause) -> None:
    found = explanation({cause: 20.0})
    stated, advice = tell(found, NCHWC, 0.0)[1], advise(found, NCHWC)
    assert stated.params["example"] == (f"layer-{cause}", "proof")
    assert advice
    for text in map(in_words, (stated, *advice)):
        assert text.endswith(".")
        assert ";" not in text


def test_without_a_rule_nobody_is_told_to_round() -> None:
    assert advise(explanation({"misaligned": 20.0}), None) == ()


@pytest.mark.parametrize(
    ("cause", "backend", "options", "expected"),
    [
        ("overhead-bound", "trt", RunOptions(device="cuda"), ["larger-batch", "trt-cuda-graph"]),
        ("overhead-bound", "trt", RunOptions(device="cuda", variant="cuda-graph"), ["larger-batch"]),
        ("overhead-bound", "compile", RunOptions(device="cuda"), ["larger-batch", "compile-cuda-graph"]),
        ("overhead-bound", "compile", RunOptions(), ["larger-batch"]),
        ("overhead-bound", "eager", RunOptions(), ["larger-batch", "fewer-kernels"]),
        ("memory-bound", "eager", RunOptions(), ["fuse", "channels-last", "narrow-maps"]),
        ("memory-bound", "eager", RunOptions(channels_last=True), ["fuse", "narrow-maps"]),
        ("memory-bound", "ort", RunOptions(), ["narrow-maps"]),
        ("reformat", "eager", RunOptions(), ["one-layout"]),
        ("reformat", "ort", RunOptions(), ["round-to"]),
        ("not-pruned", "ort", RunOptions(), ["prune-kept"]),
    ],
)
def test_advice_fits_the_backend(cause: Cause, backend: str, options: RunOptions, expected: list[str]) -> None:
    found = explanation({cause: 20.0}, case=replace(case(batch=8, backend=backend), options=options))
    advice = advise(found, NCHWC)
    assert keys(advice) == expected
    assert all(each.params["layers"] == f"layer-{cause}" for each in advice if "layers" in each.params)


def test_kernels_that_could_not_be_joined_are_said() -> None:
    assert tell(explanation({"other": 20.0}), NCHWC, 0.4)[-1] == sentence("fused-kernels", unknown_share=0.4)
    assert "fused-kernels" not in keys(tell(explanation({"other": 20.0}), NCHWC, 0.1))


CAUSE = {
    "delta_ms": 15.0,
    "gap_ms": 20.0,
    "against": "",
    "layers": "3 layers",
    "kernels": "oneDNN's blocked kernels",
    "bandwidth_gb_s": 20.0,
    "precision": "int8",
}
RATE = {"moved_bytes": 3_200_000, "gb_s": 16.0, "memory_gb_s": 20.0}
WORDING: list[tuple[Sentence, str]] = [
    (
        sentence("pruned", label="net", macs_left=0.25, predicted_ms=25.0, measured_ms=45.0, dense_ms=100.0, times=0.45),
        "net has 0.25× the dense model's MACs, which predicts 25 ms. It takes 45 ms, 0.45× the dense model's 100 ms.",
    ),
    (
        sentence("precisions", label="net", precision="int8", against="fp32", measured_ms=14.0, dense_ms=10.0, times=1.4),
        "net takes 14 ms in int8 and 10 ms in fp32: int8 takes 1.40× the time for the same MACs.",
    ),
    (
        sentence("cause", cause="misaligned", is_first=True, example=("a", "proof"), **CAUSE),
        "Of the 20 ms beyond the prediction, 15 ms (75%) come from misaligned channels: 3 layers with widths that do not fit oneDNN's "
        "blocked kernels. The largest is a: proof.",
    ),
    (
        sentence("cause", cause="memory-bound", is_first=False, example=None, **CAUSE),
        "Another 15 ms come from 3 layers bound by memory, measured at 20 GB/s: pruning removed fewer bytes than MACs.",
    ),
    (
        sentence("cause", cause="kernel", is_first=True, example=None, **(CAUSE | {"against": "fp32"})),
        "Of the 20 ms beyond fp32's time, 15 ms (75%) come from 3 layers whose int8 kernels take longer than those of fp32.",
    ),
    (
        sentence("may-be-noise", speedup=3.3, low=2.57, high=4.237, macs_ratio=4.0),
        "The gap may be noise: the speed-up, 3.3 [2.6, 4.2], reaches the MACs ratio, 4.00.",
    ),
    (sentence("no-gap", difference=0.04), "There is no gap: measured and predicted time differ by 4.0%."),
    (sentence("faster-than-predicted", difference=0.2), "There is no gap: it is 20% faster than its MACs predict."),
    (sentence("gains-and-losses", gained_ms=0.6, lost_ms=0.1), "Faster layers save 0.6 ms, slower and added layers cost 0.1 ms."),
    (
        sentence(
            "lost-kernel", why=sentence("input-channels", count=61, multiple=4), kernel="Conv NCHW", dense_kernel="Conv NCHWc"
        ),
        "61 input channels are no multiple of 4: it runs in Conv NCHW instead of Conv NCHWc",
    ),
    (
        sentence("padded", widths=(65, 65), multiple=16, waste=0.51),
        "65 × 65 channels are padded to multiples of 16: 51% more MACs than needed",
    ),
    (
        sentence("only-bytes", left=0.5, times=0.5, **RATE),
        "no MACs, moves 3.2 MB at 16 GB/s of the memory's 20 GB/s, ×0.50 of the bytes, ×0.50 of the time",
    ),
    (
        sentence("many-bytes", left=0.25, work="MACs", **RATE),
        "moves 3.2 MB at 16 GB/s of the memory's 20 GB/s, ×0.25 of the MACs",
    ),
    (
        sentence("unexplained", times=1.5, left=0.25, work="MACs", memory_share=0.2, padding_share=0.0),
        "×1.50 of the time for ×0.25 of the MACs: memory is 20% of it, padding 0.00%",
    ),
    (sentence("idle", idle_share=0.444), "no layer runs for 44.4% of a run"),
    (
        sentence("round-to", block=8, kernels="FP16 tensor cores"),
        "Prune with `round_to=8`: whole blocks of FP16 tensor cores, with nothing padded or reordered.",
    ),
]


@pytest.mark.parametrize(("statement", "text"), WORDING, ids=[f"{number}-{each.key}" for number, (each, _) in enumerate(WORDING)])
def test_a_statement_has_one_text(statement: Sentence, text: str) -> None:
    assert in_words(statement) == text


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
    assert advise(explanation({"misaligned": 20.0}), rule) == (sentence("round-to", block=8, kernels="FP16 tensor cores"),)
