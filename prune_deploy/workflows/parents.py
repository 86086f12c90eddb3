"""Bundles that others are made from."""

from __future__ import annotations

from pathlib import Path

from prune_deploy.data.files import calibration_sha256
from prune_deploy.errors import InputError
from prune_deploy.files import resolved
from prune_deploy.records import BundleRecord, Parent
from prune_deploy.specs import ExportSpec
from prune_deploy.store import file_sha256, is_complete


def parent_of(folder: Path, record: BundleRecord) -> Parent:
    """Return the bundle's hashes, its weights' checked.

    Raises:
        InputError: the bundle is damaged.
    """
    weights = next((each for each in record.artifacts if each.role == "weights"), None)
    whole = weights is not None and is_complete(folder, record)
    if weights is None or not whole or file_sha256(folder / weights.name) != weights.sha256:
        raise InputError(f"{folder} is not whole, or its weights were changed", fix=f"see: prune-deploy verify {folder}")
    return Parent(name=resolved(folder).name, key=record.key, weights_sha256=weights.sha256)


def require_remakeable(spec: ExportSpec) -> None:
    """Refuse beforehand what could not be made from other weights.

    Raises:
        InputError: an INT8 file was given, or its calibration images are gone.
    """
    quantize = spec.quantize
    if quantize is None:
        return
    if quantize.onnx is not None:
        raise InputError(
            "the bundle's INT8 file was given, and holds weights that will change",
            fix="export the bundle without int8, change that, and quantise the result",
        )
    calibration_sha256(quantize.calibration, quantize.samples)
