"""Sweeps over models, methods and ratios, one comparison after the other.

A kill at any moment costs at most one of them.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from prune_deploy.backends import discover
from prune_deploy.environment import capture
from prune_deploy.errors import InputError
from prune_deploy.execution.failure import Failure
from prune_deploy.execution.loaded_bundle import LoadedBundle
from prune_deploy.execution.planning import PlannedCase, plan_comparison
from prune_deploy.execution.workers.process import WorkerError
from prune_deploy.interfaces import Progress
from prune_deploy.records import CaseRecord, Environment, to_json
from prune_deploy.runs import PROFILES_DIR, RUN_FILE, SoleWriter, mend_records, read_run, trace_stem
from prune_deploy.specs import ExportSpec, SweepSpec, Variant, need_calibration
from prune_deploy.workflows.forecast import Forecast
from prune_deploy.workflows.session import MeasuringSession, begin_run
from prune_deploy.workflows.sweep_accuracy import SweepAccuracy, require_data
from prune_deploy.workflows.sweep_plan import SweepStep, plan_sweep, sweep_tasks
from prune_deploy.workflows.trace import trace_name

BUNDLES_DIR = "bundles"


def folder_of(spec: SweepSpec, name: str) -> Path:
    """Return the default folder of a sweep.

    The same request has the same place, so that the same command goes on with it.
    """
    return PROFILES_DIR / f"{name}-{hashlib.sha256(to_json(spec).encode()).hexdigest()[:8]}"


@dataclass(slots=True)
class Sweep:
    """A sweep in its folder.

    `finished` are the records that are there, `todo` the comparisons that are not.
    """

    spec: SweepSpec
    folder: Path
    steps: list[SweepStep]
    finished: list[CaseRecord]
    todo: list[SweepStep]
    mended: bool = False
    _bundles: dict[str, LoadedBundle | Failure] = field(default_factory=dict)
    _writer: SoleWriter | None = None

    def forecast(self, progress: Progress) -> Forecast:
        """Return the forecast of what is still to do."""
        return Forecast(progress, sweep_tasks(self.todo, self.spec))

    def run(self, forecast: Forecast, *, share_machine: bool = False) -> Iterator[list[CaseRecord]]:
        """Make and measure what is still to do.

        Each comparison's records are on the disk when they are yielded.

        Raises:
            CannotRunError: another sweep measures on this machine.
            KeyboardInterrupt: the comparison in flight is lost, all others are kept.
            StorageError: the disk is full or the place cannot be written.
        """
        accuracies = SweepAccuracy(self.spec, self.finished)
        with (
            self._writer or nullcontext(),
            MeasuringSession.open(self.spec.measure, self.folder, exclusive=not share_machine) as session,
        ):
            while self.todo:
                records = self._measure(self.todo[0], session, forecast, accuracies)
                session.append(records)
                self._forget(self.todo.pop(0))
                forecast.keep([task.key for task in sweep_tasks(self.todo, self.spec)])
                self.finished += records
                yield records

    def _measure(
        self, step: SweepStep, session: MeasuringSession, forecast: Forecast, accuracies: SweepAccuracy
    ) -> list[CaseRecord]:
        """Make what one comparison needs, and measure it."""
        bundle_of = {variant.name: self._bundle(variant, session, forecast) for variant in step.variants}
        baseline = bundle_of[step.dense.name]
        if isinstance(baseline, Failure):
            because = replace(baseline, reason=f"{step.dense.name} could not be made: {baseline.reason}")
            failures = {name: bundle if isinstance(bundle, Failure) else because for name, bundle in bundle_of.items()}
            return [self._lost(step, variant, failures[variant.name], None) for variant in step.variants]
        bundles = [bundle for name, bundle in bundle_of.items() if name != step.dense.name and isinstance(bundle, LoadedBundle)]
        planned, largest = (
            plan_comparison(step.name, (baseline, *bundles), [step.config], batch, self.spec.measure)
            for batch in (step.batch, max(self.spec.batches))
        )
        accuracies.take(largest, session, forecast)
        if planned.can_run:
            forecast.begin("measure", step.name)
        records = session.measure(planned, forecast)
        forecast.end()
        if self.spec.trace:
            records = [self._traced(case, record, session, forecast) for case, record in zip(planned.cases, records, strict=True)]
        measured = {record.label: accuracies.put_on(record) for record in records}
        return [
            # Only the sweep knows the protocol of a variant.
            replace(measured[variant.name], variant=variant, comparison_cases=len(step.variants))
            if variant.name in measured
            else self._lost(step, variant, bundle_of[variant.name], baseline)  # type: ignore[arg-type]  # a bundle was measured
            for variant in step.variants
        ]

    def _traced(self, case: PlannedCase, record: CaseRecord, session: MeasuringSession, forecast: Forecast) -> CaseRecord:
        """Trace a case that was timed.

        Without a trace it has a warning, and the figures stand.
        """
        if record.latency is None:
            return record
        forecast.begin("trace", trace_name(case.case))
        try:
            session.trace(case, trace_stem(record))
        except WorkerError as error:
            return replace(record, warnings=(*record.warnings, f"not traced: {error.message}"))
        finally:
            forecast.end()
        return record

    def _bundle(self, variant: Variant, session: MeasuringSession, forecast: Forecast) -> LoadedBundle | Failure:
        """Make the bundle of a variant, or return why there is none."""
        if variant.name not in self._bundles:
            forecast.begin("make bundle", variant.name)
            folder, stages = self.folder / BUNDLES_DIR / variant.name, self.spec.stages().get(variant.name, ())
            try:
                self._bundles[variant.name] = session.export(
                    self._request(variant), folder, stages, limit_s=self.spec.build_limit_s
                )
            except WorkerError as error:
                self._bundles[variant.name] = Failure.of(error)
            forecast.end()
        return self._bundles[variant.name]

    def _request(self, variant: Variant) -> ExportSpec:
        """Return the request of a variant's bundle.

        It has engines and files of other precisions if a backend opens them.
        """
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
            comparison_cases=len(step.variants),
            ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _forget(self, step: SweepStep) -> None:
        """Remove the bundles of which nothing is left to do.

        Nothing is removed where bundles are kept.
        """
        if self.spec.bundles == "keep":
            return
        still_needed = {variant.name for other in self.todo if other is not step for variant in other.variants}
        for variant in step.variants:
            if variant.name not in still_needed:
                self._bundles.pop(variant.name, None)
                shutil.rmtree(self.folder / BUNDLES_DIR / variant.name, ignore_errors=True)


def open_sweep(spec: SweepSpec, folder: Path, command: Sequence[str]) -> Sweep:
    """Open the sweep of `spec` in its folder.

    It is a new one, or the one that is there, with what is left to do.

    Raises:
        InputError, CannotRunError: as `plan_sweep`. Or the data cannot be used, or the folder holds something else, or a run that was
            begun on another machine.
        StorageError: the place cannot be written.
    """
    steps = plan_sweep(spec)
    environment = capture()
    if not (folder / RUN_FILE).is_file():
        _check_methods(spec)
        require_data(spec)
        cases = [step.case(variant, spec) for step in steps for variant in step.variants]
        begin_run(folder, spec.measure, cases, command=command, sweep=spec, environment=environment)
        return Sweep(spec=spec, folder=folder, steps=steps, finished=[], todo=list(steps), _writer=SoleWriter(folder))
    writer = SoleWriter(folder)  # before anything is read: what another process adds meanwhile would be taken for damage
    try:
        return _there(spec, folder, steps, environment, writer)
    except BaseException:
        writer.release()
        raise


def _there(spec: SweepSpec, folder: Path, steps: list[SweepStep], environment: Environment, writer: SoleWriter) -> Sweep:
    """Return the sweep in the folder, with what is left to do."""
    there = read_run(folder)
    if there.record.sweep != spec:
        raise InputError(f"{folder} holds another run", fix="choose another place with `out=DIR`, or go on with `resume`")
    changed = there.record.environment.differences(environment)
    if changed:
        raise InputError(
            f"{folder} was begun on another machine or with other libraries: {'; '.join(changed)}",
            fix="begin anew with `out=DIR`, and show both runs in one report",
        )
    expected = {step.name: {variant.name for variant in step.variants} for step in steps}
    finished = mend_records(there, expected)
    done = {record.comparison for record in finished}
    todo = [step for step in steps if step.name not in done]
    if todo:
        require_data(spec)
    else:
        writer.release()
    return Sweep(
        spec=spec,
        folder=folder,
        steps=steps,
        finished=list(finished),
        todo=todo,
        mended=len(finished) < len(there.cases) or bool(there.dropped_lines),
        _writer=writer,
    )


def _check_methods(spec: SweepSpec) -> None:
    """Tell a misspelt method before minutes of work, not after."""
    from prune_deploy.pruning import methods  # imports torch, which going on with a sweep need not

    for method in {method for block in spec.blocks for method in block.methods}:
        methods.create(method)


def resumed(folder: Path) -> SweepSpec:
    """Return the request of the sweep in `folder`.

    Raises:
        InputError: there is no sweep in it.
    """
    sweep = read_run(folder).record.sweep
    if sweep is None:
        raise InputError(f"{folder} is a run, but not of a sweep or a curve", fix="name the folder of a sweep, profiles/…")
    return sweep
