"""What can be compared with what: a bundle's artifact for each backend, or the sentence that says why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from prune_deploy.backends import discover
from prune_deploy.errors import InputError
from prune_deploy.execution.candidate import Candidate, Loss
from prune_deploy.export.tensorrt.library import cuda_target
from prune_deploy.interfaces import Backend
from prune_deploy.records import LATENCY_ONLY, RTX_INT8, Artifact, BundleRecord, Role
from prune_deploy.specs import Across, Case, MeasureSpec, Precision, RunOptions
from prune_deploy.store import file_sha256, read_bundle

_MODULE_PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "fp16", "bf16")
"""What a module can be cast to."""


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
    """A case of a comparison: `candidate` is what can run, `loss` why nothing can; `artifact` is None where the bundle has none."""

    case: Case
    role: Role
    subject: Subject
    artifact: Artifact | None = None
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
    precision: Precision

    @property
    def label(self) -> str:
        """As the command line spells it."""
        return f"{self.backend.name}:{self.variant}" if self.variant else self.backend.name


def parse_ways(names: Sequence[str], precisions: Sequence[str]) -> tuple[Way, ...]:
    """Ways to run for names such as "eager", "trt" (all that it reports) and "trt:cuda-graph", in every precision.

    Raises:
        InputError: an unknown backend, variant or precision, or one that is named twice.
    """
    strangers = [precision for precision in precisions if precision not in get_args(Precision)]
    if strangers or not precisions:
        known = ", ".join(get_args(Precision))
        raise InputError(f"unknown precision {strangers[0]!r}" if strangers else "no precision is named", fix=f"some of {known}")
    kinds = tuple(precision for precision in get_args(Precision) if precision in precisions)
    ordered = sorted(kinds, key=precisions.index)
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
            ways += [Way(backend=backend, variant=each, precision=precision) for precision in ordered]
    if len({(way.label, way.precision) for way in ways}) < len(ways):
        raise InputError(f"--backends names one twice: {','.join(names)}", fix="name each backend once")
    return tuple(ways)


def plan(
    anchor: Subject,
    others: Sequence[Subject],
    ways: Sequence[Way],
    batches: Sequence[int],
    spec: MeasureSpec,
    *,
    across: Across = "",
) -> list[PlannedComparison]:
    """The comparisons of one dense model with its pruned bundles: one per way and batch.

    Across "backends" all ways are in one comparison per batch, across "precisions" all precisions of a backend are; the anchor is the
    dense model in the first of them.
    """
    together: dict[str, list[Way]] = {}
    for way in ways:
        label = way.label.replace(":", "-")
        name = {"": f"{label}-{way.precision}", "precisions": f"{label}-across-precisions", "backends": "across"}[across]
        together.setdefault(name, []).append(way)
    return [
        _comparison(
            f"{anchor.label}-{name}-b{batch}",
            [_plan_case(subject, way, batch, spec) for way in group for subject in (anchor, *others)],
        )
        for batch in batches
        for name, group in together.items()
    ]


def _comparison(name: str, cases: list[PlannedCase]) -> PlannedComparison:
    """The first case that can run is the anchor when several backends are compared; with one backend it is the dense model."""
    return PlannedComparison(name=name, cases=(replace(cases[0], role="dense"), *cases[1:]))


def _plan_case(subject: Subject, way: Way, batch: int, spec: MeasureSpec) -> PlannedCase:
    options = replace(spec.options, variant=way.variant, precision=way.precision)
    case = Case(bundle=subject.label, backend=way.backend.name, precision=way.precision, batch=batch, options=options)
    if subject.damage is not None:
        return PlannedCase(case=case, role="candidate", subject=subject, loss=subject.damage)
    state = way.backend.available()
    if way.precision == "tf32" and options.device == "cpu" and way.backend.consumes != "engine":
        loss = Loss(
            status="unavailable", reason="TF32 is a GPU's: on the CPU there is none", fix="measure fp32, or use --device cuda"
        )
        return PlannedCase(case=case, role="candidate", subject=subject, loss=loss)
    try:
        artifact = artifact_for(subject, way, batch)
    except InputError as error:
        loss = Loss(status="unavailable", reason=error.message, fix=error.fix)
        return PlannedCase(case=case, role="candidate", subject=subject, loss=loss)
    unusable = None
    if not state.available:
        unusable = Loss(status="unavailable", reason=_why_not(artifact, state.reason), fix=state.fix)
    return PlannedCase(
        case=case,
        role="candidate",
        subject=subject,
        artifact=artifact,
        candidate=_candidate(subject, artifact, way, batch, options) if unusable is None else None,
        loss=unusable,
    )


def remarks(case: PlannedCase) -> tuple[str, ...]:
    """What a reader of a quantised case's figures must know."""
    artifact = case.artifact
    if artifact is None or case.case.precision != "int8":
        return ()
    found = []
    sources = [each.quantization for each in case.subject.record.artifacts if each.quantization is not None]
    if any(each.calibration is not None and each.calibration.is_synthetic for each in sources):
        found.append(f"INT8 {LATENCY_ONLY}")
    if artifact.engine is not None and artifact.engine.library == "TensorRT-RTX":
        found.append(RTX_INT8)
    return tuple(found)


def _why_not(artifact: Artifact, reason: str) -> str:
    """An engine that cannot run here says at least that it was built, and what its layers compute in."""
    engine = artifact.engine
    if engine is None:
        return reason
    share = "" if engine.share is None else f", {engine.precision} in {engine.share.text} layers"
    return f"engine built by {engine.library} for {engine.target}{share}; not timed: {reason}"


def _candidate(subject: Subject, artifact: Artifact, way: Way, batch: int, options: RunOptions) -> Candidate:
    size = subject.record.preprocessing.input_size
    opens_folder = way.backend.consumes in ("module", "nothing")
    return Candidate(
        label=f"{subject.label} {way.label} {way.precision}",
        role="candidate",
        backend=way.backend.name,
        artifact=subject.folder if opens_folder else subject.folder / artifact.name,
        shape=(batch, *size),
        options=options,
        needs_own_process=way.backend.needs_own_process,
    )


def artifact_for(subject: Subject, way: Way, batch: int) -> Artifact:
    """The file that a backend opens.

    Raises:
        InputError: the bundle has none of that kind, precision, target or batch.
    """
    role = {"module": "weights", "nothing": "weights", "onnx": "onnx", "engine": "engine"}[way.backend.consumes]
    files = [artifact for artifact in subject.record.artifacts if artifact.role == role]
    if role == "weights":
        return _module(files[0], way)
    # TF32 is what a GPU makes of the FP32 file; engines have it built in.
    kind = "fp32" if role == "onnx" and way.precision == "tf32" else way.precision
    fitting = [artifact for artifact in files if artifact.precision == kind]
    if not fitting:
        there = f", only {', '.join(sorted({str(artifact.precision) for artifact in files}))}" if files else ""
        missing = f"the bundle has no {way.precision} {role}{there}"
        state = way.backend.available()
        if not state.available:  # an engine would not help
            raise InputError(f"{state.reason}; {missing}", fix=state.fix)
        raise InputError(missing, fix=f"export the bundle again with --precision …,{way.precision}")
    return _placed(fitting) if role == "onnx" else _engine(fitting, batch)


def _module(weights: Artifact, way: Way) -> Artifact:
    if way.precision not in _MODULE_PRECISIONS:
        raise InputError(f"{way.backend.name} runs no {way.precision} of its own", fix="measure it with ort or trt")
    return weights


def _placed(files: Sequence[Artifact]) -> Artifact:
    """Of INT8 files, the one whose Q/DQ nodes stand where ONNX Runtime's CPU kernels need them, if there is one."""
    placed = [each for each in files if each.quantization is not None and each.quantization.placement == "onnxruntime"]
    return (placed or list(files))[0]


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
