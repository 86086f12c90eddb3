"""Orders and lengths of blocks: what the seed decides, and nothing else."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from prune_deploy.measure.schedule import abba_order, least_block_s, opening_order, runs_lasting
from prune_deploy.specs import Device, Mode, Rigor


def test_an_order_depends_on_seed_launch_and_abba_pair() -> None:
    places = list(itertools.product((0, 1, -7), range(3), range(4)))
    orders = {place: abba_order(*place, range(8)) for place in places}
    assert all(sorted(order) == list(range(8)) for order in orders.values())
    assert len(set(orders.values())) == len(places)
    assert orders == {place: abba_order(*place, range(8)) for place in places}


def test_orders_are_the_same_on_every_machine() -> None:
    assert abba_order(0, 0, 0, range(4)) == (0, 1, 3, 2)
    assert opening_order(0, 1, range(4)) == (2, 1, 3, 0)


def test_every_candidate_is_equally_often_at_every_place() -> None:
    counts = Counter(place for number in range(3000) for place in enumerate(abba_order(1, 0, number, range(3))))
    assert set(counts) == set(itertools.product(range(3), range(3)))
    # A thousand is expected; 150 is almost six standard deviations.
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_opening_orders_differ_between_launches() -> None:
    orders = [opening_order(0, launch, range(5)) for launch in range(10)]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert len(set(orders)) > 5


@pytest.mark.parametrize(
    ("device", "mode", "rigor", "seconds"),
    [
        ("cpu", "latency", "quick", 0.02),
        ("cuda", "latency", "full", 0.05),
        ("cuda", "device", "quick", 0.05),
        ("cpu", "throughput", "quick", 1.0),
        ("cuda", "throughput", "full", 2.0),
    ],
)
def test_least_length_of_a_block(device: Device, mode: Mode, rigor: Rigor, seconds: float) -> None:
    assert least_block_s(device, mode, rigor) == seconds


@pytest.mark.parametrize(
    ("seconds", "run_s", "runs"), [(0.02, 0.001, 20), (0.02, 0.0011, 19), (0.02, 0.02, 1), (0.02, 1.5, 1), (0.05, 0.02, 3)]
)
def test_runs_last_at_least_so_long(seconds: float, run_s: float, runs: int) -> None:
    assert runs_lasting(seconds, run_s) == runs
    assert runs * run_s >= seconds * (1 - 1e-9)
    assert (runs - 1) * run_s < seconds


def test_runs_that_take_no_time_do_not_go_on_for_ever() -> None:
    assert runs_lasting(2.0, 0.0) == runs_lasting(2.0, 1e-9) == 50_000
