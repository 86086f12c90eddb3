"""Verification of a bundle against its record.

Everything in the bundle is hashed, loaded and run again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prune_deploy.errors import InputError
from prune_deploy.files import as_folder
from prune_deploy.records import Artifact, BundleRecord, Parity, ParityStatus
from prune_deploy.specs import PRECISIONS, QuantizeSpec
from prune_deploy.store import BUNDLE_FILE, file_sha256, read_bundle, record_is_intact

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `verify` checked.

    `detail` describes the result, and the reason where it could not run.
    """

    name: str
    check: str
    status: ParityStatus
    detail: str = ""


def verify_bundle(folder: str | os.PathLike[str]) -> Iterator[Finding]:
    """Check everything a bundle claims.

    That is every file's size and hash, the module's reload, the parity of every ONNX file, and that of every engine built for the
    GPU that is here. A damaged file is reported, and everything that needs it is skipped.

    Raises:
        InputError: the folder is no bundle.
    """
    folder = as_folder(folder)
    record = read_bundle(folder)
    whole = True
    files = (_check_file(folder, artifact) for artifact in record.artifacts)
    for finding in (_check_record(folder, record), *_check_list(folder, record), *files):
        whole = whole and finding.status != "failed"
        yield finding
    if whole:
        yield from _check_content(folder, record)


def _check_record(folder: Path, record: BundleRecord) -> Finding:
    if not record.own_sha256:
        return Finding(BUNDLE_FILE, "sha256", "not_run", "the record carries no hash of itself")
    intact = record_is_intact(folder, record)
    return Finding(BUNDLE_FILE, "sha256", "passed" if intact else "failed", "" if intact else "the file was changed")


def _check_list(folder: Path, record: BundleRecord) -> Iterator[Finding]:
    """Check that the record lists what makes a bundle.

    Files that it does not list are named.
    """
    roles = {artifact.role for artifact in record.artifacts}
    for role in ("weights", "recipe"):
        if role not in roles:
            yield Finding(BUNDLE_FILE, "contents", "failed", f"the record lists no {role}")
    if "onnx" not in roles:
        yield Finding(BUNDLE_FILE, "contents", "not_run", "the record lists no ONNX file")
    listed = {BUNDLE_FILE, *(artifact.name for artifact in record.artifacts)}
    for name in sorted(path.name for path in folder.iterdir() if path.name not in listed):
        yield Finding(name, "contents", "not_run", "the record does not list it")


def _check_file(folder: Path, artifact: Artifact) -> Finding:
    path = folder / artifact.name
    if not path.is_file():
        return Finding(artifact.name, "sha256", "failed", "the file is missing")
    if path.stat().st_size != artifact.size_bytes:
        detail = f"{path.stat().st_size:,} bytes, {artifact.size_bytes:,} recorded"
        return Finding(artifact.name, "sha256", "failed", detail)
    digest = file_sha256(path)
    if digest != artifact.sha256:
        return Finding(artifact.name, "sha256", "failed", f"content is {digest[:12]}…, {artifact.sha256[:12]}… recorded")
    return Finding(artifact.name, "sha256", "passed")


def _check_content(folder: Path, record: BundleRecord) -> Iterator[Finding]:
    # Imported when needed, so that the help of `verify` and a damaged bundle need no wait for torch.
    from prune_deploy.evaluation.engine_parity import check_engine_parity
    from prune_deploy.evaluation.parity import onnx_parity
    from prune_deploy.export.bundle import load
    from prune_deploy.pruning.counting import count_params

    module, recorded = load(folder, check_hashes=False), record.receipt.after.params
    params = count_params(module)
    status: ParityStatus = "passed" if params == recorded else "failed"
    yield Finding("module", "reload", status, f"{params:,} parameters, {recorded:,} recorded")
    size, trained = record.model.input_size, not record.is_untrained
    for artifact in record.artifacts:
        path, is_engine = folder / artifact.name, artifact.role == "engine" and artifact.engine is not None
        if artifact.precision is None or not (is_engine or artifact.role == "onnx"):
            continue
        try:
            images = _images(record) if PRECISIONS[artifact.precision].needs_calibration else None
        except InputError as error:
            yield Finding(artifact.name, "parity", "not_run", f"the images it was calibrated on are not here: {error.message}")
            continue
        if artifact.engine is not None:
            parity = check_engine_parity(module, path, artifact.engine, size, images=images, trained=trained)
        else:
            parity = onnx_parity(module, path, size, artifact.precision, images, trained=trained)
        yield Finding(artifact.name, "parity", parity.status, parity.reason or _closeness(parity))


def _images(record: BundleRecord) -> torch.Tensor:
    """Return the images that an INT8 file was compared with originally.

    Raises:
        InputError: they cannot be read.
    """
    from prune_deploy.data import calibration_images
    from prune_deploy.evaluation.parity import CALIBRATION_IMAGES

    quantize = record.request.quantize or QuantizeSpec()
    return calibration_images(quantize.calibration, record.preprocessing, CALIBRATION_IMAGES, quantize.samples)


def _closeness(parity: Parity) -> str:
    worst = max(check.relative_diff for check in parity.checks)
    batches = " ".join(str(batch) for batch in dict.fromkeys(check.batch for check in parity.checks))
    return f"within {worst:.2g} of the logits' spread ({parity.bounds_text}), batches {batches}"
