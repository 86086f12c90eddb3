"""Timed part of one launch: ABBA pairs of rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prune_deploy.measure.recording import Recording, Turn
from prune_deploy.measure.runner import Runner
from prune_deploy.measure.schedule import abba_order, runs_lasting
from prune_deploy.measure.warmup import WarmedUp
from prune_deploy.specs import Rigor

LEAST_ABBA_PAIRS = 3
"""ABBA pairs (of rounds) that every launch times, even beyond its time."""

MOST_ABBA_PAIRS: dict[Rigor, int] = {"quick": 30, "full": 20}
"""ABBA pairs that a launch times at most.

More add little, because the remaining uncertainty is the difference between launches.
"""

COPY_SHARE = 0.15
"""Largest share of the timed seconds that A′ gets.

The first ABBA pair of each launch is exempt.
"""

FIRST_EARLY_STOP = 12
"""ABBA pairs after which a launch first tests whether it has enough."""

_EARLY_STOP_STEP = 3
_MUCH_FASTER = 0.5
_S_PER_NS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """Limits of one launch.

    Blocks last at least `block_s`, and ABBA pairs end by `deadline_s` of the runner's clock. `lead_in_s` comes before each block
    where first runs are slower. `has_enough` is asked from time to time and can end the launch earlier.
    """

    launch: int
    seed: int
    rigor: Rigor
    block_s: float
    lead_in_s: float
    deadline_s: float
    has_enough: Callable[[], bool]
    watch: Callable[[str], None]


class TimedRounds:
    """Rounds of one launch."""

    def __init__(self, recording: Recording, runner: Runner, warmed_up: WarmedUp, plan: LaunchPlan) -> None:
        self._recording = recording
        self._runner = runner
        self._plan = plan
        self._lead_in_s = plan.lead_in_s if warmed_up.first_is_slower else 0.0
        self._run_s = dict(warmed_up.run_s)

    def run(self) -> float:
        """Time ABBA pairs until the launch should stop.

        Returns the clock time, in seconds, at which the least number of pairs had ended.
        """
        least_done_s = self._runner.now_s()
        for abba_pair in range(MOST_ABBA_PAIRS[self._plan.rigor]):
            order = self._order(abba_pair)
            if abba_pair >= LEAST_ABBA_PAIRS and self._is_time_to_stop(abba_pair, order):
                break
            leading = {candidate: self._leading(candidate) for candidate in order}
            runs = {candidate: self._runs(candidate) for candidate in order}
            for round_, one_pass in ((2 * abba_pair, order), (2 * abba_pair + 1, order[::-1])):
                self._pass(round_, one_pass, runs, leading)
                if self._recording.is_over:
                    return self._runner.now_s()
            if abba_pair < LEAST_ABBA_PAIRS:
                least_done_s = self._runner.now_s()
        return least_done_s

    def _order(self, abba_pair: int) -> tuple[int, ...]:
        alive, copy = self._recording.alive, self._recording.copy
        everyone = abba_order(self._plan.seed, self._plan.launch, abba_pair, range(self._recording.candidates))
        left_out = {copy} if abba_pair > 0 and not self._copy_joins() else set()
        return tuple(candidate for candidate in everyone if candidate in alive - left_out)

    def _copy_joins(self) -> bool:
        """Return whether A′ keeps within its share in the next pair."""
        copy, timed_s = self._recording.copy, self._recording.timed_s
        if copy is None:
            return False
        all_s = sum(timed_s.values()) + sum(self._expected_s(candidate) for candidate in self._recording.alive)
        return timed_s[copy] + self._expected_s(copy) <= COPY_SHARE * all_s

    def _is_time_to_stop(self, abba_pairs: int, order: Sequence[int]) -> bool:
        expected_s = sum(self._expected_s(candidate) for candidate in order)
        if self._runner.now_s() + expected_s > self._plan.deadline_s:
            return True
        # Look only at every few pairs: each look costs time between blocks, and some of the interval's confidence.
        is_look = abba_pairs >= FIRST_EARLY_STOP and (abba_pairs - FIRST_EARLY_STOP) % _EARLY_STOP_STEP == 0
        return is_look and self._plan.has_enough()

    def _leading(self, candidate: int) -> int:
        return runs_lasting(self._lead_in_s, self._run_s[candidate]) if self._lead_in_s else 0

    def _runs(self, candidate: int) -> int:
        return runs_lasting(self._plan.block_s, self._run_s[candidate]) + self._leading(candidate)

    def _expected_s(self, candidate: int) -> float:
        return 2 * self._runs(candidate) * self._run_s[candidate]

    def _pass(self, round_: int, order: Sequence[int], runs: dict[int, int], leading: dict[int, int]) -> None:
        """Run one round: a block of each candidate in turn.

        A candidate that was lost before its turn is skipped.
        """
        for position, candidate in enumerate(order):
            if candidate not in self._recording.alive:
                continue
            self._plan.watch(f"round {round_ + 1}")
            turn = Turn(
                candidate=candidate,
                launch=self._plan.launch,
                round=round_,
                position=position,
                phase="timed",
                runs=runs[candidate],
                leading=leading[candidate],
            )
            block = self._recording.take(self._runner, turn)
            if self._recording.is_over:
                return
            if block is not None:
                self._correct(candidate, float(np.median(block.samples_ns)) * _S_PER_NS)

    def _correct(self, candidate: int, run_s: float) -> None:
        # A few slow first runs can look like a slow model that has settled. Its blocks must not stay that short.
        if run_s < _MUCH_FASTER * self._run_s[candidate]:
            self._run_s[candidate] = run_s
