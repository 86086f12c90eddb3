"""One comparison from the first launch to the last: who is opened when, who is timed when, and when it is enough.

    measure
      └── Comparison.run          launches, looks, budget                  budget.py
            └── one launch        open in random order
                  ├── WarmUp      windows in rotation until all are steady  warmup.py, steadiness.py
                  └── TimedRounds palindromes of rounds                     launch.py, schedule.py

Candidates can get lost at any time; the others go on. Pure control: `Launcher` and `Runner` do the work and own the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prune_deploy.measure.analysis import ratio_estimate
from prune_deploy.measure.budget import LOOKS, Budget, Prediction, next_look, predict, warmup_limit_s
from prune_deploy.measure.launch import LaunchPlan, TimedRounds
from prune_deploy.measure.recording import Recording
from prune_deploy.measure.runner import Launcher, Runner, Watcher
from prune_deploy.measure.samples import Samples
from prune_deploy.measure.schedule import LEAD_IN_S, least_block_s, opening_order
from prune_deploy.measure.verdicts import is_converged
from prune_deploy.measure.warmup import WarmUp
from prune_deploy.records import Role
from prune_deploy.specs import MeasureSpec

ConvergenceRule = Callable[[Samples, int], bool]
"""Whether a candidate's ratio to the dense model is known well enough."""


def has_converged(samples: Samples, candidate: int) -> bool:
    """Whether the interval of a candidate's ratio is as narrow as measuring aims for."""
    estimate = ratio_estimate(samples, candidate)
    return estimate is not None and is_converged(estimate, samples.device)


def measure(launcher: Launcher, labels: Sequence[str], roles: Sequence[Role], spec: MeasureSpec, watcher: Watcher) -> Samples:
    """Measure a comparison and give all its blocks. To keep what was measured when interrupted, use `Comparison`."""
    return Comparison(launcher, labels, roles, spec, watcher).run()


class Comparison:
    """One comparison. `samples()` and `prediction()` can be asked at any time, also after `run` was interrupted."""

    def __init__(
        self,
        launcher: Launcher,
        labels: Sequence[str],
        roles: Sequence[Role],
        spec: MeasureSpec,
        watcher: Watcher,
        converged: ConvergenceRule = has_converged,
    ) -> None:
        self._launcher = launcher
        self._spec = spec
        self._watcher = watcher
        self._converged = converged
        self._recording = Recording(labels, roles, spec)
        self._started_s = launcher.now_s()
        self._launches_s: list[float] = []
        self._share_done = 0.0

    def samples(self) -> Samples:
        """Every block that has ended so far."""
        return self._recording.samples()

    def prediction(self) -> Prediction:
        """How long all of it will take, by what is known so far."""
        return predict(self._spec, self._recording.candidates, self._launches_s)

    def run(self) -> Samples:
        """Launch until every candidate has converged at a look, or the budget is spent, or nobody is left to compare.

        Raises:
            KeyboardInterrupt: passed on; `samples()` has what was measured.
        """
        # Importing it takes a second: not in the middle of a warm-up.
        import scipy.stats  # noqa: F401

        rigor = self._spec.rigor
        self._started_s = self._launcher.now_s()
        budget = Budget(self._spec, self._started_s)
        for number in range(LOOKS[rigor][-1]):
            started_s = self._launcher.now_s()
            least_done_s = self._launch(number, started_s, budget.share_s(started_s))
            now_s = self._launcher.now_s()
            budget.book(least_done_s - started_s)
            self._launches_s.append(now_s - started_s)
            is_enough = number + 1 in LOOKS[rigor] and self._all_converged()
            if self._recording.is_over or is_enough or not budget.allows_more(now_s):
                break
        self._watcher("done", 1.0)
        return self.samples()

    def _launch(self, number: int, started_s: float, share_s: float) -> float:
        """One launch; gives the moment when the least of it was done, in seconds of the clock."""
        order = opening_order(self._spec.seed, number, range(self._recording.candidates))
        order = tuple(candidate for candidate in order if candidate in self._recording.alive)
        self._report(number, "opening")
        with self._launcher.launch(number, order) as runner:
            self._recording.keep_only(self._launcher.candidates)
            if self._recording.is_over:
                return runner.now_s()
            order = tuple(candidate for candidate in order if candidate in self._recording.alive)
            return self._warm_up_and_time(runner, number, order, started_s, share_s)

    def _warm_up_and_time(self, runner: Runner, number: int, order: Sequence[int], started_s: float, share_s: float) -> float:
        spec = self._spec
        device = spec.options.device

        def watch(phase: str) -> None:
            self._report(number, phase)

        limit_s = warmup_limit_s(share_s, len(order), device)
        warmed_up = WarmUp(self._recording, runner, launch=number, order=order, device=device).run(limit_s, watch)
        if self._recording.is_over:
            return runner.now_s()
        plan = LaunchPlan(
            launch=number,
            seed=spec.seed,
            rigor=spec.rigor,
            block_s=least_block_s(device, spec.mode, spec.rigor),
            lead_in_s=LEAD_IN_S[device],
            deadline_s=started_s + share_s,
            has_enough=lambda: spec.rigor == "quick" and self._all_converged(),
            watch=watch,
        )
        return TimedRounds(self._recording, runner, warmed_up, plan).run()

    def _all_converged(self) -> bool:
        samples = self.samples()
        return all(self._converged(samples, candidate) for candidate in self._recording.contenders)

    def _report(self, number: int, phase: str) -> None:
        """Tell the watcher. The share is that of the time the comparison may take; it never goes back."""
        elapsed_s = self._launcher.now_s() - self._started_s
        self._share_done = max(self._share_done, min(1.0, elapsed_s / self.prediction().most_s))
        self._watcher(f"launch {number + 1} of {next_look(self._spec.rigor, number)}: {phase}", self._share_done)
