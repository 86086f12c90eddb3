"""What can be compared with what: a bundle's artifact for each backend, or the sentence that says why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prune_deploy.backends import discover
from prune_deploy.errors import InputError
from prune_deploy.execution.candidate import Candidate, Loss
from prune_deploy.export.tensorrt_library import cuda_target
from prune_deploy.interfaces import Backend
from prune_deploy.records import Artifact, BundleRecord, Role
from prune_deploy.specs import Case, MeasureSpec, RunOptions
from prune_deploy.store import file_sha256, read_bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A bundle to measure, read and hashed; `damage` says what is wrong with it."""

    folder: Path
    record: BundleRecord
    damage: Loss | None = None

    @property
    def label(self) -> str:
        """The bundle's name in tables."""
        return self.folder.resolve().name


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCase:
    """A case of a comparison: `candidate` is what can run, `loss` why nothing can."""

    case: Case
    role: Role
    subject: Subject
    artifact: str = ""
    artifact_sha256: str = ""
    candidate: Candidate | None = None
    loss: Loss | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedComparison:
    """Cases that are measured together, the anchor first; nothing is compared across two of these."""

    name: str
    cases: tuple[PlannedCase, ...]

    @property
    def can_run(self) -> bool:
        """Whether the anchor and at least one other case can."""
        return self.cases[0].candidate is not None


def read_subject(folder: Path) -> Subject:
    """Read a bundle and hash its files, so that what is timed is what was made.

    Raises:
        InputError: the folder is no bundle.
    """
    record = read_bundle(folder)
    for artifact in record.artifacts:
        path = folder / artifact.name
        if not path.is_file():
            return _damaged(folder, record, f"{artifact.name} is missing")
        if file_sha256(path) != artifact.sha256:
            return _damaged(folder, record, f"{artifact.name} is not the file that was exported: its hash differs")
    return Subject(folder=folder, record=record)


def _damaged(folder: Path, record: BundleRecord, what: str) -> Subject:
    loss = Loss(status="failed", reason=what, fix="restore the bundle, or export it again with --force")
    return Subject(folder=folder, record=record, damage=loss)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to run: a backend, its variant, and a precision."""

    backend: Backend
    variant: str
    precision: str

    @property
    def label(self) -> str:
        """As the command line spells it."""
        return f"{self.backend.name}:{self.variant}" if self.variant else self.backend.name


def parse_ways(names: Sequence[str], precisions: Sequence[str]) -> tuple[Way, ...]:
    """Ways to run for names such as "eager", "trt" (all that it reports) and "trt:cuda-graph", in every precision.

    Raises:
        InputError: an unknown backend or variant.
    """
    ways = []
    for name in names:
        base, _, variant = name.partition(":")
        if base not in discover():
            raise InputError(f"unknown backend {base!r}", fix=f"one of {', '.join(discover())}")
        backend = discover()[base]
        if variant and variant not in backend.variants:
            known = ", ".join(f"{base}:{each}" for each in backend.variants if each) or f"{base} alone"
            raise InputError(f"backend {base} has no variant {variant!r}", fix=f"ask for {known}")
        for each in (variant,) if variant else backend.reported:
            ways += [Way(backend=backend, variant=each, precision=precision) for precision in precisions]
    if len({(way.label, way.precision) for way in ways}) < len(ways):
        raise InputError(f"--backends names one twice: {','.join(names)}", fix="name each backend once")
    return tuple(ways)


def plan(
    anchor: Subject, others: Sequence[Subject], ways: Sequence[Way], batches: Sequence[int], spec: MeasureSpec, *, across: bool
) -> list[PlannedComparison]:
    """The comparisons of one dense model with its pruned bundles: one per way and batch, or one per batch with `across`."""
    subjects = (anchor, *others)
    planned = []
    for batch in batches:
        if across:
            cases = [_plan_case(subject, way, batch, spec) for way in ways for subject in subjects]
            planned.append(_comparison(f"{anchor.label}-across-b{batch}", cases))
            continue
        for way in ways:
            name = f"{anchor.label}-{way.label.replace(':', '-')}-{way.precision}-b{batch}"
            planned.append(_comparison(name, [_plan_case(subject, way, batch, spec) for subject in subjects]))
    return planned


def _comparison(name: str, cases: list[PlannedCase]) -> PlannedComparison:
    """The first case that can run is the anchor when several backends are compared; with one backend it is the dense model."""
    return PlannedComparison(name=name, cases=(replace(cases[0], role="dense"), *cases[1:]))


def _plan_case(subject: Subject, way: Way, batch: int, spec: MeasureSpec) -> PlannedCase:
    options = replace(spec.options, variant=way.variant)
    case = Case(bundle=subject.label, backend=way.backend.name, precision=way.precision, batch=batch, options=options)
    if subject.damage is not None:
        return PlannedCase(case=case, role="candidate", subject=subject, loss=subject.damage)
    state = way.backend.available()
    try:
        artifact = _artifact(subject, way, batch)
    except InputError as error:
        loss = Loss(status="unavailable", reason=error.message, fix=error.fix)
        return PlannedCase(case=case, role="candidate", subject=subject, loss=loss)
    reason = _why_not(artifact, state.reason)
    unusable = None if state.available else Loss(status="unavailable", reason=reason, fix=state.fix)
    return PlannedCase(
        case=case,
        role="candidate",
        subject=subject,
        artifact=artifact.name,
        artifact_sha256=artifact.sha256,
        candidate=_candidate(subject, artifact, way, batch, options) if unusable is None else None,
        loss=unusable,
    )


def _why_not(artifact: Artifact, reason: str) -> str:
    """An engine that cannot run here says at least that it was built."""
    if artifact.engine is None:
        return reason
    return f"engine built by {artifact.engine.library} for {artifact.engine.target}; not timed: {reason}"


def _candidate(subject: Subject, artifact: Artifact, way: Way, batch: int, options: RunOptions) -> Candidate:
    size = subject.record.preprocessing.input_size
    opens_folder = way.backend.consumes in ("module", "nothing")
    return Candidate(
        label=f"{subject.label} {way.label}",
        role="candidate",
        backend=way.backend.name,
        artifact=subject.folder if opens_folder else subject.folder / artifact.name,
        shape=(batch, *size),
        options=options,
        needs_own_process=way.backend.needs_own_process,
    )


def _artifact(subject: Subject, way: Way, batch: int) -> Artifact:
    """The file that a backend opens.

    Raises:
        InputError: the bundle has none of that kind, precision, target or batch.
    """
    role = {"module": "weights", "nothing": "weights", "onnx": "onnx", "engine": "engine"}[way.backend.consumes]
    files = [artifact for artifact in subject.record.artifacts if artifact.role == role]
    if role == "weights":
        if way.precision != "fp32":
            raise InputError(f"{way.backend.name} runs fp32 only", fix="measure it with --precisions fp32")
        return files[0]
    fitting = [artifact for artifact in files if artifact.precision == way.precision]
    if not fitting:
        there = f", only {', '.join(str(artifact.precision) for artifact in files)}" if files else ""
        missing = f"the bundle has no {way.precision} {role}{there}"
        state = way.backend.available()
        if not state.available:  # an engine would not help
            raise InputError(f"{state.reason}; {missing}", fix=state.fix)
        raise InputError(missing, fix=f"export the bundle again with its {role}")
    return fitting[0] if role == "onnx" else _engine(fitting, batch)


def _engine(engines: Sequence[Artifact], batch: int) -> Artifact:
    """The engine for the GPU that is here; without one, the first, whose row will say why it was not timed.

    Raises:
        InputError: none was built for this GPU, or none of its profiles takes the batch.
    """
    local = cuda_target()
    fitting = [artifact for artifact in engines if artifact.engine is not None and local in (None, artifact.engine.target)]
    if not fitting or fitting[0].engine is None:
        built = ", ".join(artifact.engine.target for artifact in engines if artifact.engine is not None)
        raise InputError(f"engine built for {built}; the GPU here is {local}", fix=f"export the bundle with --target {local}")
    profiles = fitting[0].engine.profiles
    if not any(profile.minimum <= batch <= profile.maximum for profile in profiles):
        taken = ", ".join(str(profile.optimum) for profile in profiles)
        raise InputError(f"batch {batch} is outside the engine's profiles ({taken})", fix=f"export it with --batch …:{batch}")
    return fitting[0]
