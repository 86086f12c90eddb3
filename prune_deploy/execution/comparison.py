"""One comparison from its plan to its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from prune_deploy.errors import storage_errors
from prune_deploy.execution.candidate import Candidate, memory_of, startup_of
from prune_deploy.execution.costs import expected_of
from prune_deploy.execution.device_memory import parts_that_fit
from prune_deploy.execution.failure import Failure, with_failure
from prune_deploy.execution.planning import PlannedCase, PlannedComparison, planning_warnings
from prune_deploy.execution.telemetry import free_device_bytes, summarize
from prune_deploy.execution.worker_group import WorkerGroup, placement
from prune_deploy.execution.workers.process import Watchdog
from prune_deploy.interfaces import Progress
from prune_deploy.measure.analysis import analyze
from prune_deploy.measure.comparison import Comparison
from prune_deploy.measure.samples import Block, Samples, pack
from prune_deploy.records import NO_DENSE_SPEEDUP, CaseRecord, ComparisonStats
from prune_deploy.runs import write_samples
from prune_deploy.specs import MeasureSpec, Variant

CACHES_DIR = "caches"
"""Folder of compilers' caches within a run. A session removes it when it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A comparison that ran: its group, its samples and their statistics."""

    group: WorkerGroup
    samples: Samples
    stats: ComparisonStats
    samples_file: str
    samples_sha256: str
    interrupted: bool


class ComparisonInterrupted(KeyboardInterrupt):
    """Reports an interruption while a comparison was measured.

    `records` are those of the samples until then.
    """

    def __init__(self, records: Sequence[CaseRecord]) -> None:
        super().__init__()
        self.records = tuple(records)


def run_comparison(
    planned: PlannedComparison, spec: MeasureSpec, folder: Path, watchdog: Watchdog, progress: Progress
) -> list[CaseRecord]:
    """Measure the cases that can run.

    A record is returned for each case, in the plan's order. Samples and logs go to the run's `folder`.

    Raises:
        ComparisonInterrupted: Ctrl-C or SIGTERM interrupted the measuring. The samples until then are kept.
        StorageError: the disk is full or the place cannot be written.
    """
    running = [case for case in planned.cases if case.candidate is not None]
    if not planned.can_run:
        return [_not_run(planned, case) for case in planned.cases]
    parts = _parts(running, spec)
    found: dict[int, CaseRecord] = {}
    interrupted = False
    for number, part in enumerate(parts, start=1):
        if not interrupted:
            name = planned.name if number == 1 else f"{planned.name}-part{number}"
            measured = _measure(name, part, spec, folder, watchdog, progress)
            interrupted = measured.interrupted
            records = [_record(planned, case, index, measured, spec) for index, case in enumerate(part)]
        else:
            records = [_interrupted(base_record(planned, case, index=-1)) for case in part]
        for case, record in zip(part, records, strict=True):
            found.setdefault(id(case), _with_part(record, number, len(parts)))  # the baseline's is that of the first part
    every = [found.get(id(case)) or _not_run(planned, case) for case in planned.cases]
    if interrupted:
        raise ComparisonInterrupted(every)
    return every


def _parts(running: Sequence[PlannedCase], spec: MeasureSpec) -> list[list[PlannedCase]]:
    """Divide the cases into parts that fit the GPU's memory.

    The baseline is the first of each.
    """
    if spec.options.device == "cpu":
        return [list(running)]
    candidates = [case.candidate for case in running if case.candidate is not None]
    shared = placement(spec, candidates) == "shared"
    return [[running[number] for number in part] for part in parts_that_fit(candidates, free_device_bytes(), shared=shared)]


def _measure(
    name: str, cases: Sequence[PlannedCase], spec: MeasureSpec, folder: Path, watchdog: Watchdog, progress: Progress
) -> Measured:
    """Measure cases beside the first of them, and write their samples."""
    candidates = _with_copy(cases)
    logs = folder / "logs" / name
    with storage_errors(logs, every=True):
        logs.mkdir(parents=True, exist_ok=True)  # a comparison that a kill cut short is measured again
    group = WorkerGroup(candidates, spec, watchdog, logs=logs, caches=folder / CACHES_DIR)
    labels, roles = [candidate.label for candidate in candidates], [candidate.role for candidate in candidates]
    comparison = Comparison(group, labels, roles, spec, progress, expected=expected_of(cases, spec))
    interrupted = False
    try:
        comparison.run()
    except KeyboardInterrupt:
        interrupted = True
    samples = comparison.samples()
    samples_file, digest = write_samples(folder, name, pack(samples))
    return Measured(
        group=group,
        samples=samples,
        stats=analyze(samples),
        samples_file=samples_file,
        samples_sha256=digest,
        interrupted=interrupted,
    )


def _with_part(record: CaseRecord, number: int, parts: int) -> CaseRecord:
    """Add a warning to a record of a later part."""
    if number == 1:
        return record
    warning = (
        f"measured in part {number} of {parts}, which did not fit the GPU's memory at once: against the dense model of that part"
    )
    return replace(record, warnings=(*record.warnings, warning))


def _with_copy(running: Sequence[PlannedCase]) -> list[Candidate]:
    """Return the candidates with their roles, and the baseline's copy A′.

    The copy is the baseline's artifact, opened a second time.
    """
    candidates = [replace(case.candidate, role=case.role) for case in running if case.candidate is not None]
    return [*candidates, replace(candidates[0], role="copy", label=f"{candidates[0].label} (copy)")]


def base_record(planned: PlannedComparison, case: PlannedCase, index: int) -> CaseRecord:
    """Return the record of a case before it runs."""
    request, receipt, artifact = case.bundle.record.request, case.bundle.record.receipt, case.artifact
    return CaseRecord(
        case=case.case,
        role=case.role,
        index=index,
        model=case.bundle.record.model.name,
        label=case.bundle.label,
        artifact="" if artifact is None else artifact.name,
        artifact_sha256="" if artifact is None else artifact.sha256,
        counts=receipt.after,
        dense_counts=planned.cases[0].bundle.record.receipt.after,
        status="ok",
        variant=Variant(model=request.model, prune=request.prune, mask=request.mask),
        weights=case.bundle.record.weights_label,
        is_untrained=case.bundle.record.is_untrained,
        artifact_bytes=None if artifact is None else case.bundle.record.bytes_on_disk(artifact),
        nonzero_params=receipt.nonzero_params,
        share=None if artifact is None else (artifact.share if artifact.engine is None else artifact.engine.share),
        quantize=request.quantize if case.case.precision == "int8" else None,
        warnings=(*_mask_warning(case), *planning_warnings(case)),
        comparison=planned.name,
        comparison_cases=len(planned.cases),
        across=planned.across,
        ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _not_run(planned: PlannedComparison, case: PlannedCase) -> CaseRecord:
    """Return the record of a case that did not run.

    It could not run itself, or its baseline could not.
    """
    baseline = planned.cases[0]
    failure = case.failure
    if failure is None:
        assert baseline.failure is not None, "a case without a failure and with a baseline runs"
        reason = f"{baseline.case.bundle} cannot run: {baseline.failure.reason}"
        failure = Failure(status="unavailable", reason=reason, fix=baseline.failure.fix)
    return with_failure(base_record(planned, case, index=-1), failure)


def telemetry_of(blocks: Sequence[Block]) -> dict[str, float]:
    """Summarise the readings of a candidate's timed blocks.

    `energy_per_run_j` is of one run, over the blocks in which the GPU's counter was read.
    """
    counted = [block for block in blocks if "energy_mj" in block.readings]
    runs = sum(block.samples_ns.size for block in counted)
    energy = {"energy_per_run_j": sum(block.readings["energy_mj"] for block in counted) / 1e3 / runs} if runs else {}
    return summarize([block.readings for block in blocks]) | energy


def _record(planned: PlannedComparison, case: PlannedCase, index: int, measured: Measured, spec: MeasureSpec) -> CaseRecord:
    """Return the record of a case that ran, or at least began."""
    outcome = measured.group.outcomes[index]
    stats = measured.stats.candidates[index]
    base = replace(
        base_record(planned, case, index),
        startup=startup_of(outcome, compiles=case.candidate is not None and case.candidate.compiles),
        memory=memory_of(outcome, spec),
        settings=outcome.settings | ({"outputs": outcome.outputs} if outcome.outputs else {}),
        telemetry=telemetry_of([b for b in measured.samples.blocks if b.candidate == index and b.phase == "timed"]),
        telemetry_notes=measured.group.telemetry_notes,
        placement=measured.group.placement,
        samples_file=measured.samples_file,
        samples_sha256=measured.samples_sha256,
    )
    if outcome.failure is not None:
        return with_failure(base, outcome.failure)
    if stats is None:
        return _untimed(base, measured)
    inconclusive = stats.speedup is not None and stats.speedup.verdict == "INCONCLUSIVE"
    return replace(
        base,
        status="inconclusive" if inconclusive else "ok",
        latency=stats.latency,
        speedup=stats.speedup,
        dense_against_copy=measured.stats.dense_against_copy,
        warnings=(*base.warnings, *stats.warnings, *_copy_warning(measured)),
    )


def _untimed(base: CaseRecord, measured: Measured) -> CaseRecord:
    """Return the record of a case that was opened and never timed.

    Its baseline failed, or all candidates of its comparison did, or the user interrupted it.
    """
    baseline, *others, _ = measured.group.outcomes
    failure = baseline.failure
    if failure is None and others and all(other.failure is not None for other in others):
        return replace(
            base, status="unavailable", reason="nothing was left to compare it with", fix="see the other cases of this comparison"
        )
    if failure is None:
        return _interrupted(base)
    return replace(base, status=failure.status, reason=f"the model it is compared with failed: {failure.reason}", fix=failure.fix)


def _interrupted(base: CaseRecord) -> CaseRecord:
    return replace(base, status="failed", reason="interrupted before it was timed", fix="measure again")


def _mask_warning(case: PlannedCase) -> tuple[str, ...]:
    """Warn that zeroed weights make nothing faster.

    An engine with kernels for sparse weights is the exception.
    """
    if case.bundle.record.receipt.mask is None:
        return ()
    engine = None if case.artifact is None else case.artifact.engine
    if engine is not None and engine.sparse_layers:
        return (f"kernels for 2:4 sparse weights in {engine.sparse_layers} layers of the engine",)
    return (NO_DENSE_SPEEDUP,)


def _copy_warning(measured: Measured) -> tuple[str, ...]:
    """Warn that the A/A control was lost.

    The margin then rests on nothing that was measured.
    """
    failure = measured.group.outcomes[-1].failure
    return () if failure is None else (f"no A/A control: {failure.reason}",)
