"""Images to run a network on: synthetic, from data sets, from folders."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prune_deploy.data.batches import Batch, Batches
    from prune_deploy.data.calibration import CalibrationImages, calibration_images
    from prune_deploy.data.sources import ImageSet, Split, open_images
    from prune_deploy.data.synthetic import synthetic_images

__all__ = [
    "Batch",
    "Batches",
    "CalibrationImages",
    "ImageSet",
    "Split",
    "calibration_images",
    "open_images",
    "synthetic_images",
]

_HOMES = {
    "Batch": "batches",
    "Batches": "batches",
    "CalibrationImages": "calibration",
    "ImageSet": "sources",
    "Split": "sources",
    "calibration_images": "calibration",
    "open_images": "sources",
    "synthetic_images": "synthetic",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562).

    This keeps `prune_deploy.data.files` free of torch and Pillow.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
