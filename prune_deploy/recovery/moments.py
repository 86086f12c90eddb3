"""Second moments of a consumer's dense and pruned inputs.

They are summed up batch by batch, and no activation is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from prune_deploy.recovery.sites import Layer


@dataclass(slots=True)
class Moments:
    """Sums over samples of dense inputs x and pruned inputs z.

    `dense` is Σxxᵀ of shape (C, C), `cross` Σxzᵀ of (C, K), `pruned` Σzzᵀ of (K, K). `dense_sum` and `pruned_sum` are Σx and Σz.
    """

    dense: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    cross: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    pruned: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    dense_sum: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    pruned_sum: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    count: int = 0

    def add(self, dense: torch.Tensor, pruned: torch.Tensor) -> None:
        """Add samples of shape (samples, C) and (samples, K)."""
        self.dense = self.dense + (dense.T @ dense).double()
        self.cross = self.cross + (dense.T @ pruned).double()
        self.pruned = self.pruned + (pruned.T @ pruned).double()
        self.dense_sum = self.dense_sum + dense.double().sum(0)
        self.pruned_sum = self.pruned_sum + pruned.double().sum(0)
        self.count += len(dense)

    def normalised(self, *, centred: bool) -> Moments:
        """Return means per sample, about the inputs' means if `centred`."""
        dense_mean, pruned_mean = self.dense_sum / self.count, self.pruned_sum / self.count
        shift = 1.0 if centred else 0.0
        return Moments(
            dense=self.dense / self.count - shift * torch.outer(dense_mean, dense_mean),
            cross=self.cross / self.count - shift * torch.outer(dense_mean, pruned_mean),
            pruned=self.pruned / self.count - shift * torch.outer(pruned_mean, pruned_mean),
            dense_sum=dense_mean,
            pruned_sum=pruned_mean,
            count=1,
        )


def samples_of(layer: Layer, inputs: torch.Tensor) -> torch.Tensor:
    """Return what a layer multiplies as rows, shape (samples, channels).

    A convolution's samples are the pixels that its taps read.
    """
    if isinstance(layer, nn.Linear):
        return inputs.reshape(-1, inputs.shape[-1])
    if layer.kernel_size == (1, 1):
        inputs = inputs[..., :: layer.stride[0], :: layer.stride[1]]
    return inputs.permute(0, 2, 3, 1).reshape(-1, inputs.shape[1])
