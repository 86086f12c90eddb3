"""Which bundle a request stands for: its key, where it belongs, and whether it is there already. Imports neither torch nor any runtime."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prune_deploy.errors import InputError, storage_errors
from prune_deploy.gpus import local_target
from prune_deploy.records import SCHEMA_VERSION, BundleRecord, to_json
from prune_deploy.specs import ExportSpec, QuantizeSpec, weights_path
from prune_deploy.store import BUNDLE_FILE, ENGINES_DIR, bundle_name, check_place, file_sha256, is_complete, read_bundle

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


def cache_key(spec: ExportSpec, lineage: str = "") -> str:
    """A hash of all that decides what a bundle holds: schema, tools, request, the content of the files it names, and its `lineage`.

    Raises:
        InputError: a file that the request names cannot be read.
    """
    parts = [f"schema {SCHEMA_VERSION}", *(f"{name} {_version(name)}" for name in _KEYED_LIBRARIES)]
    # What a lineage stands for came from files that may have gone since.
    parts += [to_json(spec), lineage] if lineage else [to_json(_by_content(spec))]
    if spec.engine.library == "auto":
        parts.append(f"GPU {local_target()}")  # it decides which library builds
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _by_content(spec: ExportSpec) -> ExportSpec:
    """The request with named files by their content: the same file by another path is the same request."""
    model, prune = spec.model, spec.prune
    if (weights := weights_path(model.weights)) is not None:
        model = replace(model, weights=f"file {file_sha256(weights)}")
    if prune is not None and prune.plan is not None:
        prune = replace(prune, plan=f"file {file_sha256(Path(prune.plan))}")
    quantize = None if spec.quantize is None else quantize_by_content(spec.quantize)
    return replace(spec, model=model, prune=prune, quantize=quantize)


def quantize_by_content(spec: QuantizeSpec) -> QuantizeSpec:
    """The request with what is in its files and images instead of where they lie.

    Raises:
        InputError: they are not there.
    """
    from prune_deploy.data.files import calibration_sha256

    if spec.onnx is not None:
        return replace(spec, onnx=f"file {file_sha256(Path(spec.onnx))}")
    return replace(spec, calibration=f"images {calibration_sha256(spec.calibration, spec.samples)}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def find_bundle(
    spec: ExportSpec, out: Path | None = None, *, force: bool = False, lineage: str = ""
) -> tuple[Path, BundleRecord | None]:
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
        raise InputError(f"{folder} is there already and is no bundle", fix="choose another place with `out=DIR`")
    record = None if is_free or force else _reusable(folder, spec, lineage)
    if record is None:
        check_place(folder)
    return folder, record


def _reusable(folder: Path, spec: ExportSpec, lineage: str) -> BundleRecord | None:
    """The record of the bundle in `folder` if `spec` asks for the same; None if it is the same but files are missing."""
    fix = "replace it with `force=True`, or write beside it with `out=DIR`"
    try:
        record = read_bundle(folder)
    except InputError as error:
        raise InputError(error.message, fix=fix) from error
    if record.key != cache_key(spec, lineage):
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
    flat: dict[str, object] = {}
    for part, content in json.loads(to_json(spec)).items():
        fields = content if isinstance(content, dict) else {"": content}
        flat |= {f"{part} {name}".strip(): value for name, value in fields.items()}
    return flat
