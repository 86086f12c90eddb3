"""Recovery of a pruned bundle into a new one.

Its weights make up for what was removed, its files are made anew, and its parent is named.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from prune_deploy.errors import InputError, setting
from prune_deploy.execution.baseline import same_weights
from prune_deploy.export import bundle as bundles
from prune_deploy.files import resolved
from prune_deploy.interfaces import Progress
from prune_deploy.models import LoadedModel, create_model
from prune_deploy.pipeline import Exported, Network, export_bundle
from prune_deploy.pipeline.recovery import recover_network
from prune_deploy.records import BundleRecord, Parent, to_json
from prune_deploy.specs import RecoverSpec
from prune_deploy.specs.checked import checked
from prune_deploy.store import read_bundle
from prune_deploy.workflows.parents import parent_of, require_remakeable

_GRAPH_LIMIT_S = 60.0


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverRequest:
    """A pruned bundle to recover, and the new one's place.

    Without a place the new bundle goes beside its parent. `force` replaces a bundle that lies there.
    """

    bundle: Path
    spec: RecoverSpec
    out: Path | None = None
    force: bool = False

    @property
    def folder(self) -> Path:
        """The folder of the new bundle."""
        return self.out if self.out is not None else self.bundle.parent / f"{resolved(self.bundle).name}-recovered"


def recover_bundle(request: RecoverRequest, progress: Progress) -> Exported:
    """Recover a bundle's weights and write them as a new bundle.

    The dense network is built again from what the bundle says of its weights.

    Raises:
        InputError: no pruned bundle, a damaged one, one that was trained or recovered since, weights that are gone, or images that
            cannot be used.
        CannotRunError, StorageError, BuildError, ParityError: as `export_bundle`.
    """
    record = read_bundle(request.bundle)
    _require_as_pruned(request.bundle, record)
    if resolved(request.folder) == resolved(request.bundle):
        raise InputError(
            f"{setting('out', request.folder)} is the bundle that is recovered",
            fix="name another folder with `out=DIR`",
            field="out",
        )
    parent = parent_of(request.bundle, record)
    require_remakeable(record.request)
    lineage = hashlib.sha256(f"{to_json(request.spec)}\n{to_json(parent)}".encode()).hexdigest()
    return export_bundle(
        replace(record.request, recover=request.spec),
        request.folder,
        force=request.force,
        progress=progress,
        network=lambda: _recovered(request, record, parent, progress),
        lineage=lineage,
    )


def _require_as_pruned(folder: Path, record: BundleRecord) -> None:
    if record.request.prune is None:
        raise InputError(f"{folder} is not pruned, so there is nothing to recover", fix="name a pruned bundle")
    if record.training is not None:
        raise InputError(
            f"{folder} was trained after pruning, which recovery would undo",
            fix="recover the bundle that it was trained from, and train the result",
        )
    if record.recovery is not None:
        raise InputError(f"{folder} is recovered already", fix="recover the bundle that it was made from")


def _recovered(request: RecoverRequest, record: BundleRecord, parent: Parent, progress: Progress) -> Network:
    pruned = bundles.read_pruned(request.bundle, record)
    assert pruned is not None, "it is pruned"
    progress.stage("build model", f"{record.model.name}, weights {record.weights.label}")
    dense = create_model(record.model.spec)
    if not same_weights(dense.weights, record.weights):
        raise InputError(
            f"the weights {record.model.weights} have changed since the bundle was made",
            fix="export it again with `recover`",
        )
    loaded = LoadedModel(bundles.load(request.bundle), record.model, record.weights, record.preprocessing)
    progress.stage("recover", request.spec.calibration)
    recovery = recover_network(dense.module, loaded, pruned, request.spec, progress, limit_s=_GRAPH_LIMIT_S)
    return Network(loaded, pruned, record.receipt, recovery=replace(recovery, parent=parent))
