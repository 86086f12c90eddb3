"""Verdicts follow from intervals, and never say more than those."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import pytest

from prune_deploy.measure.verdicts import is_converged, required_margin, verdict
from prune_deploy.records import Estimate, Verdict

OPPOSITE: dict[Verdict, Verdict] = {"FASTER": "SLOWER", "SLOWER": "FASTER", "SAME": "SAME", "INCONCLUSIVE": "INCONCLUSIVE"}


def figure(value: float, low: float | None, high: float | None, unit: Literal["launch", "round"] = "launch") -> Estimate:
    """An estimate with these ends."""
    return Estimate(value=value, low=low, high=high, confidence=0.975, unit=unit, count=5)


def around(value: float, half_width: float, unit: Literal["launch", "round"] = "launch") -> Estimate:
    """An estimate whose logarithm has this half-width."""
    return figure(value, value * math.exp(-half_width), value * math.exp(half_width), unit)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (figure(1.05, 1.0101, 1.09), "FASTER"),
        (figure(1.05, 1.0099, 1.09), "INCONCLUSIVE"),
        (figure(0.95, 0.92, 0.9900), "SLOWER"),
        (figure(0.95, 0.92, 0.9902), "INCONCLUSIVE"),
        (figure(1.000, 0.9902, 1.0099), "SAME"),
        (figure(1.005, 0.9990, 1.0101), "INCONCLUSIVE"),
        (figure(0.995, 0.9900, 1.0000), "INCONCLUSIVE"),
        (figure(1.0, 0.5, 2.0), "INCONCLUSIVE"),
        (figure(1.6, None, None), "INCONCLUSIVE"),
    ],
)
def test_full_rigor_asks_where_the_whole_interval_lies(ratio: Estimate, expected: Verdict) -> None:
    assert verdict(ratio, margin=0.01, device="cpu") == expected


@pytest.mark.parametrize("margin", [0.01, 0.03])
def test_exchanging_the_sides_exchanges_the_verdict(margin: float) -> None:
    for value, half_width in itertools.product((0.9, 0.96, 0.985, 1.0, 1.004, 1.012, 1.05, 1.3), (0.0, 0.002, 0.008, 0.02)):
        there, back = around(value, half_width), around(1 / value, half_width)
        assert verdict(back, margin=margin, device="cpu") == OPPOSITE[verdict(there, margin=margin, device="cpu")]


def test_same_needs_convergence_settled_sides_and_a_control_that_holds() -> None:
    alike = around(1.001, 0.008)
    assert verdict(alike, margin=0.01, device="cpu") == "SAME"
    assert verdict(alike, margin=0.01, device="cuda") == "INCONCLUSIVE", "±0.5 % is the aim on a GPU"
    assert verdict(alike, margin=0.01, device="cpu", steady=False) == "INCONCLUSIVE"
    assert verdict(alike, margin=0.06, device="cpu") == "INCONCLUSIVE", (
        "a machine that is off by 6 % shows nothing to be the same"
    )
    assert verdict(around(1.3, 0.008), margin=0.01, device="cpu", steady=False) == "FASTER"


@pytest.mark.parametrize(
    ("value", "half_width", "expected"),
    [
        (1.06, 0.015, "FASTER"),
        (1.06, 0.020, "INCONCLUSIVE"),  # three half-widths are more than the effect
        (1.04, 0.005, "INCONCLUSIVE"),  # an effect below 5 %
        (0.90, 0.010, "SLOWER"),
        (0.96, 0.005, "INCONCLUSIVE"),
        (1.60, 0.050, "FASTER"),
        (1.001, 0.008, "SAME"),
        (1.001, 0.012, "INCONCLUSIVE"),
    ],
)
def test_one_launch_decides_only_large_effects(value: float, half_width: float, expected: Verdict) -> None:
    assert verdict(around(value, half_width, "round"), margin=0.01, device="cpu") == expected


@pytest.mark.parametrize(
    ("cycle_ratio", "expected"),
    [
        (1.20, "FASTER"),
        (1.195, "FASTER"),
        (1.10, "FASTER"),  # the clock helped, but there are fewer cycles too
        (1.01, "INCONCLUSIVE"),  # all of it was the clock
        (0.80, "INCONCLUSIVE"),
        (None, "FASTER"),
    ],
)
def test_a_ratio_that_the_clock_explains_is_no_speed_up(cycle_ratio: float | None, expected: Verdict) -> None:
    assert verdict(around(1.2, 0.005), margin=0.01, device="cuda", cycle_ratio=cycle_ratio) == expected


def test_a_small_difference_in_cycles_overrules_nothing() -> None:
    """1.0105 in cycles misses the margin by itself, but lies within 1 % of the ratio in time: that is no clock effect."""
    assert verdict(around(1.020, 0.001), margin=0.0108, device="cuda", cycle_ratio=1.0105) == "FASTER"


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        (None, 0.01),
        (figure(1.0, 0.997, 1.003), 0.01),
        (figure(1.01, 1.00, 1.02), 0.02),
        (figure(0.97, 0.96, 0.98), 0.04),
        (figure(1.03, None, None), 0.03),
    ],
)
def test_the_margin_is_what_the_control_could_not_tell_apart(control: Estimate | None, expected: float) -> None:
    assert required_margin(control) == pytest.approx(expected)


def test_a_wide_margin_takes_verdicts_away() -> None:
    slight = around(1.04, 0.005)
    assert verdict(slight, margin=0.01, device="cpu") == "FASTER"
    assert verdict(slight, margin=0.036, device="cpu") == "INCONCLUSIVE"


@pytest.mark.parametrize(("half_width", "cpu", "cuda"), [(0.0049, True, True), (0.0099, True, False), (0.0101, False, False)])
def test_converged_means_narrow_enough_for_the_device(half_width: float, cpu: bool, cuda: bool) -> None:
    for value in (0.5, 1.0, 3.8):
        assert is_converged(around(value, half_width), "cpu") is cpu
        assert is_converged(around(value, half_width), "cuda") is cuda
        assert is_converged(around(value, half_width, "round"), "cpu") is cpu


def test_without_an_interval_nothing_has_converged() -> None:
    assert not is_converged(figure(1.0, None, None), "cpu")
