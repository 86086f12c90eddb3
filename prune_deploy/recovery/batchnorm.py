"""Statistics of batch norms, taken anew from unlabelled images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms that keep running statistics."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


def recalibrate(model: nn.Module, batches: Iterable[torch.Tensor]) -> int:
    """Replace the running statistics by averages over batches of images.

    Every batch counts alike (momentum None). Dropout and other modules stay in eval mode. Returns the number of batch norms.
    """
    norms = batch_norms(model)
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad(), _training(norms):
        for images in batches:
            model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return len(norms)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Let batch norms use each batch's own statistics for a block.

    The running ones do not change.
    """
    norms = batch_norms(model)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    with _training(norms):
        yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@contextmanager
def _training(norms: Iterable[_BatchNorm]) -> Iterator[None]:
    norms = list(norms)
    for norm in norms:
        norm.training = True
    try:
        yield
    finally:
        for norm in norms:
            norm.training = False
