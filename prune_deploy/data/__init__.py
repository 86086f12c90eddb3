"""Images to run a network on: made ones, and labelled ones of data sets and folders."""

from __future__ import annotations

from prune_deploy.data.batches import Batch, Batches
from prune_deploy.data.sources import ImageSet, Split, open_images
from prune_deploy.data.synthetic import synthetic_images

__all__ = ["Batch", "Batches", "ImageSet", "Split", "open_images", "synthetic_images"]
