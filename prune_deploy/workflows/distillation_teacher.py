"""The dense model that a pruned one learns from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from prune_deploy.errors import InputError
from prune_deploy.execution.baseline import identity, is_dense
from prune_deploy.export import bundle as bundles
from prune_deploy.files import resolved
from prune_deploy.interfaces import Progress
from prune_deploy.models import create_model
from prune_deploy.records import BundleRecord
from prune_deploy.store import BUNDLE_FILE, file_sha256, is_complete, read_bundle


def find_teacher(folder: Path, record: BundleRecord, progress: Progress) -> tuple[nn.Module, str]:
    """Return the bundle's dense model with weights, and its name.

    It comes from a bundle beside it if there is one.

    Raises:
        InputError: its weights are random, or are not where they were.
        CannotRunError: pretrained weights cannot be fetched.
    """
    if record.weights.kind == "random":
        raise InputError(
            f"`distill` learns from the dense model, whose weights are {record.weights.label}: its answers mean nothing",
            fix="leave `distill` out, or start from trained weights (`weights` of the export)",
        )
    for beside in sorted(path.parent for path in resolved(folder).parent.glob(f"*/{BUNDLE_FILE}")):
        if _is_teacher(beside, record):
            return bundles.load(beside), beside.name
    progress.stage("load teacher", f"{record.model.name}, weights {record.weights.label}")
    loaded = create_model(record.model.spec)
    if identity(replace(record, weights=loaded.weights)) != identity(record):
        raise InputError(
            f"the weights file {record.model.weights} has changed since the bundle was made",
            fix="put the dense bundle with those weights beside the pruned one, or leave `distill` out",
        )
    return loaded.module, f"{record.model.name}, {record.weights.label}"


def _is_teacher(folder: Path, record: BundleRecord) -> bool:
    """Return whether a folder holds the dense model of `record`.

    Its weights are those that `record` started from. They were exported from the same source. Where that is a file, the folder is the
    very bundle that the file is of.
    """
    try:
        other = read_bundle(folder)
    except InputError:  # an unknown folder beside a bundle is not its teacher
        return False
    weights = next((each for each in other.artifacts if each.role == "weights"), None)
    if weights is None or not is_dense(other) or not is_complete(folder, other):
        return False
    is_file = record.weights.kind == "file" and weights.sha256 == record.weights.sha256
    is_same = is_file or (other.training is None and identity(other) == identity(record))
    return is_same and file_sha256(folder / weights.name) == weights.sha256
