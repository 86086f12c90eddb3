"""Bundle of a request: its key, its folder, and its reuse.

The module imports neither torch nor any runtime.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prune_deploy.environment import installed_version
from prune_deploy.errors import InputError, storage_errors
from prune_deploy.folders import check_place
from prune_deploy.gpus import local_target
from prune_deploy.records import SCHEMA_VERSION, BundleRecord, to_json
from prune_deploy.specs import ExportSpec, QuantizeSpec, RecoverSpec, weights_path
from prune_deploy.store import BUNDLE_FILE, ENGINES_DIR, bundle_name, file_sha256, is_complete, read_bundle

# The version of each of them can change a byte of a bundle.
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
    """Return a hash of all that decides what a bundle holds.

    That is the schema, the tools, the request, the content of the files it names, and its `lineage`.

    Raises:
        InputError: a file that the request names cannot be read.
    """
    parts = [f"schema {SCHEMA_VERSION}", *(f"{name} {_version(name)}" for name in _KEYED_LIBRARIES)]
    if (cpu_build := installed_version("onnxruntime")) is not None:
        parts.append(f"onnxruntime {cpu_build}")
    # The weights of a lineage came from files that may have gone since.
    parts += [to_json(spec), lineage] if lineage else [to_json(_by_content(spec))]
    if spec.engine.library == "auto":
        parts.append(f"GPU {local_target()}")  # it decides which library builds
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _by_content(spec: ExportSpec) -> ExportSpec:
    """Return the request with named files by their content.

    The same file by another path is the same request.
    """
    model, prune = spec.model, spec.prune
    if (weights := weights_path(model.weights)) is not None:
        model = replace(model, weights=f"file {file_sha256(weights)}")
    if prune is not None and prune.plan is not None:
        prune = replace(prune, plan=f"file {file_sha256(Path(prune.plan))}")
    quantize = None if spec.quantize is None else quantize_by_content(spec.quantize)
    recover = None if spec.recover is None else _recover_by_content(spec.recover)
    return replace(spec, model=model, prune=prune, quantize=quantize, recover=recover)


def quantize_by_content(spec: QuantizeSpec) -> QuantizeSpec:
    """Return the request with the content of its files and images.

    It replaces their paths.

    Raises:
        InputError: they are not there.
    """
    from prune_deploy.data.files import calibration_sha256

    if spec.onnx is not None:
        return replace(spec, onnx=f"file {file_sha256(Path(spec.onnx))}")
    return replace(spec, calibration=f"images {calibration_sha256(spec.calibration, spec.samples)}")


def _recover_by_content(spec: RecoverSpec) -> RecoverSpec:
    from prune_deploy.data.files import calibration_sha256

    samples = spec.samples + spec.samples // 2
    return replace(spec, calibration=f"images {calibration_sha256(spec.calibration, samples)}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def find_bundle(
    spec: ExportSpec, out: Path | None = None, *, force: bool = False, lineage: str = ""
) -> tuple[Path, BundleRecord | None]:
    """Return the folder for the bundle of `spec`, and a reusable record.

    There is a record if the bundle is there already, whole and made by the same request. The function imports neither torch nor
    any runtime, so that a repeated export ends at once.

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
    """Return the record of the bundle in `folder`, if `spec` matches it.

    None if it matches but files are missing.

    Raises:
        InputError: the bundle is of another request, or its record is damaged.
    """
    fix = "replace it with `force=True`, or write beside it with `out=DIR`"
    try:
        record = read_bundle(folder)
    except InputError as error:
        raise InputError(error.message, fix=fix) from error
    if record.key != cache_key(spec, lineage):
        raise InputError(f"{folder} holds another bundle: {_difference(record, spec)}", fix=fix)
    return record if is_complete(folder, record) else None


def _difference(record: BundleRecord, spec: ExportSpec) -> str:
    """Describe how the request of `record` and `spec` differ."""
    kind_there, kind_asked = _kind(record.request), _kind(spec)
    if kind_there != kind_asked:
        return f"{kind_asked} model asked for, {kind_there} one there"
    fields_there, fields_asked = _flat(record.request), _flat(spec)
    names = [name for name in fields_there | fields_asked if fields_there.get(name) != fields_asked.get(name)]
    if not names:
        return "the same request, made with other library versions, on another machine or from other files"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return "; ".join(f"{name} {fields_there.get(name)} there, {fields_asked.get(name)} asked for" for name in names[:3]) + more


def _kind(spec: ExportSpec) -> str:
    if spec.prune is not None:
        return "a pruned"
    return "a masked" if spec.mask is not None else "the dense"


def _flat(spec: ExportSpec) -> dict[str, object]:
    """Return every field of the request, named by part and name.

    An example is "engine batches".
    """
    flat: dict[str, object] = {}
    for part, content in json.loads(to_json(spec)).items():
        fields = content if isinstance(content, dict) else {"": content}
        flat |= {f"{part} {name}".strip(): value for name, value in fields.items()}
    return flat
