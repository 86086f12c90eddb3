"""A world for measuring without processes and without waiting.

Only models move its clock, and the models are formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from prune_deploy.interfaces import Silent
from prune_deploy.measure.comparison import measure
from prune_deploy.measure.runner import CandidateLost, TimedRuns
from prune_deploy.measure.samples import Block, Phase, Samples
from prune_deploy.records import Role
from prune_deploy.specs import Device, MeasureSpec, Mode, Rigor, RunOptions


@dataclass
class FakeClock:
    """A clock in seconds that stands still until it is moved."""

    now_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """State that a fake model may depend on.

    `call` counts a candidate's runs within the launch, and `since_switch` its runs since another candidate ran. `run` counts all
    runs and `block` all blocks of the comparison. All start at 0.
    """

    now_s: float
    launch: int
    call: int
    since_switch: int
    run: int
    block: int


Model = Callable[[Moment], float]
"""Function that returns the seconds of a run that begins at this moment.

It may raise `CandidateLost` or `KeyboardInterrupt` instead.
"""


def constant(run_s: float) -> Model:
    """Return a model that always takes the same time."""
    return lambda moment: run_s


def cold(run_s: float, first_s: float = 0.4, calls: int = 5) -> Model:
    """Return a model whose first calls in each launch take longer."""
    return lambda moment: first_s if moment.call < calls else run_s


def slower_after_switch(run_s: float, factor: float) -> Model:
    """Return a model whose first run after another candidate's takes longer."""
    return lambda moment: run_s * (factor if moment.since_switch == 0 else 1.0)


def noisy(model: Model, share: float, seed: int = 0) -> Model:
    """Return a model with normal noise.

    Its standard deviation is `share` of its time.
    """
    rng = np.random.default_rng(seed)
    return lambda moment: model(moment) * max(0.1, 1 + share * rng.standard_normal())


def lost_when(candidate: int, model: Model, when: Callable[[Moment], bool]) -> Model:
    """Return a model whose process dies as soon as `when` returns true."""

    def run(moment: Moment) -> float:
        if when(moment):
            raise CandidateLost(candidate)
        return model(moment)

    return run


@dataclass
class FakeRunner:
    """Candidates of one launch.

    Every block costs `block_overhead_s` on top of its runs.
    """

    world: FakeLauncher
    launch: int
    calls: dict[int, int] = field(default_factory=dict)
    previous: int | None = None
    since_switch: int = 0

    def run(self, candidate: int, runs: int) -> TimedRuns:
        world = self.world
        assert candidate in world.alive, "a lost candidate was run"
        world.turns.append((candidate, runs))
        if candidate != self.previous:
            self.previous, self.since_switch = candidate, 0
        started_s = world.clock.now_s
        samples_ns = np.zeros(runs, np.int64)
        try:
            for index in range(runs):
                samples_ns[index] = self._once(candidate)
        except CandidateLost as failure:
            world.alive.discard(failure.candidate)
            raise
        finally:
            world.block += 1
            world.clock.now_s += world.block_overhead_s
        return TimedRuns(started_ns=round(started_s * 1e9), samples_ns=samples_ns, readings={"temperature_c": 40.0})

    def _once(self, candidate: int) -> int:
        world = self.world
        call = self.calls.get(candidate, 0)
        moment = Moment(
            now_s=world.clock.now_s,
            launch=self.launch,
            call=call,
            since_switch=self.since_switch,
            run=world.run,
            block=world.block,
        )
        duration_ns = round(world.models[candidate](moment) * 1e9)
        self.calls[candidate] = call + 1
        self.since_switch += 1
        world.run += 1
        world.clock.now_s += duration_ns * 1e-9
        return duration_ns

    def now_s(self) -> float:
        return self.world.clock.now_s


@dataclass
class FakeLauncher:
    """Launcher of fake models, each opened in `opening_s`.

    `fails_to_open` has (launch, candidate) pairs. `openings` are the requested orders, and `turns` every requested (candidate,
    runs). `closed` counts launches that ended.
    """

    models: Sequence[Model]
    opening_s: float = 0.1
    block_overhead_s: float = 0.0
    fails_to_open: frozenset[tuple[int, int]] = frozenset()
    clock: FakeClock = field(default_factory=FakeClock)
    openings: list[tuple[int, ...]] = field(default_factory=list)
    turns: list[tuple[int, int]] = field(default_factory=list)
    closed: int = 0
    run: int = 0
    block: int = 0

    def __post_init__(self) -> None:
        self.alive = set(range(len(self.models)))

    @contextmanager
    def launch(self, number: int, order: Sequence[int]) -> Iterator[FakeRunner]:
        assert number == len(self.openings), "launches are numbered from 0 without gaps"
        assert set(order) == self.alive, "exactly the living candidates are opened"
        self.openings.append(tuple(order))
        self.clock.now_s += self.opening_s * len(order)
        self.alive -= {candidate for candidate in order if (number, candidate) in self.fails_to_open}
        try:
            yield FakeRunner(world=self, launch=number)
        finally:
            self.closed += 1

    @property
    def candidates(self) -> tuple[int, ...]:
        return tuple(sorted(self.alive))

    def now_s(self) -> float:
        return self.clock.now_s


def make_spec(
    rigor: Rigor = "quick",
    *,
    device: Device = "cpu",
    mode: Mode = "latency",
    budget_s: float | None = None,
    seed: int = 0,
) -> MeasureSpec:
    """Return a MeasureSpec with the options that matter to its control."""
    return MeasureSpec(rigor=rigor, mode=mode, budget_s=budget_s, seed=seed, options=RunOptions(device=device))


def roles_for(candidates: int) -> tuple[Role, ...]:
    """Return the roles: the dense model, its copy, then all others."""
    roles: list[Role] = ["dense", "copy"]
    roles += ["candidate"] * (candidates - 2)
    return tuple(roles)


def compare(launcher: FakeLauncher, spec: MeasureSpec, roles: Sequence[Role] = ()) -> Samples:
    """Measure fake models from beginning to end."""
    roles = roles or roles_for(len(launcher.models))
    return measure(launcher, [f"model {index}" for index in range(len(roles))], roles, spec, Silent())


def blocks_of(samples: Samples, phase: Phase, *, candidate: int | None = None, launch: int | None = None) -> list[Block]:
    """Return some of the blocks, in the order of time."""
    chosen = (block for block in samples.blocks if block.phase == phase)
    return [block for block in chosen if candidate in (None, block.candidate) and launch in (None, block.launch)]
