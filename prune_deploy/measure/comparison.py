"""Control of one comparison, from the first launch to the last.

    measure
      └── Comparison.run          launches, looks, budget                  budget.py
            └── one launch        open in random order
                  ├── WarmUp      windows in rotation until all are steady  warmup.py, steadiness.py
                  └── TimedRounds ABBA pairs of rounds                      launch.py, schedule.py

A candidate can be lost at any time, and the others go on. This is pure control: `Launcher` and `Runner` do the work and own the
clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from prune_deploy.interfaces import Progress
from prune_deploy.measure.analysis import ratio_estimate
from prune_deploy.measure.budget import LOOKS, Budget, next_look, warmup_limit_s
from prune_deploy.measure.launch import LaunchPlan, TimedRounds
from prune_deploy.measure.prediction import Expected, predict, unknown
from prune_deploy.measure.recording import Recording
from prune_deploy.measure.runner import Launcher, Runner
from prune_deploy.measure.samples import Samples
from prune_deploy.measure.schedule import LEAD_IN_S, least_block_s, opening_order
from prune_deploy.measure.verdicts import is_converged
from prune_deploy.measure.warmup import WarmUp
from prune_deploy.records import Role
from prune_deploy.specs import MeasureSpec

_MOST_SHARE = 0.98

ConvergenceRule = Callable[[Samples, int], bool]
"""Rule that says when a candidate's ratio is known well enough."""


def has_converged(samples: Samples, candidate: int) -> bool:
    """Return whether the interval of a candidate's ratio is narrow enough."""
    estimate = ratio_estimate(samples, candidate)
    return estimate is not None and is_converged(estimate, samples.device)


def measure(launcher: Launcher, labels: Sequence[str], roles: Sequence[Role], spec: MeasureSpec, progress: Progress) -> Samples:
    """Measure a comparison and return all its blocks.

    Use `Comparison` to keep what was measured when it is interrupted.
    """
    return Comparison(launcher, labels, roles, spec, progress).run()


class Comparison:
    """One comparison, with its samples and its prediction.

    `samples()` and `predicted_s()` may be called at any time, also after `run` was interrupted.
    """

    def __init__(
        self,
        launcher: Launcher,
        labels: Sequence[str],
        roles: Sequence[Role],
        spec: MeasureSpec,
        progress: Progress,
        converged: ConvergenceRule = has_converged,
        expected: Expected | None = None,
    ) -> None:
        self._launcher = launcher
        self._spec = spec
        self._progress = progress
        self._converged = converged
        self._recording = Recording(labels, roles, spec)
        self._started_s = launcher.now_s()
        self._launches_s: list[float] = []
        self._expected = expected or unknown(len(labels))
        self._share_done = 0.0

    def samples(self) -> Samples:
        """Return every block that has ended so far."""
        return self._recording.samples()

    def predicted_s(self) -> float:
        """Predict the whole comparison's seconds from what is known so far."""
        return predict(self._spec, self._expected, self._launches_s)

    def run(self) -> Samples:
        """Launch until all candidates have converged or the budget is spent.

        It also ends when no candidate is left to compare. Convergence is tested at the looks.

        Raises:
            KeyboardInterrupt: passed on, and `samples()` has what was measured.
        """
        # The import takes a second, which must not fall into a warm-up.
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
        self._progress.advance(1.0, 1.0, "done")
        return self.samples()

    def _launch(self, number: int, started_s: float, share_s: float) -> float:
        """Run one launch.

        Returns the clock time, in seconds, when the least of its work was done.
        """
        order = opening_order(self._spec.seed, number, range(self._recording.candidates))
        order = tuple(candidate for candidate in order if candidate in self._recording.alive)
        self._report(number, "opening")
        with self._launcher.launch(number, order) as runner:
            self._expected = replace(self._expected, open_s=runner.now_s() - started_s)
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
        run_s = tuple(warmed_up.run_s.values())
        self._expected = replace(self._expected, run_s=run_s, first_is_slower=warmed_up.first_is_slower)
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
        """Report the phase and the share of the time that is over.

        The share is that of the predicted time. It never decreases, and it is not the whole before the end.
        """
        elapsed_s = self._launcher.now_s() - self._started_s
        self._share_done = max(self._share_done, min(_MOST_SHARE, elapsed_s / self.predicted_s()))
        self._progress.advance(self._share_done, 1.0, f"launch {number + 1} of {next_look(self._spec.rigor, number)}: {phase}")
