"""Export of a model that was built, and perhaps pruned, in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from prune_deploy.errors import InputError
from prune_deploy.interfaces import Progress
from prune_deploy.pipeline.export import Exported, Network, export_bundle
from prune_deploy.records import Receipt, to_json
from prune_deploy.specs import IN_MEMORY, ExportSpec

if TYPE_CHECKING:
    from prune_deploy.models import LoadedModel
    from prune_deploy.pruning.pruner import Pruned


def export_module(
    loaded: LoadedModel,
    spec: ExportSpec,
    pruned: Pruned | None = None,
    out: Path | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Make a bundle of a module in memory.

    A bundle made of the same weights is returned as it is. `spec` names the model and the pruning that led to the module.
    `pruned` is what pruning it returned. The bundle's key covers the module's tensors, so a module with other weights is another
    bundle.

    Raises:
        InputError: the widths come from memory and no folder is named.
        ParityError, BuildError, CannotRunError, StorageError: as `export_bundle`.
    """
    if out is None and spec.prune is not None and spec.prune.plan == IN_MEMORY:
        raise InputError(
            "widths in memory give a bundle no name", fix="name its folder, for example `out='engines/mine'`", field="out"
        )

    def network() -> Network:
        receipt = pruned.receipt if pruned is not None else _dense_receipt(loaded)
        return Network(loaded, pruned, receipt)

    return export_bundle(spec, out, force=force, progress=progress, network=network, lineage=_lineage(loaded, pruned))


def _dense_receipt(loaded: LoadedModel) -> Receipt:
    from prune_deploy.pruning.counting import count
    from prune_deploy.pruning.meta_copy import make_meta_copy

    counts = count(make_meta_copy(loaded.module), loaded.resolved.input_size)
    return Receipt(request=None, before=counts, after=counts, groups=())


def _lineage(loaded: LoadedModel, pruned: Pruned | None) -> str:
    """Hash the tensors and the channels that are left."""
    import torch

    digest = hashlib.sha256(to_json(None if pruned is None else pruned.selection).encode())
    for name, tensor in loaded.module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"module {digest.hexdigest()}"
