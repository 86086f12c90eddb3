"""Pruning, export and measurement of timm models.

It tells which pruned model is really faster on the runtime you deploy on, and makes the artifact to ship. The pipeline, in order:

- `create_model` builds a timm model.
- `prune` removes channels and writes a receipt.
- `export_bundle` does all of it, up to a bundle on disk.
- `load` brings a bundle's module back without a pickle.
- `verify_bundle` checks that a bundle is what it says.

Requests are in `prune_deploy.specs`, observations in `prune_deploy.records`, and errors in `prune_deploy.errors`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prune_deploy.evaluate.verify import verify_bundle
    from prune_deploy.export.bundle import load
    from prune_deploy.models import create_model
    from prune_deploy.pipeline import export_bundle
    from prune_deploy.pruning.pruner import prune
    from prune_deploy.specs import EngineSpec, ExportSpec, ModelSpec, PruneSpec

__version__ = "0.1.0"
__all__ = [
    "EngineSpec",
    "ExportSpec",
    "ModelSpec",
    "PruneSpec",
    "create_model",
    "export_bundle",
    "load",
    "prune",
    "verify_bundle",
]

_HOMES = {
    "EngineSpec": "specs",
    "ExportSpec": "specs",
    "ModelSpec": "specs",
    "PruneSpec": "specs",
    "create_model": "models",
    "export_bundle": "pipeline",
    "load": "export.bundle",
    "prune": "pruning.pruner",
    "verify_bundle": "evaluate.verify",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562).

    `import prune_deploy` thus costs nothing.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
