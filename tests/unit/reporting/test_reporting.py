"""Rows, gates and pairs of runs: figures that follow from records."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from prune_deploy.errors import InputError
from prune_deploy.reporting.figures.gates import gate_slower, parse_share, worst
from prune_deploy.reporting.figures.rows import row
from prune_deploy.reporting.figures.run_pairs import pair_runs, ratio_of_ratios
from prune_deploy.runs import Run
from prune_deploy.specs import ModelSpec, PruneSpec, Variant
from support.run_records import case, case_record, environment, estimate, run_record


def test_a_row_derives_what_a_record_holds() -> None:
    derived = row(case_record(batch=8, ratio=3.0))
    assert derived.latency_ms == 32.0
    assert derived.per_image_ms == 4.0
    assert derived.images_per_s == 250.0
    assert derived.macs_ratio == 4.0
    assert derived.efficiency == 0.75
    assert derived.startup_s == pytest.approx(0.6)
    assert derived.peak_rss_mib == 100
    assert derived.peak_device_mib is None
    assert (derived.verdict, derived.converged) == ("FASTER", True)


def test_a_row_tells_random_weights_as_far_as_the_record_does() -> None:
    variant = Variant(model=ModelSpec(name="net"), prune=PruneSpec(ratio=0.5))
    assert row(case_record(is_untrained=True)).untrained is True
    assert row(case_record(variant=variant)).untrained is True  # an earlier release's record
    assert row(case_record(variant=variant)).weights == "random"
    assert row(case_record(variant=variant, label="net-l2-r0.50-finetuned")).untrained is None
    assert row(case_record(variant=replace(variant, model=ModelSpec(name="net", weights="pretrained")))).untrained is False
    assert row(case_record()).untrained is None


def test_sizes_are_megabytes_and_energy_is_of_an_image() -> None:
    derived = row(case_record(batch=8, artifact_bytes=46_800_000, telemetry={"energy_per_run_j": 2.0, "energy_j": 900.0}))
    assert (derived.artifact_mb, derived.energy_mj) == (46.8, 250.0)
    assert (row(case_record()).artifact_mb, row(case_record()).energy_mj) == (None, None)


def test_a_case_that_could_not_run_has_a_reason_and_no_figure() -> None:
    derived = row(case_record(ratio=None))
    assert (derived.status, derived.reason, derived.fix) == ("unavailable", "no CUDA device", "get one")
    assert derived.latency_ms is derived.speedup is derived.efficiency is derived.startup_s is None
    assert derived.macs_ratio == 4.0


def test_a_variant_is_part_of_the_backends_name() -> None:
    assert row(case_record(case=case(backend="trt", variant="cuda-graph"))).backend == "trt:cuda-graph"


@pytest.mark.parametrize(("text", "share"), [("3%", 0.03), ("0.03", 0.03), ("0%", 0.0), ("12.5%", 0.125)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text, "--fail-if-slower") == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "fast", "-1%", "100%", "nan", "3 %%", "1e9"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(InputError, match="--fail-if-slower"):
        parse_share(text, "--fail-if-slower")


@pytest.mark.parametrize(
    ("ratio", "half_width", "outcome"),
    [
        (1.0, 0.01, "passed"),
        (1.2, 0.05, "passed"),
        (0.98, 0.005, "passed"),  # 2 % slower, 3 % allowed
        (0.98, 0.02, "undecided"),
        (0.90, 0.01, "slower"),
        (0.90, None, "undecided"),
    ],
)
def test_gates_go_by_the_interval(ratio: float, half_width: float | None, outcome: str) -> None:
    assert gate_slower("net", estimate(ratio, half_width), 0.03).outcome == outcome


def test_a_gate_needs_more_than_the_old_model_against_its_own_copy() -> None:
    assert gate_slower("net", estimate(0.93, 0.01), 0.03, margin=0.10).outcome == "undecided"
    assert gate_slower("net", estimate(0.85, 0.01), 0.03, margin=0.10).outcome == "slower"


def test_gates_say_times_not_ratios() -> None:
    assert "its time is +25.0%" in gate_slower("net", estimate(0.8, 0.01), 0.03).sentence
    assert gate_slower("net", None, 0.03).outcome == "undecided"


def test_one_slower_case_decides_and_no_case_decides_nothing() -> None:
    gates = [gate_slower("net", estimate(ratio, 0.01), 0.03) for ratio in (1.0, 0.97, 0.5)]
    assert worst(gates) == "slower"
    assert worst(gates[:2]) == "undecided"
    assert worst(gates[:1]) == "passed"
    assert worst([]) == "undecided"


def test_runs_are_compared_through_their_own_dense_models() -> None:
    first, second = case_record(ratio=2.0, half_width=0.003), case_record(ratio=2.2, half_width=0.004)
    ratio = ratio_of_ratios(first, second)
    assert ratio is not None
    assert ratio.value == pytest.approx(1.1)
    assert ratio.low == pytest.approx(1.1 * math.exp(-0.005))
    assert ratio.high == pytest.approx(1.1 * math.exp(0.005))
    assert ratio_of_ratios(first, case_record(ratio=None)) is None


def test_runs_without_sense_have_no_endless_interval() -> None:
    first, second = case_record(ratio=1e-14, half_width=40.0), case_record(ratio=1e14, half_width=40.0)
    ratio = ratio_of_ratios(first, second)
    assert ratio is not None
    assert (ratio.value, ratio.high) == pytest.approx((1e28, 1e30))
    assert ratio.low == pytest.approx(1e28 * math.exp(-math.hypot(40, 40)))


@pytest.mark.parametrize(
    ("ratio", "half_width", "verdict"),
    [
        (2.2, 0.005, "FASTER"),
        (1.8, 0.005, "SLOWER"),
        (2.001, 0.004, "SAME"),
        (2.001, 0.05, "INCONCLUSIVE"),
        (None, None, "INCONCLUSIVE"),
    ],
)
def test_verdicts_on_runs(ratio: float | None, half_width: float | None, verdict: str) -> None:
    first = Run(Path(), run_record(), (case_record(ratio=2.0, half_width=0.004),), 0)
    second = Run(Path(), run_record(), (case_record(batch=8), case_record(ratio=ratio, half_width=half_width)), 0)
    (pair,) = pair_runs(first, second)
    assert pair.verdict == verdict
    assert (pair.reason == "") == (ratio is not None)


def test_machines_that_differ_are_named() -> None:
    assert environment().differences(environment(captured_at="2027-01-01")) == ()
    message = environment().differences(environment(cpu="another CPU", libraries={"torch": "2.14.0", "timm": "1.0"}))
    assert message == ("cpu: some CPU → another CPU", "timm absent → 1.0", "torch 2.15.0 → 2.14.0")
