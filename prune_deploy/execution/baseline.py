"""The dense model of a pruned bundle, found or exported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prune_deploy.errors import InputError
from prune_deploy.execution.planning import RunConfig
from prune_deploy.interfaces import Progress
from prune_deploy.pipeline import export_bundle
from prune_deploy.records import BundleRecord, WeightsSource
from prune_deploy.specs import EngineSpec, ExportSpec, Precision, need_calibration
from prune_deploy.store import BUNDLE_FILE, ENGINES_DIR, bundle_name, is_complete, read_bundle


def identity(record: BundleRecord) -> tuple[object, ...]:
    """Return what is equal for all bundles of one dense model.

    They have the model, its weights, its classes and its input size in common.
    """
    model = record.model
    return model.name, model.num_classes, model.input_size, *_source(record.weights)


def same_weights(one: WeightsSource, other: WeightsSource) -> bool:
    """Return whether two networks began with the same weights."""
    return _source(one) == _source(other)


def _source(weights: WeightsSource) -> tuple[object, ...]:
    return weights.kind, {"file": weights.sha256, "pretrained": weights.tag, "random": weights.seed}[weights.kind]


def is_dense(record: BundleRecord) -> bool:
    """Return whether nothing was removed and nothing set to zero."""
    return record.request.prune is None and record.request.mask is None


@dataclass(frozen=True, slots=True)
class Needed:
    """Files that run configs open beside a bundle's weights.

    They are ONNX files of these precisions, and engines of these.
    """

    onnx: frozenset[Precision]
    engines: frozenset[Precision]


def needed_files(configs: Sequence[RunConfig]) -> Needed:
    """Return the files that the run configs open here.

    A config that cannot run needs no file.
    """
    usable = [config for config in configs if config.backend.available().available]

    def precisions(consumes: str) -> frozenset[Precision]:
        return frozenset(config.precision for config in usable if config.backend.consumes == consumes)

    return Needed(precisions("onnx"), precisions("engine"))


def dense_bundle(record: BundleRecord, bundles: Iterable[Path], needed: Needed, *, progress: Progress) -> Path:
    """Find or export the dense bundle that `record` was pruned from.

    It is one of `bundles`, one in engines/, or a new one there. It has the files that are `needed`, as far as the pruned bundle has them,
    made the same way. An imported INT8 file is of the pruned bundle only.

    Raises:
        InputError: the weights it was made from are not there any more.
        PruneDeployError: as `export_bundle`.
    """
    required = _as_far(needed, record)
    known = [*bundles, *sorted(path.parent for path in ENGINES_DIR.glob(f"*/{BUNDLE_FILE}"))]
    for folder in known:
        if _is_dense_of(folder, record, required):
            return folder
    request = record.request
    precisions = tuple(each for each in request.precisions if each in required.onnx | required.engines) or ("fp32",)
    spec = ExportSpec(
        model=record.model.spec,
        prune=None,
        engine=request.engine if required.engines else EngineSpec(library="none"),
        precisions=precisions,
        quantize=request.quantize if need_calibration(precisions) else None,
    )
    progress.stage("make bundle", f"the dense {record.model.name}, which every ratio is measured against")
    name = bundle_name(replace(spec, model=request.model))  # as the pruned bundle is named, which may leave the size open
    exported = export_bundle(spec, _free_folder(name), progress=progress)
    if identity(exported.record) != identity(record):
        raise InputError(
            f"the weights file {record.model.weights} has changed since the bundle was made",
            fix="name a dense bundle made from the same weights beside the pruned one",
        )
    return exported.folder


def _as_far(needed: Needed, record: BundleRecord) -> Needed:
    """Return the needed files that the dense model can have too."""
    quantize = record.request.quantize
    foreign: frozenset[Precision] = frozenset({"int8"} if quantize is not None and quantize.onnx is not None else ())
    return Needed(
        (needed.onnx & _precisions(record, "onnx")) - foreign, (needed.engines & _precisions(record, "engine")) - foreign
    )


def _precisions(record: BundleRecord, role: str) -> frozenset[Precision]:
    return frozenset(each.precision for each in record.artifacts if each.role == role and each.precision is not None)


def _is_dense_of(folder: Path, record: BundleRecord, required: Needed) -> bool:
    try:
        other = read_bundle(folder)
    except InputError:  # an unreadable bundle is no dense model
        return False
    has_files = required.onnx <= _precisions(other, "onnx") and required.engines <= _precisions(other, "engine")
    same = is_dense(other) and other.training is None and identity(other) == identity(record)
    return same and has_files and is_complete(folder, other)


def _free_folder(name: str) -> Path:
    folder, number = ENGINES_DIR / name, 2
    while folder.exists():
        folder, number = ENGINES_DIR / f"{name}-{number}", number + 1
    return folder
