"""Prune timm models, export them, and measure which is faster.

The functions are those of `prune_deploy.api`, in the order of the work: `build_model`, `prune`, `export_bundle`, `load`,
`verify_bundle`, `bench`, `compare`, `sweep`, `evaluate`, `finetune`, `read_run` and `read_report`. Specs hold requests and the records in
`prune_deploy.records` hold results. Every error is a `PruneDeployError`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prune_deploy.api import bench, build_model, compare, evaluate, export_bundle, finetune, prune, read_report, sweep
    from prune_deploy.errors import PruneDeployError
    from prune_deploy.evaluation.verify import verify_bundle
    from prune_deploy.export.bundle import load
    from prune_deploy.interfaces import Progress
    from prune_deploy.runs import read_run
    from prune_deploy.specs import (
        Block,
        EngineSpec,
        ExportSpec,
        FinetuneSpec,
        MaskSpec,
        MeasureSpec,
        ModelSpec,
        PruneSpec,
        QuantizeSpec,
        RunOptions,
        SweepSpec,
    )

__version__ = "0.1.0"
__all__ = [
    "Block",
    "EngineSpec",
    "ExportSpec",
    "FinetuneSpec",
    "MaskSpec",
    "MeasureSpec",
    "ModelSpec",
    "Progress",
    "PruneDeployError",
    "PruneSpec",
    "QuantizeSpec",
    "RunOptions",
    "SweepSpec",
    "bench",
    "build_model",
    "compare",
    "evaluate",
    "export_bundle",
    "finetune",
    "load",
    "prune",
    "read_report",
    "read_run",
    "sweep",
    "verify_bundle",
]

_HOMES = {
    **dict.fromkeys((name for name in __all__ if name.endswith("Spec")), "specs"),
    **dict.fromkeys(
        ("bench", "build_model", "compare", "evaluate", "export_bundle", "finetune", "prune", "read_report", "sweep"), "api"
    ),
    "Block": "specs",
    "RunOptions": "specs",
    "Progress": "interfaces",
    "PruneDeployError": "errors",
    "load": "export.bundle",
    "read_run": "runs",
    "verify_bundle": "evaluation.verify",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562).

    `import prune_deploy` itself thus imports nothing heavy.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
