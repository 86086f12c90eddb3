"""Grids of models, methods and ratios, made and measured one comparison after the other; a kill at any moment costs at most one of them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from prune_deploy.backends import discover
from prune_deploy.environment import capture
from prune_deploy.errors import InputError
from prune_deploy.execution.accuracy import SweepAccuracy, require_data
from prune_deploy.execution.comparison import CACHES_DIR, run_comparison
from prune_deploy.execution.failure import Failure
from prune_deploy.execution.jobs.client import Jobs
from prune_deploy.execution.planning import LoadedBundle, PlannedCase, PlannedComparison, plan, read_loaded_bundle
from prune_deploy.execution.telemetry.clocks import locked_clocks
from prune_deploy.execution.traces import trace_case
from prune_deploy.execution.workers.process import Watchdog, WorkerError
from prune_deploy.interfaces import Progress
from prune_deploy.records import CaseRecord, RunRecord, to_json
from prune_deploy.reporting.figures.run_pairs import differences
from prune_deploy.runs import PROFILES_DIR, RUN_FILE, TRACES_DIR, append_cases, create_run, mend_records, read_run, trace_stem
from prune_deploy.specs import ExportSpec, SweepSpec, Variant, need_calibration
from prune_deploy.workflows.bench import Observer
from prune_deploy.workflows.machine_lock import machine
from prune_deploy.workflows.sweep_plan import SweepStep, plan_sweep, predicted_s

BUNDLES_DIR = "bundles"
_LOGS_DIR = "logs"


class SweepObserver(Observer, Progress, Protocol):
    """Somebody who wants to know how far a sweep is, and what is being made."""


def folder_of(spec: SweepSpec, name: str) -> Path:
    """Where a sweep goes that is not told: the same request, the same place, so that the same command goes on with it."""
    return PROFILES_DIR / f"{name}-{hashlib.sha256(to_json(spec).encode()).hexdigest()[:8]}"


@dataclass(slots=True)
class Sweep:
    """A sweep in its folder: `finished` are the records that are there, `todo` the comparisons that are not."""

    spec: SweepSpec
    folder: Path
    steps: list[SweepStep]
    finished: list[CaseRecord]
    todo: list[SweepStep]
    mended: bool = False
    _subjects: dict[str, LoadedBundle | Failure] = field(default_factory=dict)

    def run(self, watcher: SweepObserver, *, share_machine: bool = False) -> Iterator[list[CaseRecord]]:
        """Make and measure what is still to do; each comparison's records are on the disk when they are yielded.

        Raises:
            CannotRunError: another sweep measures on this machine.
            KeyboardInterrupt: the comparison in flight is lost, all others are kept.
            StorageError: the disk is full or the place cannot be written.
        """
        limit = self.spec.measure.memory_limit_mib
        with machine(share=share_machine), Watchdog() as watchdog, locked_clocks(self.spec.measure.lock_clocks_mhz):
            log = self.folder / _LOGS_DIR / "jobs.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            scores = SweepAccuracy(self.spec, self.finished)
            with Jobs(watchdog, log, None if limit is None else limit << 20) as jobs:
                try:
                    while self.todo:
                        records = self._measure(self.todo[0], jobs, watchdog, watcher, scores)
                        append_cases(self.folder, records)
                        self._forget(self.todo.pop(0))
                        self.finished += records
                        yield records
                finally:
                    shutil.rmtree(self.folder / CACHES_DIR, ignore_errors=True)

    def _measure(
        self, step: SweepStep, jobs: Jobs, watchdog: Watchdog, watcher: SweepObserver, scores: SweepAccuracy
    ) -> list[CaseRecord]:
        """One comparison: what it needs is made, the rest is measured."""
        made = {variant.name: self._subject(variant, jobs, watcher) for variant in step.variants}
        baseline = made[step.dense.name]
        if isinstance(baseline, Failure):
            because = replace(baseline, reason=f"{step.dense.name} could not be made: {baseline.reason}")
            failures = {name: bundle if isinstance(bundle, Failure) else because for name, bundle in made.items()}
            return [self._lost(step, variant, failures[variant.name], None) for variant in step.variants]
        bundles = [bundle for name, bundle in made.items() if name != step.dense.name and isinstance(bundle, LoadedBundle)]
        planned = self._planned(step, baseline, bundles, step.batch)
        scores.take(self._planned(step, baseline, bundles, max(self.spec.batches)), jobs, watcher)
        if planned.can_run:
            watcher.begin(step.name, predicted_s([step], self.spec), predicted_s(self.todo, self.spec))
        records, interrupted = run_comparison(planned, self.spec.measure, self.folder, watchdog, watcher)
        if interrupted:
            raise KeyboardInterrupt
        if self.spec.trace:
            records = [self._traced(case, record, jobs, watcher) for case, record in zip(planned.cases, records, strict=True)]
        found = {record.label: scores.put_on(record) for record in records}
        return [
            self._named(found[variant.name], variant)
            if variant.name in found
            else self._lost(step, variant, made[variant.name], baseline)  # type: ignore[arg-type]  # a subject would have been found
            for variant in step.variants
        ]

    def _planned(self, step: SweepStep, baseline: LoadedBundle, bundles: Sequence[LoadedBundle], batch: int) -> PlannedComparison:
        (planned,) = plan(baseline, bundles, [step.config], [batch], self.spec.measure)
        return replace(planned, name=step.name)

    def _traced(self, case: PlannedCase, record: CaseRecord, jobs: Jobs, watcher: SweepObserver) -> CaseRecord:
        """Have the profiler look at a case that was timed; what it could not see is a warning, and the figures stand."""
        if record.latency is None:
            return record
        watcher.stage(f"tracing {record.label} {record.case.backend} batch {record.case.batch}")
        folder, limit_s = self.folder / TRACES_DIR, self.spec.measure.open_limit_s
        folder.mkdir(exist_ok=True)
        try:
            trace_case(
                case, folder, trace_stem(record), jobs, limit_s, inputs=self.spec.measure.inputs, seed=self.spec.measure.seed
            )
        except WorkerError as error:
            return replace(record, warnings=(*record.warnings, f"not traced: {error.message}"))
        return record

    def _subject(self, variant: Variant, jobs: Jobs, watcher: SweepObserver) -> LoadedBundle | Failure:
        """The bundle of a variant, made if it is not there, or why there is none."""
        if variant.name not in self._subjects:
            watcher.stage(f"making {variant.name}")
            folder = self.folder / BUNDLES_DIR / variant.name
            request = self._request(variant)
            try:
                jobs.export(request, folder, self.spec.stages().get(variant.name, ()), self.spec.build_limit_s)
                self._subjects[variant.name] = read_loaded_bundle(folder)
            except WorkerError as error:
                self._subjects[variant.name] = Failure.of(error)
        return self._subjects[variant.name]

    def _request(self, variant: Variant) -> ExportSpec:
        """A variant's bundle, with engines and files of other precisions if a backend wants them."""
        opened = {discover()[name.partition(":")[0]].consumes for name in self.spec.backends}
        library = self.spec.engine.library if "engine" in opened else "none"
        precisions = self.spec.precisions if opened & {"onnx", "engine"} else ("fp32",)
        return ExportSpec(
            model=variant.model,
            prune=variant.prune,
            mask=variant.mask,
            engine=replace(self.spec.engine, library=library, batches=self.spec.batches),
            precisions=precisions,
            quantize=self.spec.quantize if need_calibration(precisions) else None,
        )

    def _named(self, record: CaseRecord, variant: Variant) -> CaseRecord:
        """The record with the variant as the sweep calls it: its protocol is known to nobody else."""
        return replace(record, variant=variant)

    def _lost(self, step: SweepStep, variant: Variant, failure: Failure, baseline: LoadedBundle | None) -> CaseRecord:
        """The record of a variant that could not be made."""
        return CaseRecord(
            case=step.case(variant, self.spec),
            role="dense" if variant == step.dense else "candidate",
            index=-1,
            model=variant.model.name,
            label=variant.name,
            artifact="",
            artifact_sha256="",
            counts=None,
            dense_counts=None if baseline is None else baseline.record.receipt.after,
            status=failure.status,
            reason=failure.reason,
            fix=failure.fix,
            variant=variant,
            comparison=step.name,
            ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _forget(self, step: SweepStep) -> None:
        """Remove the bundles of which nothing is left to do, where they are not to be kept."""
        if self.spec.bundles == "keep":
            return
        wanted = {variant.name for other in self.todo if other is not step for variant in other.variants}
        for variant in step.variants:
            if variant.name not in wanted:
                self._subjects.pop(variant.name, None)
                shutil.rmtree(self.folder / BUNDLES_DIR / variant.name, ignore_errors=True)


def open_sweep(spec: SweepSpec, folder: Path, command: Sequence[str]) -> Sweep:
    """The sweep of `spec` in its folder: a new one, or the one that is there, with what is left to do.

    Raises:
        InputError, CannotRunError: as `plan_sweep`; or the data cannot be used; or the folder holds something else, or a run that was
            begun on another machine.
        StorageError: the place cannot be written.
    """
    steps = plan_sweep(spec)
    environment = capture()
    if not (folder / RUN_FILE).is_file():
        _check_methods(spec)
        require_data(spec)
        cases = tuple(step.case(variant, spec) for step in steps for variant in step.variants)
        run = RunRecord(
            id=folder.name,
            command=tuple(command),
            spec=spec.measure,
            cases=cases,
            environment=environment,
            started_at=environment.captured_at,
            sweep=spec,
        )
        create_run(folder, run)
        return Sweep(spec=spec, folder=folder, steps=steps, finished=[], todo=list(steps))
    there = read_run(folder)
    if there.record.sweep != spec:
        raise InputError(f"{folder} holds another run", fix="choose another place with --out DIR, or go on with --resume")
    changed = differences(there.record.environment, environment)
    if changed:
        raise InputError(
            f"{folder} was begun on another machine or with other libraries: {'; '.join(changed)}",
            fix="begin anew with --out DIR, and show both runs in one report",
        )
    expected = {step.name: {variant.name for variant in step.variants} for step in steps}
    finished = mend_records(there, expected)
    done = {record.comparison for record in finished}
    todo = [step for step in steps if step.name not in done]
    if todo:
        require_data(spec)
    return Sweep(
        spec=spec,
        folder=folder,
        steps=steps,
        finished=list(finished),
        todo=todo,
        mended=len(finished) < len(there.cases) or bool(there.dropped_lines),
    )


def _check_methods(spec: SweepSpec) -> None:
    """Tell a misspelt method before minutes of work, not after."""
    from prune_deploy.pruning import methods  # imports torch, which going on with a sweep need not

    for method in {method for block in spec.blocks for method in block.methods}:
        methods.create(method)


def resumed(folder: Path) -> SweepSpec:
    """What the sweep in `folder` was asked.

    Raises:
        InputError: there is no sweep in it.
    """
    sweep = read_run(folder).record.sweep
    if sweep is None:
        raise InputError(f"{folder} is a run, but not of a sweep or a curve", fix="name the folder of a sweep, profiles/…")
    return sweep
