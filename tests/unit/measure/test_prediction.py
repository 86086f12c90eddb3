"""Saying beforehand, and meanwhile, how long a comparison takes."""

from __future__ import annotations

import pytest

from prune_deploy.measure.budget import LOOKS
from prune_deploy.measure.comparison import Comparison
from prune_deploy.measure.prediction import Expected, predict, unknown
from prune_deploy.specs import Rigor
from support.fakes.fake_runner import FakeLauncher, constant, make_spec, noisy, roles_for
from support.fakes.recorded_progress import RecordedProgress


def test_a_quick_comparison_of_fast_models_ends_with_its_pairs_and_not_with_its_budget() -> None:
    seconds = predict(make_spec("quick"), unknown(3))
    assert 3 * 0.5 + 30 * 4 * 0.02 < seconds < 10.0


def test_a_quick_comparison_of_ordinary_models_takes_its_budget() -> None:
    assert predict(make_spec("quick"), Expected(open_s=9.0, run_s=(0.2, 0.12, 0.2))) == pytest.approx(30.0)


def test_slow_models_take_longer_than_the_budget() -> None:
    slow = Expected(open_s=50.0, run_s=(1.0, 0.25, 1.0))
    assert predict(make_spec("quick"), slow) > 50.0 + 3 * 2 * 1.25
    assert predict(make_spec("full", budget_s=30.0), slow) > 5 * 50.0


def test_after_a_launch_the_prediction_goes_by_what_it_cost() -> None:
    spec, nothing = make_spec("full"), unknown(3)
    assert predict(spec, nothing, [10.0]) == spec.seconds
    assert predict(spec, nothing, [2.0]) == pytest.approx(60.0), "thirty launches are the end"
    assert predict(spec, nothing, [40.0]) == pytest.approx(200.0), "five are the least"
    assert predict(spec, nothing, [2.0] * LOOKS["full"][-1]) == pytest.approx(60.0)
    assert predict(make_spec("quick"), nothing, [4.0]) == 4.0


@pytest.mark.parametrize("rigor", ["quick", "full"])
@pytest.mark.parametrize(("run_s", "open_s"), [(0.002, 0.1), (0.05, 3.0), (0.8, 5.0)])
def test_the_prediction_holds_where_nothing_converges(rigor: Rigor, run_s: float, open_s: float) -> None:
    """Opening, warm-up and timing are in it: within a quarter for fast, ordinary and slow models on a busy machine."""
    launcher = FakeLauncher([noisy(constant(run_s), 0.1, seed) for seed in range(3)], opening_s=open_s)
    expected = Expected(open_s=3 * open_s, run_s=(run_s,) * 3)
    comparison = Comparison(
        launcher, "abc", roles_for(3), make_spec(rigor), RecordedProgress(), converged=lambda *_: False, expected=expected
    )
    predicted_s, started_s = comparison.predicted_s(), launcher.now_s()
    comparison.run()
    assert launcher.now_s() - started_s == pytest.approx(predicted_s, rel=0.25)
