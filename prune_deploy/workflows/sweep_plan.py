"""The comparisons of a sweep, known before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prune_deploy.errors import CannotRunError
from prune_deploy.execution.comparison import predicted_s
from prune_deploy.execution.planning import RunConfig, parse_run_configs
from prune_deploy.specs import Case, SweepSpec, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStep:
    """One comparison of a sweep, known before anything is made.

    It has variants of one model beside their dense model, in one config, at one batch size.
    """

    name: str
    dense: Variant
    others: tuple[Variant, ...]
    config: RunConfig
    batch: int

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All that are measured, the dense one first."""
        return (self.dense, *self.others)

    def case(self, variant: Variant, spec: SweepSpec) -> Case:
        """The case of one of its variants."""
        options = replace(spec.measure.options, variant=self.config.variant, precision=self.config.precision)
        return Case(
            bundle=variant.name,
            backend=self.config.backend.name,
            precision=self.config.precision,
            batch=self.batch,
            options=options,
        )


def plan_sweep(spec: SweepSpec) -> list[SweepStep]:
    """Plan the comparisons of a sweep in the order of measuring.

    Variants are made when they are first wanted.

    Raises:
        InputError: an unknown backend, or two variants of one name.
        CannotRunError: no backend that was asked for can run here.
    """
    configs = parse_run_configs(spec.backends, spec.precisions)
    states = [config.backend.available() for config in configs]
    if not any(state.available for state in states):
        raise CannotRunError(f"nothing that was asked for can run here: {states[0].reason}", fix=states[0].fix)
    steps = []
    for _, (dense, *others) in spec.models():
        chunks = [others[start : start + spec.together] for start in range(0, len(others), spec.together)] or [[]]
        for number, chunk in enumerate(chunks, start=1):
            for batch in spec.batches:
                for config in configs:
                    name = f"{dense.name}-{config.label.replace(':', '-')}-{config.precision}-b{batch}-{number}"
                    steps.append(SweepStep(name=name, dense=dense, others=tuple(chunk), config=config, batch=batch))
    return steps


def measuring_s(steps: Sequence[SweepStep], spec: SweepSpec) -> float:
    """Seconds that measuring will take at most, without making what is measured.

    Steps that cannot run here take none.
    """
    runnable = [step for step in steps if step.config.backend.available().available]
    return sum(predicted_s(len(step.variants), spec.measure) for step in runnable)
