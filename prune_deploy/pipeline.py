"""The whole road of one export: model → prune → ONNX → parity → engine → bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from prune_deploy.environment import capture, local_target
from prune_deploy.errors import CannotRunError, InputError, storage_errors
from prune_deploy.interfaces import Progress, Silent
from prune_deploy.records import SCHEMA_VERSION, Artifact, BundleRecord, Receipt, to_json
from prune_deploy.specs import ExportSpec, weights_path
from prune_deploy.store import (
    BUNDLE_FILE,
    ENGINES_DIR,
    bundle_name,
    check_place,
    file_sha256,
    is_complete,
    new_folder,
    read_bundle,
    write_record,
)

if TYPE_CHECKING:
    from prune_deploy.export.engine_progress import BuildProgress
    from prune_deploy.models import LoadedModel
    from prune_deploy.pruning.pruner import Pruned

# Everything whose version can change a byte of a bundle.
_KEYED_LIBRARIES = (
    "prune-deploy",
    "torch",
    "torch-pruning",
    "timm",
    "onnx",
    "onnxscript",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
)


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle on disk; `reused` is true if it was there already, made by the same request with the same tools."""

    folder: Path
    record: BundleRecord
    reused: bool


@dataclass(frozen=True, slots=True)
class Network:
    """A module as it goes into a bundle: built, narrowed or masked, with its receipt; `pruned` is None unless channels were removed."""

    loaded: LoadedModel
    pruned: Pruned | None
    receipt: Receipt


def cache_key(spec: ExportSpec) -> str:
    """A hash of all that decides what a bundle holds: schema, tools, request, and the content of the files it names.

    Raises:
        InputError: a file that the request names cannot be read.
    """
    parts = [f"schema {SCHEMA_VERSION}", *(f"{name} {_version(name)}" for name in _KEYED_LIBRARIES)]
    model, prune = spec.model, spec.prune
    # Named files count by their content: the same file by another path is the same request.
    if (weights := weights_path(model.weights)) is not None:
        model = replace(model, weights=f"file {file_sha256(weights)}")
    if prune is not None and prune.plan is not None:
        prune = replace(prune, plan=f"file {file_sha256(Path(prune.plan))}")
    parts.append(to_json(replace(spec, model=model, prune=prune)))
    if spec.engine.library == "auto":
        parts.append(f"GPU {local_target()}")  # it decides which library builds
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def find_bundle(spec: ExportSpec, out: Path | None = None, *, force: bool = False) -> tuple[Path, BundleRecord | None]:
    """Where the bundle of `spec` belongs, and its record if it is there already, whole and made by the same request.

    Imports neither torch nor any runtime, so that a repeated export ends at once.

    Raises:
        InputError: something else lies there. `force` allows replacing a bundle, never a file or a folder of other things.
        StorageError: nothing can be written there.
    """
    folder = out if out is not None else ENGINES_DIR / bundle_name(spec)
    with storage_errors(folder, every=True):
        is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        is_bundle = (folder / BUNDLE_FILE).is_file()
    if not is_free and not is_bundle:
        raise InputError(f"{folder} is there already and is no bundle", fix="choose another place with --out DIR")
    record = None if is_free or force else _reusable(folder, spec)
    if record is None:
        check_place(folder)
    return folder, record


def _reusable(folder: Path, spec: ExportSpec) -> BundleRecord | None:
    """The record of the bundle in `folder` if `spec` asks for the same; None if it is the same but files are missing."""
    fix = "replace it with --force, or write beside it with --out DIR"
    try:
        record = read_bundle(folder)
    except InputError as error:
        raise InputError(error.message, fix=fix) from error
    if record.key != cache_key(spec):
        raise InputError(f"{folder} holds another bundle: {_difference(record, spec)}", fix=fix)
    return record if is_complete(folder, record) else None


def _difference(record: BundleRecord, spec: ExportSpec) -> str:
    """What a reader needs to know of how the request of `record` and `spec` differ."""
    kind_there, kind_asked = _kind(record.request), _kind(spec)
    if kind_there != kind_asked:
        return f"{kind_asked} model asked for, {kind_there} one there"
    there, asked = _flat(record.request), _flat(spec)
    names = [name for name in there | asked if there.get(name) != asked.get(name)]
    if not names:
        return "the same request, made with other library versions, on another machine or from other files"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return "; ".join(f"{name} {there.get(name)} there, {asked.get(name)} asked for" for name in names[:3]) + more


def _kind(spec: ExportSpec) -> str:
    if spec.prune is not None:
        return "a pruned"
    return "a masked" if spec.mask is not None else "the dense"


def _flat(spec: ExportSpec) -> dict[str, object]:
    """Every field of the request by part and name, as in "engine batches"."""
    return {
        f"{part} {name}": value for part, fields in json.loads(to_json(spec)).items() for name, value in (fields or {}).items()
    }


def export_bundle(
    spec: ExportSpec,
    out: Path | None = None,
    *,
    force: bool = False,
    graph_limit_s: float = 60.0,
    progress: Progress | None = None,
    build_progress: BuildProgress | None = None,
    network: Callable[[], Network] | None = None,
) -> Exported:
    """Make the bundle of `spec`, or return the one that is there.

    `out` is the folder itself (default: engines/<name>); `graph_limit_s` bounds the dependency graph, in seconds. `network` brings the
    module that `spec` asks for, where it is not to be built and pruned from the beginning.

    Raises:
        InputError, PruningError, ParityError, BuildError, CannotRunError, StorageError: as each stage documents.
    """
    folder, existing = find_bundle(spec, out, force=force)
    if existing is not None:
        return Exported(folder, existing, reused=True)
    # Only now the heavy imports: a bundle that is there already must not cost them.
    from prune_deploy.export import bundle

    _check_tools(spec)
    watcher = progress or Silent()
    made = network() if network is not None else build_network(spec, graph_limit_s, watcher)
    loaded = made.loaded
    with new_folder(folder) as working:
        watcher.stage("writing weights and recipe")
        artifacts = bundle.write_module(loaded.module, loaded.spec, made.pruned, working)
        artifacts += _onnx_artifacts(loaded, working, watcher)
        engines, note = _engine_artifacts(spec, loaded, working, watcher, build_progress)
        record = _record(spec, loaded, made.receipt, tuple(artifacts + engines), note)
        write_record(working, record)
    return Exported(folder, record, reused=False)


def _check_tools(spec: ExportSpec) -> None:
    """Tell a misspelt method or a library that is not here before minutes of work, not after."""
    from prune_deploy.export.tensorrt_library import choose_library
    from prune_deploy.pruning import methods

    if spec.prune is not None:
        methods.create(spec.prune.method)
    if spec.engine.library not in ("auto", "none"):
        choose_library(spec.engine.library, spec.engine.target)


def build_network(spec: ExportSpec, graph_limit_s: float, watcher: Progress) -> Network:
    """Build the model of `spec`, narrow or mask it and say what was done; nothing is done to the dense model.

    Raises:
        InputError, PruningError: as building and pruning document.
    """
    from prune_deploy import models
    from prune_deploy.pruning.counting import count
    from prune_deploy.pruning.masks import mask
    from prune_deploy.pruning.pruner import prune
    from prune_deploy.pruning.twin import weightless_copy

    watcher.stage(f"building {spec.model.name}, weights {spec.model.weights}")
    loaded = models.create_model(spec.model)
    if spec.mask is not None:
        watcher.stage("masking")
        return Network(loaded, None, mask(loaded.module, spec.mask, _input_size(loaded)))
    if spec.prune is None:
        counts = count(weightless_copy(loaded.module), _input_size(loaded))
        return Network(loaded, None, Receipt(request=None, before=counts, after=counts, groups=()))
    watcher.stage("pruning")
    pruned = prune(loaded.module, spec.prune, _input_size(loaded), limit_s=graph_limit_s)
    return Network(loaded, pruned, pruned.receipt)


def _input_size(loaded: LoadedModel) -> tuple[int, int, int]:
    assert loaded.spec.input_size is not None
    return loaded.spec.input_size


def _onnx_artifacts(loaded: LoadedModel, working: Path, watcher: Progress) -> list[Artifact]:
    from prune_deploy.backends import usable
    from prune_deploy.evaluate.parity import check_parity, require_passed
    from prune_deploy.export import bundle
    from prune_deploy.export.onnx import export_onnx

    watcher.stage("exporting ONNX")
    graph, *data = export_onnx(loaded.module, _input_size(loaded), working / bundle.ONNX_FILE)
    watcher.stage("checking parity of the ONNX file with the module")
    parity = check_parity(loaded.module, usable("ort"), graph, _input_size(loaded))
    require_passed(graph.name, parity)
    return [
        bundle.describe(graph, "onnx", precision="fp32", parity=parity),
        *(bundle.describe(path, "onnx-data", precision="fp32") for path in data),
    ]


def _engine_artifacts(
    spec: ExportSpec, loaded: LoadedModel, working: Path, watcher: Progress, build_progress: BuildProgress | None
) -> tuple[list[Artifact], str]:
    """The engine, or no engine and the sentence that says why."""
    from prune_deploy.evaluate.engine_parity import check_engine_parity
    from prune_deploy.evaluate.parity import require_passed
    from prune_deploy.export import bundle
    from prune_deploy.export.engine import build_engine, engine_file_name
    from prune_deploy.export.tensorrt_library import choose_library

    if spec.engine.library == "none":
        return [], "no engine: --engine none"
    try:
        library = choose_library(spec.engine.library, spec.engine.target)
    except CannotRunError as error:
        if spec.engine.library != "auto":
            raise
        return [], f"no engine: {error.message}; {error.fix}"
    watcher.stage(f"building the engine with {library.name} {library.version} for {spec.engine.target}")
    path = working / engine_file_name(spec.engine, library)
    record = build_engine(working / bundle.ONNX_FILE, spec.built_engine, path, progress=build_progress)
    if local_target() is not None:
        watcher.stage("checking parity of the engine with the module")
    parity = check_engine_parity(loaded.module, path, record, _input_size(loaded))
    require_passed(path.name, parity)
    how = f"not run: {parity.reason}" if parity.status == "not_run" else "it computes what the module computes"
    note = f"engine built by {record.library} {record.library_version} for {record.target}; {how}"
    if library.is_rtx:
        note += ". It is a TensorRT-RTX plan: TensorRT and trtexec cannot load it"
    return [bundle.describe(path, "engine", precision=record.precision, parity=parity, engine=record)], note


def _record(spec: ExportSpec, loaded: LoadedModel, receipt: Receipt, artifacts: tuple[Artifact, ...], note: str) -> BundleRecord:
    from prune_deploy.export.onnx import INPUT_NAME, OUTPUT_NAME

    assert loaded.spec.num_classes is not None
    return BundleRecord(
        key=cache_key(spec),
        model=loaded.spec,
        weights=loaded.weights,
        request=spec,
        receipt=receipt,
        preprocessing=loaded.preprocessing,
        input_name=INPUT_NAME,
        output_name=OUTPUT_NAME,
        num_classes=loaded.spec.num_classes,
        artifacts=artifacts,
        environment=capture(),
        engine_note=note,
    )
