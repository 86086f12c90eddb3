"""Models by short code or timm name, with recorded weights."""

from prune_deploy.models.build import LoadedModel, create_model, preprocessing_of, randomize_init, skeleton
from prune_deploy.models.checkpoints import load_weights
from prune_deploy.models.names import SHORT_CODE_CLASSES, resolve

__all__ = [
    "SHORT_CODE_CLASSES",
    "LoadedModel",
    "create_model",
    "load_weights",
    "preprocessing_of",
    "randomize_init",
    "resolve",
    "skeleton",
]
