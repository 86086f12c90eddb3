"""The comparisons of a sweep, known before anything is made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from prune_deploy.backends import discover
from prune_deploy.errors import CannotRunError, InputError
from prune_deploy.execution.costs import IMPORT_S, Size, expected, making_s, open_s, run_s, traces_s
from prune_deploy.execution.planning import RunConfig, parse_run_configs
from prune_deploy.measure.prediction import predict
from prune_deploy.specs import Case, ModelSpec, SweepSpec, Variant
from prune_deploy.workflows.forecast import Task
from prune_deploy.workflows.sweep_accuracy import accuracy_name
from prune_deploy.workflows.trace import trace_name


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


def sweep_tasks(steps: Sequence[SweepStep], spec: SweepSpec) -> list[Task]:
    """Return all work of the steps.

    Each variant is made once. Steps that cannot run here take none.
    """
    tasks: dict[object, Task] = {}
    for step in steps:
        if not step.config.backend.available().available:
            continue
        sizes = {variant.name: _size(variant) for variant in step.variants}
        making = [_making(variant, sizes[variant.name], spec) for variant in step.variants]
        work = [*making, *_evaluating(step, sizes, spec), _measuring(step, sizes, spec), *_tracing(step, sizes, spec)]
        tasks |= {task.key: task for task in work if task.key not in tasks}
    return _with_first_import(list(tasks.values()))


def _with_first_import(tasks: Sequence[Task]) -> list[Task]:
    """Add the start of the build worker to the first task."""
    return [replace(task, expected_s=task.expected_s + (0.0 if number else IMPORT_S)) for number, task in enumerate(tasks)]


def _making(variant: Variant, size: Size, spec: SweepSpec) -> Task:
    opened = {discover()[name.partition(":")[0]].consumes for name in spec.backends}
    precisions = len(spec.precisions)
    seconds = making_s(
        size,
        pruned=variant.prune is not None,
        precisions=precisions,
        engines=precisions * len(spec.batches) if "engine" in opened and spec.engine.library != "none" else 0,
    )
    return Task(stage="make bundle", name=variant.name, expected_s=seconds)


def _measuring(step: SweepStep, sizes: Mapping[str, Size], spec: SweepSpec) -> Task:
    cases = [(sizes[variant.name], step.config.backend) for variant in step.variants]
    return Task(stage="measure", name=step.name, expected_s=predict(spec.measure, expected(cases, step.batch, spec.measure)))


def _evaluating(step: SweepStep, sizes: Mapping[str, Size], spec: SweepSpec) -> list[Task]:
    if spec.data is None:
        return []
    from prune_deploy.data import open_images  # imports torch

    images = min(spec.data_samples or math.inf, len(open_images(spec.data).labels))
    device, backend = spec.measure.options.device, step.config.backend
    return [
        Task(
            stage="evaluate",
            name=accuracy_name(step.case(variant, spec), spec.data),
            expected_s=open_s(sizes[variant.name], backend) + images * run_s(sizes[variant.name], 1, device),
        )
        for variant in step.variants
    ]


def _tracing(step: SweepStep, sizes: Mapping[str, Size], spec: SweepSpec) -> list[Task]:
    if not spec.trace:
        return []
    device, backend = spec.measure.options.device, step.config.backend
    seconds = traces_s([(sizes[variant.name], backend, step.batch) for variant in step.variants], device)
    return [
        Task(stage="trace", name=trace_name(step.case(variant, spec)), expected_s=took)
        for variant, took in zip(step.variants, seconds, strict=True)
    ]


def _size(variant: Variant) -> Size:
    """Return the size that a variant should have once it is made."""
    dense, ratio = _dense_size(variant.model), None if variant.prune is None else variant.prune.ratio
    return dense if ratio is None else dense.scaled(1 - ratio)


@cache
def _dense_size(model: ModelSpec) -> Size:
    """Count the model without any weight.

    A model that cannot be built takes no time.
    """
    from prune_deploy.models import resolve, skeleton  # imports torch, as does the next one
    from prune_deploy.pruning.counting import count

    try:
        resolved = resolve(model)
        return Size.of(count(skeleton(resolved), resolved.input_size))
    except InputError:
        return Size(params=0, macs=0)
