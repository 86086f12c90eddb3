"""Samples of simulated comparisons.

Their times come from formulas, from a simulated clock, or from simulated noise. They are arrays of shape (launches, rounds,
candidates, runs) in nanoseconds. A block whose first time is NaN did not take place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_deploy.measure.estimates import estimate
from prune_deploy.measure.pairing import WAITED, log_ratios, timed_blocks
from prune_deploy.measure.samples import Block, Samples
from prune_deploy.measure.verdicts import is_converged
from prune_deploy.records import Estimate, Role

MS = 1_000_000
"""Nanoseconds in a millisecond."""

Times = NDArray[np.float64]

_EPISODE_ENDS = 0.15

PAIR: tuple[Role, ...] = ("dense", "candidate")
WITH_COPY: tuple[Role, ...] = ("dense", "copy", "candidate")


def schedule(rounds: int, candidates: int) -> Iterator[tuple[int, int, int]]:
    """Yield (round, position, candidate) in the order of time.

    Even rounds go forth, and odd ones back.
    """
    for number in range(rounds):
        order = range(candidates) if number % 2 == 0 else range(candidates - 1, -1, -1)
        for position, candidate in enumerate(order):
            yield number, position, candidate


def make_samples(times_ns: Times, *, roles: Sequence[Role] = PAIR, leading: int = 0, **changes: Any) -> Samples:
    """Return samples of full rigor on a CPU, with `changes`."""
    labels = tuple(f"{role} {index}" for index, role in enumerate(roles))
    fields = {"candidates": labels, "roles": tuple(roles), "device": "cpu", "mode": "latency", "rigor": "full", "seed": 0}
    return Samples(**{**fields, "blocks": make_blocks(times_ns, leading=leading), **changes})


def make_blocks(times_ns: Times, *, leading: int = 0, **changes: Any) -> tuple[Block, ...]:
    """Return one timed block per candidate and round of each launch."""
    launches, rounds, candidates, _ = times_ns.shape
    rounded = np.where(np.isnan(times_ns), 0, np.rint(times_ns)).astype(np.int64)
    blocks = []
    for launch in range(launches):
        now_ns = 0
        for number, position, candidate in schedule(rounds, candidates):
            if math.isnan(times_ns[launch, number, candidate, 0]):
                continue
            runs_ns = rounded[launch, number, candidate]
            place = {"candidate": candidate, "launch": launch, "round": number, "position": position, "started_ns": now_ns}
            blocks.append(Block(**{**place, "phase": "timed", "leading": leading, "samples_ns": runs_ns, **changes}))
            now_ns += int(runs_ns.sum())
    return tuple(blocks)


def clock_times(
    costs_ns: Sequence[float], slowdown: Callable[[float], float], *, launches: int = 5, rounds: int = 24, runs: int = 20
) -> Times:
    """Return times of candidates of constant cost on a changing machine.

    It is `slowdown` times slower at so many seconds after a launch began.
    """
    times = np.empty((launches, rounds, len(costs_ns), runs))
    for launch in range(launches):
        now_ns = 0.0
        for number, _, candidate in schedule(rounds, len(costs_ns)):
            for run in range(runs):
                took_ns = costs_ns[candidate] * slowdown(now_ns / 1e9)
                times[launch, number, candidate, run] = took_ns
                now_ns += took_ns
    return times


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Scatter of times, as shares of a time.

    They are standard deviations of its logarithm, except for the one-sided `block`.

    - `launch` shifts a candidate for a whole launch.
    - `drift` wanders from round to round (autoregressive, `memory` of it stays) on its own for each candidate.
    - `block` is drawn anew for each block and only ever slows it down. It is half of Student's t with `tail_freedom` degrees of
      freedom, so a few blocks are slowed a lot.
    """

    launch: float = 0.0015
    drift: float = 0.003
    memory: float = 0.8
    block: float = 0.007
    tail_freedom: float = 3.0


def noisy_times(
    random: np.random.Generator, costs_ns: Sequence[float], *, noise: Noise, launches: int = 5, rounds: int = 24
) -> Times:
    """Return times of candidates of these costs, one run per block."""
    shape = (launches, rounds, len(costs_ns))
    log_times = np.log(costs_ns) + noise.launch * random.standard_normal((launches, 1, len(costs_ns)))
    wander = random.standard_normal(shape)
    for number in range(1, rounds):
        wander[:, number] = noise.memory * wander[:, number - 1] + math.sqrt(1 - noise.memory**2) * wander[:, number]
    heavy = np.abs(random.standard_t(noise.tail_freedom, shape))
    return np.exp(log_times + noise.drift * wander + noise.block * heavy)[..., np.newaxis]


def without_most_of(times_ns: Times, candidate: int, *, every: int) -> Times:
    """Return the times with a candidate that rarely takes part.

    It does so in the first of `every` pairs of rounds, as a copy on a small share of time does.
    """
    times = times_ns.copy()
    for number in range(times.shape[1]):
        if number // 2 % every:
            times[:, number, candidate] = np.nan
    return times


LOOKS = (5, 7, 10, 14, 20, 30)
"""Numbers of launches after which a comparison tests its interval's width."""


def launches_until_converged(random: np.random.Generator, ratio: float, noise: Noise) -> list[NDArray[np.float64]]:
    """Return the log ratios of a session that stops when converged.

    It stops at the first look that finds ±1 %, or at the last one.
    """
    launches: list[NDArray[np.float64]] = []
    for look in LOOKS:
        times = noisy_times(random, (20 * MS * ratio, 20 * MS), noise=noise, launches=look - len(launches))
        samples = make_samples(times)
        launches += log_ratios(timed_blocks(samples, 0), timed_blocks(samples, 1))
        if is_converged(estimate(launches, "full"), "cpu"):
            break
    return launches


def session_with_copy(random: np.random.Generator, ratio: float, noise: Noise) -> Samples:
    """Return five launches of a dense model, its copy and a candidate.

    The copy runs in a quarter of the rounds. The candidate has this true ratio.
    """
    times = noisy_times(random, (20 * MS * ratio, 20 * MS * ratio, 20 * MS), noise=noise)
    return make_samples(without_most_of(times, 1, every=4), roles=WITH_COPY)


def covers(figure: Estimate, truth: float) -> bool:
    """Return whether the interval contains the truth."""
    return figure.low is not None and figure.high is not None and figure.low <= truth <= figure.high


def share(outcomes: Sequence[bool]) -> float:
    """Return the share of the outcomes that are true."""
    return sum(outcomes) / len(outcomes)


def contended(random: np.random.Generator, samples: Samples, *, on: float, slowing: Sequence[float]) -> Samples:
    """Return the samples as beside a process that takes a core.

    A share `on` of the time is such an episode, of several blocks. A block that waits for a core for a share w of its time takes
    1 + w · `slowing` of its candidate as long. Blocks say how long they waited, which is a little in quiet times too.
    """
    blocks, busy = [], False
    for block in samples.blocks:
        if random.random() < _EPISODE_ENDS:
            busy = random.random() < on
        waited = random.uniform(0.3, 1.2) if busy else random.uniform(0.0, 0.01)
        factor = 1 + waited * slowing[block.candidate] if busy else 1.0
        slowed = np.rint(block.samples_ns * factor).astype(np.int64)
        blocks.append(replace(block, samples_ns=slowed, readings={WAITED: waited}))
    return replace(samples, blocks=tuple(blocks))
