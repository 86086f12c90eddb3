"""Accuracy of bundles' artifacts on labelled images.

Each artifact is evaluated in its precision, beside its agreement with the bundle's FP32 module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from prune_deploy.errors import CannotRunError, InputError, VerificationError
from prune_deploy.execution.accuracy import AccuracyRequest
from prune_deploy.execution.failure import Failure, with_failure
from prune_deploy.execution.loaded_bundle import LoadedBundle, read_loaded_bundle
from prune_deploy.execution.planning import PlannedCase, RunConfig, parse_run_configs, plan_case
from prune_deploy.execution.workers.process import WorkerError
from prune_deploy.files import resolved
from prune_deploy.interfaces import Progress
from prune_deploy.records import Accuracy, Status
from prune_deploy.specs import MeasureSpec, Precision, RunOptions
from prune_deploy.specs.checked import checked
from prune_deploy.workflows.session import MeasuringSession

BATCH = 32
"""Images per run, unless another number is asked for."""

_LOG = Path("scoring.log")


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """Bundles to evaluate by backends and precisions.

    At most `samples` images of `data` are used. No `precisions` are all that a bundle has files for, and FP32. Modules are then run in
    FP32 only. `batch` None is BATCH, or the nearest that an engine was built for.
    """

    bundles: tuple[Path, ...]
    backends: tuple[str, ...]
    precisions: tuple[str, ...] = ()
    data: str
    data_samples: int | None = None
    batch: int | None = None
    limit_s: float = 3600.0
    memory_limit_mib: int | None = None
    options: RunOptions = field(default_factory=RunOptions)

    def __post_init__(self) -> None:
        for name, number in (("data_samples", self.data_samples), ("batch", self.batch)):
            if number is not None and number < 1:
                raise InputError(f"`{name}` must be at least 1, got {number}", fix=f"leave `{name}` out", field=name)
        if not self.backends:
            raise InputError("no backend is named", fix="for example `backends=('eager', 'ort')`", field="backends")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """The accuracy of one artifact, or the reason why there is none.

    `artifact` is the file, "" where the bundle has none. `layers` says how many layers computed in the precision, "" where they
    were not counted.
    """

    bundle: str
    artifact: str
    backend: str
    precision: str
    batch: int
    layers: str = ""
    status: Status = "ok"
    reason: str = ""
    fix: str = ""
    accuracy: Accuracy | None = None
    settings: dict[str, str] = field(default_factory=dict)


def plan_evaluation(request: EvaluationRequest) -> list[PlannedCase]:
    """Plan the artifacts to evaluate, each bundle's together.

    Raises:
        InputError: a folder is no bundle, a backend or precision is unknown, or the data cannot be opened.
        VerificationError: the bundle's files are not those that were exported.
        CannotRunError: nothing of what was asked for can run here.
    """
    from prune_deploy.data import open_images  # imports torch

    bundles = [read_loaded_bundle(folder) for folder in dict.fromkeys(resolved(path) for path in request.bundles)]
    parse_run_configs(request.backends, request.precisions or ("fp32",))  # what is misspelt is told before files are looked for
    open_images(request.data)  # is told before anything is opened
    planned = [case for bundle in bundles for case in _cases(bundle, request)]
    if not any(case.candidate is not None for case in planned):
        failure = planned[0].failure
        assert failure is not None, "a case without a candidate says why"
        error = CannotRunError if failure.status == "unavailable" else VerificationError
        raise error(failure.reason, fix=failure.fix)
    return planned


def _cases(bundle: LoadedBundle, request: EvaluationRequest) -> Iterator[PlannedCase]:
    configs = parse_run_configs(request.backends, request.precisions or _precisions_of(bundle))
    spec = MeasureSpec(options=request.options)
    for config in configs:
        if not request.precisions and config.backend.consumes == "module" and config.precision != "fp32":
            continue  # no file of the bundle has this precision, and on a CPU it may take a hundred times as long
        batch = request.batch or _batch_for(bundle, config)
        yield plan_case(bundle, config, batch, spec)


def _precisions_of(bundle: LoadedBundle) -> list[Precision]:
    """FP32, which the module always has, and those of the bundle's files."""
    there = {"fp32", *(artifact.precision for artifact in bundle.record.artifacts)}
    return [precision for precision in get_args(Precision) if precision in there]


def _batch_for(bundle: LoadedBundle, config: RunConfig) -> int:
    """Return BATCH, or for an engine the nearest of its batch sizes."""
    if config.backend.consumes != "engine":
        return BATCH
    engines = [each.engine for each in bundle.record.artifacts if each.engine is not None and each.precision == config.precision]
    sizes = [profile.optimum for engine in engines for profile in engine.profiles]
    return min(sizes, key=lambda size: abs(size - BATCH), default=BATCH)


def evaluate_all(planned: Sequence[PlannedCase], request: EvaluationRequest, progress: Progress) -> Iterator[EvaluationRow]:
    """Take the accuracy of planned artifacts, one after the other.

    It is done in a child process, and what takes that down costs its own row only. A child that crashed
    leaves its log, which its row's fix names.
    """
    accuracy_request = AccuracyRequest(data=request.data, samples=request.data_samples, limit_s=request.limit_s, agreement=True)
    with MeasuringSession.open(MeasureSpec(memory_limit_mib=request.memory_limit_mib), log=_LOG) as session:
        for case in planned:
            row = _evaluate(case, accuracy_request, session, progress)
            if case.candidate is not None and case.candidate.needs_own_process:
                session.builder.end()
            yield row


def _evaluate(
    case: PlannedCase, accuracy_request: AccuracyRequest, session: MeasuringSession, progress: Progress
) -> EvaluationRow:
    row = _row(case)
    if case.candidate is None:
        return row
    progress.stage("evaluate", f"{row.bundle} {row.backend} {row.precision} on {accuracy_request.data}")
    try:
        accuracy, settings = session.accuracy(case, accuracy_request)
    except WorkerError as error:
        failed = with_failure(row, Failure.of(error))
        return replace(failed, fix="lower `data_samples`, or raise `limit_s`") if error.status == "timeout" else failed
    return replace(row, accuracy=accuracy, settings=settings, layers=settings.get("precision_layers", row.layers))


def _row(case: PlannedCase) -> EvaluationRow:
    artifact, options = case.artifact, case.case.options
    share = None if artifact is None or artifact.engine is None else artifact.engine.share
    base = EvaluationRow(
        bundle=case.bundle.label,
        artifact="" if artifact is None else artifact.name,
        backend=f"{case.case.backend}:{options.variant}" if options.variant else case.case.backend,
        precision=case.case.precision,
        batch=case.case.batch,
        layers="" if share is None else share.text,
    )
    return base if case.failure is None else with_failure(base, case.failure)
