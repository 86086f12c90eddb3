"""The comparisons of a sweep, known before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prune_deploy.errors import CannotRunError
from prune_deploy.execution.planning import Way, parse_ways
from prune_deploy.measure.budget import predict
from prune_deploy.specs import Case, SweepSpec, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One comparison of a sweep, known before anything is made: variants of one model beside their dense model, one way, one batch."""

    name: str
    dense: Variant
    others: tuple[Variant, ...]
    way: Way
    batch: int

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All that are measured, the dense one first."""
        return (self.dense, *self.others)

    def case(self, variant: Variant, spec: SweepSpec) -> Case:
        """The case of one of its variants."""
        options = replace(spec.measure.options, variant=self.way.variant, precision=self.way.precision)
        return Case(
            bundle=variant.name, backend=self.way.backend.name, precision=self.way.precision, batch=self.batch, options=options
        )


def plan_sweep(spec: SweepSpec) -> list[Step]:
    """The comparisons of a sweep in the order they are measured. Variants are made when they are first wanted.

    Raises:
        InputError: an unknown backend, or two variants of one name.
        CannotRunError: no backend that was asked for can run here.
    """
    ways = parse_ways(spec.backends, spec.precisions)
    states = [way.backend.available() for way in ways]
    if not any(state.available for state in states):
        raise CannotRunError(f"nothing that was asked for can run here: {states[0].reason}", fix=states[0].fix)
    steps = []
    for _, (dense, *others) in spec.models():
        chunks = [others[start : start + spec.together] for start in range(0, len(others), spec.together)] or [[]]
        for number, chunk in enumerate(chunks, start=1):
            for batch in spec.batches:
                for way in ways:
                    name = f"{dense.name}-{way.label.replace(':', '-')}-{way.precision}-b{batch}-{number}"
                    steps.append(Step(name=name, dense=dense, others=tuple(chunk), way=way, batch=batch))
    return steps


def predicted_s(steps: Sequence[Step], spec: SweepSpec) -> float:
    """Seconds that measuring will take at most, without making what is measured; steps that cannot run here take none."""
    return sum(predict(spec.measure, len(step.variants) + 1).most_s for step in steps if step.way.backend.available().available)
