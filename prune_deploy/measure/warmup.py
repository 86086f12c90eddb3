"""Warm-up of one launch.

All candidates run in rotation, one window each, until all have settled or the time limit is reached. Candidates that have settled
keep their turns until the last one has, so that none cools down meanwhile.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from prune_deploy.measure.recording import Recording, Turn
from prune_deploy.measure.runner import Runner
from prune_deploy.measure.schedule import LEAST_BLOCK_S, runs_lasting
from prune_deploy.measure.steadiness import FEWEST_WINDOWS, is_first_slower, is_steady
from prune_deploy.specs import Device

LEAST_WARMUP_S: dict[Device, float] = {"cpu": 0.5, "cuda": 1.0}
"""Seconds that each candidate runs at least."""

LONGEST_WARMUP_S = 30.0
"""Seconds after which a warm-up ends, settled or not."""

SLOW_RUN_S = 0.1
"""Seconds of a run above which a candidate is slow.

Slow candidates warm up with fewer runs.
"""

_LEAST_RUNS = 10
_LEAST_RUNS_SLOW = 3
_PAIR = 2
_SLOW_PAIRS = 3
_TAIL_WINDOWS = 10
_SLOWER_LEVEL = 0.05  # for all candidates of a launch together
_S_PER_NS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmedUp:
    """Result of a warm-up.

    `run_s` are the seconds of one run per living candidate. `first_is_slower` tells whether the first run after a switch is
    slower.
    """

    run_s: dict[int, float]
    first_is_slower: bool


@dataclass(slots=True)
class _History:
    """Windows of one candidate, the first of them a single run.

    `medians_ns` is the median of each window in nanoseconds.
    """

    windows: list[NDArray[np.int64]] = field(default_factory=list)
    medians_ns: list[float] = field(default_factory=list)

    def add(self, window: NDArray[np.int64]) -> None:
        """Add one window, shape (runs,), in nanoseconds."""
        self.windows.append(window)
        self.medians_ns.append(float(np.median(window)))

    @property
    def last_run_s(self) -> float:
        """Seconds of a run in the last window.

        The next window is sized from it.
        """
        return self.medians_ns[-1] * _S_PER_NS

    @property
    def run_s(self) -> float:
        """Seconds of a run over the last three windows."""
        return median(self.medians_ns[-3:]) * _S_PER_NS

    @property
    def is_slow(self) -> bool:
        return self.last_run_s > SLOW_RUN_S

    @property
    def has_least_runs(self) -> bool:
        runs = sum(len(window) for window in self.windows)
        return runs >= (_LEAST_RUNS_SLOW if self.is_slow else _LEAST_RUNS)

    def has_settled(self, least_s: float) -> bool:
        """Return whether it ran at least `least_s` seconds and is steady."""
        everything_ns = np.concatenate(self.windows)
        if not self.has_least_runs or everything_ns.sum() * _S_PER_NS < least_s:
            return False
        if not self.is_slow:
            # The single run at the start does not count as a window.
            return is_steady(self.medians_ns[1:])
        # A slow run lasts longer than a window. Where first runs are slower, compare them with one another only.
        return is_steady(everything_ns.tolist()) or is_steady([float(window[0]) for window in self.windows])

    def first_run_excesses(self) -> list[float]:
        """Return log(first run / median of the rest) of the later windows.

        The early windows are still getting warm.
        """
        pairs = [np.maximum(window, 1) for window in self.windows[2:] if len(window) >= _PAIR]
        tail = pairs[-max(_TAIL_WINDOWS, len(pairs) // 2) :]
        return [math.log(window[0] / np.median(window[1:])) for window in tail]


class WarmUp:
    """Warm-up of one launch."""

    def __init__(self, recording: Recording, runner: Runner, *, launch: int, order: Sequence[int], device: Device) -> None:
        self._recording = recording
        self._runner = runner
        self._launch = launch
        self._device = device
        self._histories: dict[int, _History] = {candidate: _History() for candidate in order}
        self._settled: set[int] = set()

    def run(self, limit_s: float, watch: Callable[[str], None]) -> WarmedUp:
        """Warm up until all have settled, or `limit_s` seconds are over.

        Candidates that have not settled by then are flagged. The least number of runs is done even beyond the limit. When the
        comparison is over it ends early, with an empty result.
        """
        started_s = self._runner.now_s()
        for rotation in itertools.count():
            rotation_started_s = self._runner.now_s()
            self._rotate(rotation, watch)
            if self._recording.is_over:
                return WarmedUp(run_s={}, first_is_slower=False)
            if rotation == 0:
                # The limit is for warming. The first runs load and compile, which is outside of it.
                started_s = self._runner.now_s()
            self._settled |= self._found_settled(LEAST_WARMUP_S[self._device])
            now_s = self._runner.now_s()
            would_be_late = 2 * now_s - rotation_started_s - started_s > limit_s
            if self._settled >= self._histories.keys() or (would_be_late and self._all_have_least_runs()):
                break
        # Some may have had too little time to count as settled, and yet show no sign against it.
        unsteady = self._histories.keys() - self._settled - self._found_settled(0.0)
        self._recording.flag_unsteady(self._launch, sorted(unsteady))
        run_s = {candidate: history.run_s for candidate, history in self._histories.items()}
        return WarmedUp(run_s=run_s, first_is_slower=_first_is_slower(self._histories.values()))

    def _found_settled(self, least_s: float) -> set[int]:
        waiting = self._histories.keys() - self._settled
        return {candidate for candidate in waiting if self._histories[candidate].has_settled(least_s)}

    def _all_have_least_runs(self) -> bool:
        return all(history.has_least_runs for history in self._histories.values())

    def _rotate(self, rotation: int, watch: Callable[[str], None]) -> None:
        """Run one window of each candidate.

        The history of a lost candidate is dropped.
        """
        runs = self._window_runs(rotation)
        for position, candidate in enumerate(tuple(self._histories)):
            if self._recording.is_over:
                return
            if candidate not in self._recording.alive:
                continue
            watch("warm-up")
            turn = Turn(
                candidate=candidate,
                launch=self._launch,
                round=rotation,
                position=position,
                phase="warmup",
                runs=runs[candidate],
            )
            block = self._recording.take(self._runner, turn)
            if block is not None:
                self._histories[candidate].add(block.samples_ns)
        alive = self._recording.alive
        self._histories = {candidate: history for candidate, history in self._histories.items() if candidate in alive}

    def _window_runs(self, rotation: int) -> dict[int, int]:
        """Return the runs per window.

        The first rotation has a single run each, to learn how long it takes.
        """
        if rotation == 0:
            return dict.fromkeys(self._histories, 1)
        # Longer windows beside a slow candidate, or it would have to run dozens of times while the others have short turns.
        slowest_s = max(history.last_run_s for history in self._histories.values())
        window_s = max(LEAST_BLOCK_S[self._device], min(slowest_s / 2, LEAST_WARMUP_S[self._device] / FEWEST_WINDOWS))
        runs = {}
        for candidate, history in self._histories.items():
            # A second run shows whether the first, right after a switch, was slower. Slow candidates can afford that a few times.
            fewest = _PAIR if rotation <= _SLOW_PAIRS or not history.is_slow else 1
            runs[candidate] = max(fewest, runs_lasting(window_s, history.last_run_s))
        return runs


def _first_is_slower(histories: Collection[_History]) -> bool:
    """Return whether the first run after a switch proved slower.

    One candidate for which it did is enough: blocks then begin with uncounted runs, for all alike. Slow candidates have too few
    windows to prove anything alone, so theirs are judged together.
    """
    slow = [excess for history in histories if history.is_slow for excess in history.first_run_excesses()]
    evidence = [slow, *(history.first_run_excesses() for history in histories if not history.is_slow)]
    return any(is_first_slower(excesses, _SLOWER_LEVEL / len(evidence)) for excesses in evidence)
