"""Bundles to measure, whose files are those that were exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prune_deploy.execution.failure import Failure
from prune_deploy.files import resolved
from prune_deploy.records import BundleRecord
from prune_deploy.store import is_exported, read_bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedBundle:
    """A bundle to measure, read and hashed.

    `damage` is set where a file is not the one that was exported.
    """

    folder: Path
    record: BundleRecord
    damage: Failure | None = None

    @property
    def label(self) -> str:
        """The bundle's name in tables."""
        return resolved(self.folder).name


def read_loaded_bundle(folder: Path) -> LoadedBundle:
    """Read a bundle and compare its files with their hashes.

    Raises:
        InputError: the folder is no bundle.
    """
    record = read_bundle(folder)
    for artifact in record.artifacts:
        if not (folder / artifact.name).is_file():
            return _damaged(folder, record, f"{artifact.name} is missing")
        if not is_exported(folder, artifact):
            return _damaged(folder, record, f"{artifact.name} is not the file that was exported: its hash differs")
    return LoadedBundle(folder=folder, record=record)


def _damaged(folder: Path, record: BundleRecord, problem: str) -> LoadedBundle:
    failure = Failure(status="failed", reason=problem, fix="restore the bundle, or export it again with `force=True`")
    return LoadedBundle(folder=folder, record=record, damage=failure)
