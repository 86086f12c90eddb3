"""Traps that make a measurement lie: cold starts, drift, contention, and the order of the candidates. The truth is known here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from prune_deploy.interfaces import Silent
from prune_deploy.measure.analysis import ratio_estimate
from prune_deploy.measure.comparison import Comparison, has_converged, measure
from prune_deploy.measure.samples import Samples
from prune_deploy.records import Role
from prune_deploy.specs import Rigor
from support.fakes.fake_runner import FakeLauncher, Model, Moment, cold, compare, constant, make_spec, roles_for


def ratio(samples: Samples, candidate: int) -> float:
    estimate = ratio_estimate(samples, candidate)
    assert estimate is not None
    return estimate.value


def naive_ratio(models: Sequence[Model]) -> float:
    """Ten runs of the first, then ten of the last, and their means: how it is usually done."""
    with FakeLauncher(models).launch(0, range(len(models))) as runner:
        dense, other = (runner.run(candidate, 10).samples_ns.mean() for candidate in (0, len(models) - 1))
    return float(dense / other)


@pytest.mark.parametrize("rigor", ["quick", "full"])
@pytest.mark.parametrize("run_s", [0.001, 0.03])
def test_a_cold_baseline_does_not_look_slow(rigor: Rigor, run_s: float) -> None:
    models = [cold(run_s), constant(run_s), constant(run_s)]
    assert naive_ratio(models) >= 2
    samples = compare(FakeLauncher(models), make_spec(rigor))
    assert ratio(samples, 2) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("rigor", ["quick", "full"])
def test_neither_does_it_when_everybody_starts_cold(rigor: Rigor) -> None:
    samples = compare(FakeLauncher([cold(0.001), cold(0.001), cold(0.0005)]), make_spec(rigor))
    assert ratio(samples, 2) == pytest.approx(2.0, abs=1e-6)


def at_the_first_look(samples: Samples, candidate: int) -> bool:
    """A rule that ends rigor "full" after five launches and leaves "quick" all its rounds."""
    return samples.rigor == "full"


def under(drift: Callable[[Moment], float], rigor: Rigor = "quick") -> Samples:
    """Measure two models, one twice as fast, whose speed the same thing drives."""

    def drifting(seconds: float) -> Model:
        return lambda moment: seconds * drift(moment)

    launcher = FakeLauncher([drifting(seconds) for seconds in (0.004, 0.004, 0.002)])
    spec = make_spec(rigor, budget_s=15.0)
    return Comparison(launcher, "abc", roles_for(3), spec, Silent(), at_the_first_look).run()


def test_drift_that_is_linear_from_block_to_block_cancels_exactly() -> None:
    samples = under(lambda moment: 1 + 0.5 * moment.block / 200)
    assert max(block.counted_ns.max() for block in samples.blocks) > 5.5e6
    assert ratio(samples, 2) == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("rigor", ["quick", "full"])
@pytest.mark.parametrize(
    "drift",
    [
        lambda moment: 1 + 0.5 * moment.now_s / 5,
        lambda moment: 1.0 if moment.now_s < 4 else 1.5,
        lambda moment: 1 + 0.2 * float(np.sin(2 * np.pi * moment.now_s / 1.7)),
    ],
    ids=["linear", "step", "sine"],
)
def test_drift_does_not_change_the_ratio(drift: Callable[[Moment], float], rigor: Rigor) -> None:
    assert ratio(under(drift, rigor=rigor), 2) == pytest.approx(2.0, rel=0.005)


@pytest.mark.parametrize("phase", [0.0, 0.3])
def test_what_swings_as_fast_as_rounds_change_is_owned_up_to(phase: float) -> None:
    samples = under(lambda moment: 1 + 0.2 * float(np.sin(2 * np.pi * (moment.now_s / 0.13 + phase))), rigor="full")
    estimate = ratio_estimate(samples, 2)
    assert estimate is not None
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < 2.0 < estimate.high
    assert not has_converged(samples, 2)


def contended(seed: int) -> Callable[[Moment], float]:
    """In three of ten stretches as long as a round, somebody else uses the machine and slows one of the blocks."""
    rng = np.random.default_rng(seed)
    noise = 1 + 0.002 * rng.standard_normal(10_000)
    factor = np.ones(2000)
    stretches = np.flatnonzero(rng.random(1000) < 0.3)
    factor[2 * stretches + rng.integers(0, 2, len(stretches))] += rng.exponential(0.5, len(stretches))
    return lambda moment: float(factor[moment.block % 2000] * noise[moment.run % 10_000])


@pytest.mark.parametrize("seed", range(8))
def test_contaminated_rounds_do_not_change_the_ratio(seed: int) -> None:
    assert ratio(under(contended(seed)), 2) == pytest.approx(2.0, rel=0.005)


@pytest.mark.parametrize("seed", range(4))
def test_contaminated_launches_stay_within_their_interval(seed: int) -> None:
    estimate = ratio_estimate(under(contended(seed), rigor="full"), 2)
    assert estimate is not None
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < 2.0 < estimate.high


@pytest.mark.parametrize("rigor", ["quick", "full"])
def test_neither_names_nor_places_of_candidates_matter(rigor: Rigor) -> None:
    models: dict[Role | str, Model] = {"dense": cold(0.008), "copy": cold(0.008), "small": constant(0.0032), "tiny": cold(0.002)}
    roles: dict[str, Role] = {"dense": "dense", "copy": "copy", "small": "candidate", "tiny": "candidate"}
    found = []
    for names in list(itertools.permutations(roles))[::5]:
        launcher = FakeLauncher([models[name] for name in names])
        labels = [f"{place} {name}" for place, name in enumerate(names)]
        samples = measure(launcher, labels, [roles[name] for name in names], make_spec(rigor), Silent())
        assert samples.candidates == tuple(labels)
        assert samples.dense == names.index("dense")
        found.append((ratio(samples, names.index("small")), ratio(samples, names.index("tiny"))))
    assert np.array(found) == pytest.approx(np.tile([2.5, 4.0], (len(found), 1)), abs=1e-12)
