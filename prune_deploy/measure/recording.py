"""Recording of a comparison: its blocks, and the candidates still alive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prune_deploy.measure.runner import CandidateLost, Runner
from prune_deploy.measure.samples import Block, Phase, Samples
from prune_deploy.records import Role
from prune_deploy.specs import MeasureSpec

_S_PER_NS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Turn of one candidate: `runs` in a row, the first `leading` uncounted."""

    candidate: int
    launch: int
    round: int
    position: int
    phase: Phase
    runs: int
    leading: int = 0


class Recording:
    """Collector of blocks.

    It is complete at any moment: an interrupted comparison keeps every block that had ended.
    """

    def __init__(self, labels: Sequence[str], roles: Sequence[Role], spec: MeasureSpec) -> None:
        self._labels = tuple(labels)
        self._roles = tuple(roles)
        self._spec = spec
        self._blocks: list[Block] = []
        self._unsteady: list[tuple[int, int]] = []
        self.candidates = len(self._labels)
        """Number of candidates, the lost ones included."""
        self._alive = set(range(self.candidates))
        self.timed_s = dict.fromkeys(range(self.candidates), 0.0)
        """Seconds of timed blocks per candidate, uncounted runs included."""

    @property
    def alive(self) -> frozenset[int]:
        """The candidates that are not lost."""
        return frozenset(self._alive)

    @property
    def contenders(self) -> tuple[int, ...]:
        """The living candidates other than the dense model and its copy."""
        return tuple(index for index in sorted(self._alive) if self._roles[index] == "candidate")

    @property
    def copy(self) -> int | None:
        """A′, the dense model's copy, as long as it is alive."""
        return next((index for index in self._alive if self._roles[index] == "copy"), None)

    @property
    def is_over(self) -> bool:
        """True if nothing is left to compare.

        That is so when the dense model is lost, or all that were compared with it.
        """
        return self._roles.index("dense") not in self._alive or ("candidate" in self._roles and not self.contenders)

    def keep_only(self, candidates: Sequence[int]) -> None:
        """Drop all other candidates for the rest of the comparison."""
        self._alive.intersection_update(candidates)

    def flag_unsteady(self, launch: int, candidates: Sequence[int]) -> None:
        """Record the candidates that had not settled when a launch's warm-up ended."""
        self._unsteady += [(launch, candidate) for candidate in candidates]

    def take(self, runner: Runner, turn: Turn) -> Block | None:
        """Run a candidate's turn and return its block.

        Returns None if the candidate was lost. It is then dropped.
        """
        try:
            timed = runner.run(turn.candidate, turn.runs)
        except CandidateLost as loss:
            self._alive -= {turn.candidate, loss.candidate}
            return None
        block = Block(
            candidate=turn.candidate,
            launch=turn.launch,
            round=turn.round,
            position=turn.position,
            phase=turn.phase,
            started_ns=timed.started_ns,
            leading=turn.leading,
            samples_ns=timed.samples_ns,
            readings=dict(timed.readings),
        )
        self._blocks.append(block)
        if turn.phase == "timed":
            self.timed_s[turn.candidate] += float(timed.samples_ns.sum()) * _S_PER_NS
        return block

    def samples(self) -> Samples:
        """Return all blocks so far, those of warm-ups too."""
        return Samples(
            candidates=self._labels,
            roles=self._roles,
            device=self._spec.options.device,
            mode=self._spec.mode,
            rigor=self._spec.rigor,
            seed=self._spec.seed,
            blocks=tuple(self._blocks),
            unsteady=tuple(self._unsteady),
        )
