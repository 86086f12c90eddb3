"""Predicted seconds of a comparison, before it runs and while it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from statistics import fmean

from prune_deploy.measure.budget import LOOKS, next_look, warmup_limit_s
from prune_deploy.measure.launch import COPY_SHARE, LEAST_ABBA_PAIRS, MOST_ABBA_PAIRS
from prune_deploy.measure.schedule import LEAD_IN_S, least_block_s, runs_lasting
from prune_deploy.measure.warmup import LEAST_WARMUP_S
from prune_deploy.specs import MeasureSpec

_WARMUP_RUNS = 4
_USUAL_WARMUP = 2.0  # times the least: machines are seldom quiet enough for that


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Seconds that candidates are expected to need.

    `open_s` is for opening all of them, the copy of the dense model included. `run_s` is for one run of each, the copy's last.
    `first_is_slower` tells whether the first runs after a switch are expected to be slower.
    """

    open_s: float
    run_s: tuple[float, ...]
    first_is_slower: bool = False


def unknown(candidates: int) -> Expected:
    """Return what is expected of candidates of which nothing is known."""
    return Expected(open_s=0.0, run_s=(0.0,) * candidates)


def predict(spec: MeasureSpec, expected: Expected, launches_s: Sequence[float] = ()) -> float:
    """Predict the seconds that a comparison takes if no candidate converges.

    `launches_s` are the seconds that each launch so far has taken. They replace what was expected.
    """
    looks, done = LOOKS[spec.rigor], len(launches_s)
    launch_s = fmean(launches_s) if done else _launch_s(spec, expected)
    spent_s = fsum(launches_s)
    least_s = spent_s + (next_look(spec.rigor, done) - done) * launch_s
    most_s = spent_s + (looks[-1] - done) * launch_s
    return max(least_s, min(spec.seconds, most_s))


def _launch_s(spec: MeasureSpec, expected: Expected) -> float:
    """Predict the first launch within its share of the budget."""
    device, run_s = spec.options.device, expected.run_s
    share_s = spec.seconds / LOOKS[spec.rigor][0]
    least_warmup_s = fsum(max(LEAST_WARMUP_S[device], _WARMUP_RUNS * each) for each in run_s)
    limit_s = warmup_limit_s(share_s, len(run_s), device)
    warmup_s = max(_WARMUP_RUNS * fsum(run_s), min(limit_s, _USUAL_WARMUP * least_warmup_s))
    lead_in_s = LEAD_IN_S[device] if expected.first_is_slower else 0.0
    pair_s = _abba_pair_s(least_block_s(device, spec.mode, spec.rigor), lead_in_s, run_s)
    left_s = share_s - expected.open_s - warmup_s
    pairs = min(MOST_ABBA_PAIRS[spec.rigor], max(LEAST_ABBA_PAIRS, left_s / pair_s))
    return expected.open_s + warmup_s + pairs * pair_s


def _abba_pair_s(block_s: float, lead_in_s: float, run_s: Sequence[float]) -> float:
    *others_s, copy_s = (2 * (_lasting_s(block_s, each) + _lasting_s(lead_in_s, each)) for each in run_s)
    return fsum(others_s) + min(copy_s, fsum(others_s) * COPY_SHARE / (1 - COPY_SHARE))


def _lasting_s(least_s: float, run_s: float) -> float:
    """Return the seconds of whole runs that last at least so long."""
    if not least_s:
        return 0.0
    return max(least_s, runs_lasting(least_s, run_s) * run_s)
