"""The dense model of a pruned bundle, from the same weights: found beside it, or exported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from prune_deploy.errors import InputError
from prune_deploy.interfaces import Progress
from prune_deploy.pipeline import export_bundle
from prune_deploy.records import BundleRecord
from prune_deploy.specs import EngineSpec, ExportSpec
from prune_deploy.store import BUNDLE_FILE, ENGINES_DIR, bundle_name, is_complete, read_bundle


def identity(record: BundleRecord) -> tuple[object, ...]:
    """What two bundles share that were made from the same dense model with the same weights."""
    model, weights = record.model, record.weights
    source = weights.sha256 if weights.kind == "file" else (weights.tag if weights.kind == "pretrained" else weights.seed)
    return model.name, model.num_classes, model.input_size, weights.kind, source


def is_dense(record: BundleRecord) -> bool:
    """Whether nothing was removed and nothing set to zero."""
    return record.request.prune is None and record.request.mask is None


def dense_bundle(record: BundleRecord, given: Iterable[Path], *, with_engine: bool, progress: Progress) -> Path:
    """The folder of the dense bundle that `record` was pruned from: one of `given`, one in engines/, or a new one there.

    With `with_engine` it must hold an engine like the pruned bundle's.

    Raises:
        InputError: the weights it was made from are not there any more.
        PruneDeployError: as `export_bundle`.
    """
    known = [*given, *sorted(path.parent for path in ENGINES_DIR.glob(f"*/{BUNDLE_FILE}"))]
    for folder in known:
        if _is_dense_of(folder, record, with_engine=with_engine):
            return folder
    engine = record.request.engine if with_engine else EngineSpec(library="none")
    model = record.model if record.weights.kind != "file" else replace(record.model, weights=str(record.weights.path))
    spec = ExportSpec(model=model, prune=None, engine=engine)
    progress.stage(f"exporting the dense {record.model.name}, which every ratio is measured against")
    exported = export_bundle(spec, _free_folder(bundle_name(spec)), progress=progress)
    if identity(exported.record) != identity(record):
        raise InputError(
            f"the weights file {record.weights.path} has changed since the bundle was made",
            fix="name a dense bundle made from the same weights beside the pruned one",
        )
    return exported.folder


def _is_dense_of(folder: Path, record: BundleRecord, *, with_engine: bool) -> bool:
    try:
        other = read_bundle(folder)
    except InputError:  # a stranger among the bundles is nobody's dense model
        return False
    has_engine = any(artifact.role == "engine" for artifact in other.artifacts)
    return (
        is_dense(other) and identity(other) == identity(record) and is_complete(folder, other) and (has_engine or not with_engine)
    )


def _free_folder(name: str) -> Path:
    folder, number = ENGINES_DIR / name, 2
    while folder.exists():
        folder, number = ENGINES_DIR / f"{name}-{number}", number + 1
    return folder
