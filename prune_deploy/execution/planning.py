"""Plans of comparisons: an artifact for each run config, or a failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prune_deploy.backends import discover, offered
from prune_deploy.errors import InputError, setting
from prune_deploy.execution.candidate import Candidate
from prune_deploy.execution.failure import Failure
from prune_deploy.execution.loaded_bundle import LoadedBundle
from prune_deploy.gpus import local_target
from prune_deploy.interfaces import OPENS_FOLDER, Backend
from prune_deploy.records import LATENCY_ONLY, RTX_INT8, Artifact, Role
from prune_deploy.specs import PRECISIONS, Across, Case, MeasureSpec, Precision, RunOptions, parse_precisions


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCase:
    """A case of a comparison, with the candidate that can run.

    Without a `candidate` there is a `failure`. `artifact` is None where the bundle has none.
    """

    case: Case
    role: Role
    bundle: LoadedBundle
    artifact: Artifact | None = None
    candidate: Candidate | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedComparison:
    """Cases that are measured together, the baseline first.

    Nothing is compared across two of these. `across` is what it spans beside models.
    """

    name: str
    cases: tuple[PlannedCase, ...]
    across: Across = ""

    @property
    def can_run(self) -> bool:
        """Return whether the baseline can run."""
        return self.cases[0].candidate is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A way to run: a backend, its variant, and a precision."""

    backend: Backend
    variant: str
    precision: Precision

    @property
    def label(self) -> str:
        """The config's name, as the command line spells it."""
        return f"{self.backend.name}:{self.variant}" if self.variant else self.backend.name


def parse_run_configs(names: Sequence[str], precisions: Sequence[str]) -> tuple[RunConfig, ...]:
    """Parse names such as "eager", "trt" and "trt:cuda-graph" into run configs.

    A name without a variant stands for all that the backend reports. Each has a config for every precision.

    Raises:
        InputError: an unknown backend, variant or precision, or one that is named twice.
    """
    if not names:
        raise InputError("`backends` names none", fix=f"one or more of {', '.join(offered())}", field="backends")
    ordered = parse_precisions(precisions)
    configs = []
    for name in names:
        base, _, variant = name.partition(":")
        if base not in discover():
            raise InputError(f"unknown backend {base!r}", fix=f"one of {', '.join(offered())}")
        backend = discover()[base]
        if variant and variant not in backend.variants:
            known = ", ".join(f"{base}:{each}" for each in backend.variants if each) or f"{base} alone"
            raise InputError(f"backend {base} has no variant {variant!r}", fix=f"ask for {known}")
        for each in (variant,) if variant else backend.reported:
            configs += [RunConfig(backend=backend, variant=each, precision=precision) for precision in ordered]
    if len({(config.label, config.precision) for config in configs}) < len(configs):
        raise InputError(f"`backends` names one twice: {','.join(names)}", fix="name each backend once", field="backends")
    return tuple(configs)


def plan(
    baseline: LoadedBundle,
    others: Sequence[LoadedBundle],
    configs: Sequence[RunConfig],
    batches: Sequence[int],
    spec: MeasureSpec,
    *,
    across: Across = "",
) -> list[PlannedComparison]:
    """Plan the comparisons of one dense model with its pruned bundles.

    There is one per run config and batch. Across "backends" all configs are in one comparison per batch, across "precisions" all
    precisions of a backend are. The baseline is the dense model in the first of them.
    """
    together: dict[str, list[RunConfig]] = {}
    for config in configs:
        label = config.label.replace(":", "-")
        name = {"": f"{label}-{config.precision}", "precisions": f"{label}-across-precisions", "backends": "across"}[across]
        together.setdefault(name, []).append(config)
    return [
        plan_comparison(f"{baseline.label}-{name}-b{batch}", (baseline, *others), group, batch, spec, across=across)
        for batch in batches
        for name, group in together.items()
    ]


def plan_comparison(
    name: str,
    bundles: Sequence[LoadedBundle],
    configs: Sequence[RunConfig],
    batch: int,
    spec: MeasureSpec,
    *,
    across: Across = "",
) -> PlannedComparison:
    """Plan one comparison of all `bundles` in all `configs`.

    The first bundle in the first config is the baseline.
    """
    baseline, *others = [plan_case(bundle, config, batch, spec) for config in configs for bundle in bundles]
    return PlannedComparison(name=name, cases=(replace(baseline, role="dense"), *others), across=across)


def plan_case(bundle: LoadedBundle, config: RunConfig, batch: int, spec: MeasureSpec) -> PlannedCase:
    """Plan one bundle in one config.

    A case that cannot run has a failure instead of a candidate.
    """
    options = replace(spec.options, variant=config.variant, precision=config.precision)
    case = Case(bundle=bundle.label, backend=config.backend.name, precision=config.precision, batch=batch, options=options)
    if bundle.damage is not None:
        return PlannedCase(case=case, role="candidate", bundle=bundle, failure=bundle.damage)
    state = config.backend.available()
    row = PRECISIONS[config.precision]
    if row.gpu_only and options.device == "cpu" and config.backend.consumes != "engine":
        reason = f"{row.label} is a GPU's: on the CPU there is none"
        failure = Failure(status="unavailable", reason=reason, fix="measure fp32, or use `device='cuda'`")
        return PlannedCase(case=case, role="candidate", bundle=bundle, failure=failure)
    try:
        artifact = artifact_for(bundle, config, batch)
    except InputError as error:
        failure = Failure(status="unavailable", reason=error.message, fix=error.fix)
        return PlannedCase(case=case, role="candidate", bundle=bundle, failure=failure)
    unusable = None
    if not state.available:
        unusable = Failure(status="unavailable", reason=_why_not(artifact, state.reason), fix=state.fix)
    return PlannedCase(
        case=case,
        role="candidate",
        bundle=bundle,
        artifact=artifact,
        candidate=_candidate(bundle, artifact, config, batch, options) if unusable is None else None,
        failure=unusable,
    )


def planning_warnings(case: PlannedCase) -> tuple[str, ...]:
    """Warn of what limits the figures of a quantised case."""
    artifact = case.artifact
    if artifact is None or case.case.precision != "int8":
        return ()
    warnings = []
    sources = [each.quantization for each in case.bundle.record.artifacts if each.quantization is not None]
    if any(each.calibration is not None and each.calibration.is_synthetic for each in sources):
        warnings.append(f"INT8 {LATENCY_ONLY}")
    if artifact.engine is not None and artifact.engine.compiles_kernels:
        warnings.append(RTX_INT8)
    return tuple(warnings)


def _why_not(artifact: Artifact, reason: str) -> str:
    """Return the reason that an engine cannot run here.

    The text also has what is known of it: it was built, and its layers' precision is known.
    """
    engine = artifact.engine
    if engine is None:
        return reason
    share = "" if engine.share is None else f", {engine.precision} in {engine.share.text} layers"
    return f"engine built by {engine.library} for {engine.target}{share}; not timed: {reason}"


def _candidate(bundle: LoadedBundle, artifact: Artifact, config: RunConfig, batch: int, options: RunOptions) -> Candidate:
    size = bundle.record.preprocessing.input_size
    environment = config.backend.environment(options)
    return Candidate(
        label=f"{bundle.label} {config.label} {config.precision}",
        role="candidate",
        backend=config.backend.name,
        artifact=bundle.folder if config.backend.consumes in OPENS_FOLDER else bundle.folder / artifact.name,
        shape=(batch, *size),
        options=options,
        graph=None if config.backend.consumes == "nothing" else _graph(bundle),
        needs_own_process=config.backend.needs_own_process or bool(environment),
        compiles=config.backend.compiles or (artifact.engine is not None and artifact.engine.compiles_kernels),
        environment=environment,
    )


def _graph(bundle: LoadedBundle) -> Path | None:
    """The bundle's FP32 ONNX file, None where it was made without one."""
    artifacts = bundle.record.artifacts
    names = [artifact.name for artifact in artifacts if (artifact.role, artifact.precision) == ("onnx", "fp32")]
    return bundle.folder / names[0] if names else None


def artifact_for(bundle: LoadedBundle, config: RunConfig, batch: int) -> Artifact:
    """Return the file that a backend opens.

    Raises:
        InputError: the bundle has none of that kind, precision, target or batch.
    """
    consumes = config.backend.consumes
    role = "weights" if consumes in OPENS_FOLDER else consumes
    files = [artifact for artifact in bundle.record.artifacts if artifact.role == role]
    if role == "weights":
        if not files:
            raise InputError("the bundle lists no weights", fix="export it again")
        return _module(files[0], config)
    # Engines have their precision built in, a runtime of ONNX files may make it of another's file.
    kind = PRECISIONS[config.precision].runs_file_of if role == "onnx" else config.precision
    fitting = [artifact for artifact in files if artifact.precision == kind]
    if not fitting:
        others = f", only {', '.join(sorted({str(artifact.precision) for artifact in files}))}" if files else ""
        missing = f"the bundle has no {config.precision} {role}{others}"
        state = config.backend.available()
        if not state.available:  # an engine would not run here either
            raise InputError(f"{state.reason}; {missing}", fix=state.fix)
        raise InputError(missing, fix=f"export the bundle again with {setting('precisions', (..., config.precision))}")
    return _engine(fitting, batch) if role == "engine" else _placed(fitting)


def _module(weights: Artifact, config: RunConfig) -> Artifact:
    if not PRECISIONS[config.precision].casts_modules:
        raise InputError(f"{config.backend.name} runs no {config.precision} of its own", fix="measure it with ort or trt")
    return weights


def _placed(files: Sequence[Artifact]) -> Artifact:
    """Choose among INT8 files.

    The one whose Q/DQ nodes stand where ONNX Runtime's CPU kernels need them is preferred.
    """
    placed = [file for file in files if file.quantization is not None and file.quantization.placement == "onnxruntime"]
    return (placed or list(files))[0]


def _engine(engines: Sequence[Artifact], batch: int) -> Artifact:
    """Choose the engine for the GPU that is here.

    Without a GPU it is the first, whose row will say why it was not timed.

    Raises:
        InputError: none was built for this GPU, or none of its profiles takes the batch.
    """
    local = local_target()
    fitting = [artifact for artifact in engines if artifact.engine is not None and local in (None, artifact.engine.target)]
    if not fitting or fitting[0].engine is None:
        built = ", ".join(artifact.engine.target for artifact in engines if artifact.engine is not None)
        raise InputError(
            f"engine built for {built}; the GPU here is {local}", fix=f"export the bundle with {setting('target', local)}"
        )
    profiles = fitting[0].engine.profiles
    if not any(profile.minimum <= batch <= profile.maximum for profile in profiles):
        taken = ", ".join(str(profile.optimum) for profile in profiles)
        raise InputError(
            f"batch {batch} is outside the engine's profiles ({taken})", fix=f"export it with {setting('batches', (..., batch))}"
        )
    return fitting[0]
