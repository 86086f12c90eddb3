"""Build of one TensorRT engine from one ONNX file.

The tensors of the file already have the requested precision. One way serves TensorRT 10.12 and newer, 11 and TensorRT-RTX: the
network is typed, so the file alone decides its precision. TensorRT 11 has no builder flags for FP16 and INT8 any more. Code that
sets them only where they exist would silently build FP32 there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_deploy.errors import BuildError, CannotRunError, InputError
from prune_deploy.export.tensorrt.layers import (
    EngineLayer,
    count_types,
    layers_in_inspector,
    layers_in_table,
    sparse_counts,
    verify_precision,
)
from prune_deploy.export.tensorrt.library import TensorRTLibrary, choose_library
from prune_deploy.export.tensorrt.log import BuildLog, collecting
from prune_deploy.export.tensorrt.products import products_of, share_of
from prune_deploy.export.tensorrt.progress import ProgressRelay, progress_monitor
from prune_deploy.export.tensorrt.trtexec import trtexec_command
from prune_deploy.files import write_bytes
from prune_deploy.interfaces import Progress, Silent
from prune_deploy.records import EngineProfile, EngineRecord
from prune_deploy.signals import deferred
from prune_deploy.specs import EngineBuild

__all__ = ["build_engine", "engine_file_name", "trtexec_command", "verify_precision"]

_FIXES: tuple[tuple[str, str], ...] = (
    ("workspace limit", "allow the builder more scratch memory with `workspace_mib`, or leave the limit away"),
    ("OutOfMemory", "build for smaller batches with `batches`, or on a machine with more memory"),
    ("tensor volume exceeds", "build for smaller batches with `batches`"),
    (
        "FP32 GEMM is not supported",
        "TensorRT-RTX has no FP32 matrix product for sm75 (Turing): export with `precisions=('fp16',)` alone, choose a newer target, "
        "or export without an engine (`library='none'`)",
    ),
    ("HW-specific datatypes: b16", "sm75 (Turing) has no BF16: export with `precisions=('fp16',)`, or choose a newer target"),
    ("dedicated kernel", "export the ONNX file with opset 20, which writes attention as plain matrix products"),
    ("Plugin not found", "the model has an operator TensorRT does not know: replace it in the model before exporting"),
)
"""Part of TensorRT's message → what to do about it. The first match counts."""

_OTHER_FIX = "the lines above are TensorRT's own; check the ONNX file with onnx.checker, or try another `target` or `precisions`"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Built:
    """A finished plan, and the settings that the builder reports for it.

    `plan` is TensorRT's host memory, a buffer of bytes. `products` are the ONNX nodes that are convolutions or matrix products.
    `inputs` maps each input's name to its shape without the batch.
    """

    plan: Any
    products: tuple[str, ...]
    inputs: dict[str, tuple[int, ...]]
    tf32: bool
    optimization_level: int
    build_s: float


def engine_file_name(spec: EngineBuild, library: TensorRTLibrary) -> str:
    """Return the engine's name in a bundle.

    An example is "model.fp16.sm86.b1-8-64.tensorrt-rtx-1.7.engine".
    """
    return f"model.{spec.precision}.{spec.target}.b{'-'.join(map(str, spec.batches))}.{library.tag}.engine"


def build_engine(
    onnx_path: Path,
    spec: EngineBuild,
    destination: Path,
    *,
    progress: Progress | None = None,
) -> EngineRecord:
    """Build the engine, check its layers' precision, and write the raw plan.

    `build_s` of the record covers parsing and building. `destination` changes only after the engine passed every check.

    Raises:
        InputError: not an ONNX file, a damaged one, or one without a dynamic batch.
        BuildError: TensorRT reported an error, the build was cancelled, or the layers are not what the label says.
        CannotRunError: the library is unavailable here or cannot build for the target.
        StorageError: the plan cannot be written.
        KeyboardInterrupt: Ctrl-C, after TensorRT has stopped.
    """
    _check_paths(onnx_path, destination)
    library = choose_library(spec.library, spec.target)
    with collecting(library) as log:
        with deferred() as stop:
            built = _compile(library, log, onnx_path, spec, ProgressRelay(progress or Silent(), stop))
        record = _record(library, log, spec, built, onnx_path.name, destination.name)
    verify_precision(record)
    write_bytes(destination, built.plan)
    return record


def _check_paths(onnx_path: Path, destination: Path) -> None:
    if not onnx_path.is_file():
        raise InputError(f"{onnx_path} is not a file", fix="export the ONNX file first")
    if not destination.parent.is_dir():
        raise InputError(f"{destination.parent} is no directory, so no engine can be written there", fix="make it first")


def _compile(
    library: TensorRTLibrary,
    log: BuildLog,
    onnx_path: Path,
    spec: EngineBuild,
    relay: ProgressRelay,
) -> _Built:
    trt, started = library.module, time.perf_counter()
    builder = _new_builder(library, log)
    # Flags go by name: the enum's integers differ between TensorRT 10 and 11.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    # The parser owns the weights, so it must live until the build ends.
    parser = trt.OnnxParser(network, log.logger)
    _parse(trt, parser, network, log, onnx_path)
    inputs = _input_shapes(network, onnx_path)
    config = _configure(library, builder, spec)
    config.progress_monitor = progress_monitor(library, relay)
    _add_profiles(builder, config, spec, inputs)
    plan = builder.build_serialized_network(network, config)
    relay.raise_if_stopped()
    if plan is None or log.errors:
        raise _failure(log, f"{library.name} {library.version} could not build {onnx_path.name} for {spec.target}")
    return _Built(
        plan=plan,
        products=products_of(trt, network),
        inputs=inputs,
        tf32=config.get_flag(trt.BuilderFlag.TF32),
        optimization_level=config.builder_optimization_level,
        build_s=time.perf_counter() - started,
    )


def _new_builder(library: TensorRTLibrary, log: BuildLog) -> Any:
    try:
        return library.module.Builder(log.logger)
    except TypeError:
        # The bindings raise it where C++ returned nothing, for example because the driver is too old for the library's CUDA.
        raise _failure(log, f"{library.name} {library.version} does not start") from None


def _parse(trt: Any, parser: Any, network: Any, log: BuildLog, onnx_path: Path) -> None:
    parsed = parser.parse_from_file(str(onnx_path))
    if not log.is_heard:
        raise BuildError(
            "other code in this process gave TensorRT its logger first, so errors would go unseen",
            fix="build engines in a process of their own",
        )
    # Bytes that are no ONNX file at all can parse as a model without inputs: protobuf skips what it does not know.
    if parsed and network.num_inputs:
        return
    codes = {parser.get_error(index).code() for index in range(parser.num_errors)}
    if not codes or codes & {trt.ErrorCode.MODEL_DESERIALIZE_FAILED, trt.ErrorCode.INVALID_GRAPH}:
        message = log.describe_errors()
        raise InputError(
            f"{onnx_path} is not a complete ONNX model{f':{os.linesep}{message}' if message else ''}",
            fix="export it again; a model with external data needs its .data file beside it",
        )
    raise _failure(log, f"TensorRT cannot read {onnx_path.name}")


def _input_shapes(network: Any, onnx_path: Path) -> dict[str, tuple[int, ...]]:
    """Return each input's shape without the batch.

    Raises:
        InputError: the batch is fixed, or another dimension is dynamic.
    """
    shapes = {}
    for tensor in (network.get_input(index) for index in range(network.num_inputs)):
        batch, *rest = tuple(tensor.shape) or (0,)
        if batch != -1 or min(rest, default=1) < 0:
            raise InputError(
                f"input {tensor.name} of {onnx_path.name} has shape {tuple(tensor.shape)}, where -1 is dynamic: "
                "the batch must be dynamic, and nothing else",
                fix="export the model with a dynamic first dimension and fixed others",
            )
        shapes[tensor.name] = tuple(rest)
    return shapes


def _configure(library: TensorRTLibrary, builder: Any, spec: EngineBuild) -> Any:
    trt = library.module
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if spec.precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    elif spec.precision == "tf32":
        config.set_flag(trt.BuilderFlag.TF32)
    if spec.sparse_weights:
        allow_sparse_weights(library, config)
    if spec.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.workspace_mib << 20)
    if spec.optimization_level is not None:
        config.builder_optimization_level = spec.optimization_level
        # An unknown level is clamped silently.
        if config.builder_optimization_level != spec.optimization_level:
            highest = config.builder_optimization_level
            raise InputError(f"{library.name} has no optimization level {spec.optimization_level}", fix=f"for example {highest}")
    if library.is_rtx:
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(trt.ComputeCapability.__members__[spec.target.upper()], 0):
            raise BuildError(f"TensorRT-RTX refused the target {spec.target}", fix="choose another `target`")
    return config


def allow_sparse_weights(library: TensorRTLibrary, config: Any) -> None:
    """Let the builder use kernels for 2:4 sparse weights.

    Raises:
        CannotRunError: the library has no such flag. TensorRT 11 has dropped others.
    """
    flag = library.module.BuilderFlag.__members__.get("SPARSE_WEIGHTS")
    if flag is None:
        raise CannotRunError(
            f"{library.name} {library.version} knows no sparse weights", fix="build without them: `sparse_weights=False`"
        )
    config.set_flag(flag)


def _add_profiles(builder: Any, config: Any, spec: EngineBuild, inputs: Mapping[str, tuple[int, ...]]) -> None:
    for batch in spec.batches:
        profile = builder.create_optimization_profile()
        try:
            for name, rest in inputs.items():
                profile.set_shape(name, *[(batch, *rest)] * 3)
            # A bad profile raises nothing here: it is false, or gets the index -1, and the engine would lack it.
            accepted = bool(profile) and config.add_optimization_profile(profile) >= 0
        except (RuntimeError, TypeError):  # what the bindings raise for numbers they cannot hold
            accepted = False
        if not accepted:
            raise BuildError(
                f"TensorRT refused an optimization profile for batch {batch}", fix="ask for other sizes with `batches`"
            )


def _read_layers(library: TensorRTLibrary, log: BuildLog, plan: Any) -> tuple[list[EngineLayer], str]:
    """Return the engine's layers, and the source of their description.

    TensorRT-RTX logs its layer table with or without a GPU and for any target, so one source serves all its engines. Only the
    inspector describes a TensorRT engine, and it needs the GPU that TensorRT needs anyway.
    """
    if library.is_rtx:
        if len(log.layer_tables) != 1:
            raise BuildError(
                f"the builder logged {len(log.layer_tables)} layer tables instead of one: layer types are unknown",
                fix="report it with the TensorRT-RTX version: this package must be taught the new log",
            )
        return layers_in_table(log.layer_tables[0]), "build log"
    return layers_in_inspector(_inspect(library, log, plan)), "inspector"


def _record(
    library: TensorRTLibrary, log: BuildLog, spec: EngineBuild, built: _Built, onnx_name: str, engine_name: str
) -> EngineRecord:
    layers, source = _read_layers(library, log, built.plan)
    eligible, chosen = sparse_counts(log.sparsity)
    warnings = list(dict.fromkeys(log.warnings))
    if spec.sparse_weights and chosen is None:
        warnings.append(f"{library.name} {library.version} says nothing of sparse weights: it may have no kernels for them")
    return EngineRecord(
        library=library.name,
        library_version=library.version,
        target=spec.target,
        precision=spec.precision,
        tf32=built.tf32,
        profiles=tuple(EngineProfile(minimum=batch, optimum=batch, maximum=batch) for batch in spec.batches),
        workspace_mib=spec.workspace_mib,
        optimization_level=built.optimization_level,
        build_s=built.build_s,
        layer_types=count_types(layers),
        layer_source=source,
        warnings=tuple(warnings),
        trtexec=trtexec_command(spec, onnx_name=onnx_name, engine_name=engine_name, inputs=built.inputs, rtx=library.is_rtx),
        sparse_weights=bool(spec.sparse_weights),
        sparse_eligible=eligible,
        sparse_layers=chosen,
        share=share_of(layers, built.products, spec.precision, source),
    )


def _inspect(library: TensorRTLibrary, log: BuildLog, plan: Any) -> str:
    """Return the engine's own description, as JSON."""
    engine = library.module.Runtime(log.logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise _failure(log, "the engine was built but does not load, so its layer types are unknown")
    text: str = engine.create_engine_inspector().get_engine_information(library.module.LayerInformationFormat.JSON)
    return text


def _failure(log: BuildLog, problem: str) -> BuildError:
    message = log.describe_errors() or "(TensorRT gave no reason)"
    fix = next((fix for needle, fix in _FIXES if needle in message), _OTHER_FIX)
    return BuildError(f"{problem}:\n{message}", fix=fix)
