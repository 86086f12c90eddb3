"""Least-squares folds of missing inputs into their consumers.

A consumer of dense inputs x gets inputs z in the pruned network. B is the linear map with the least E‖x − Bz‖². The consumer's dense
weights W become W·B. For a linear layer these are the weights with the least error of its outputs.

The ridge pulls B towards the plain cut S, which takes each remaining channel for itself: B = S + (E[xzᵀ] − S·E[zzᵀ])(E[zzᵀ] + λI)⁻¹
with λ = RIDGE times the mean of E[zzᵀ]'s diagonal. Where nothing is missing, B is exactly S.

Source: He, Zhang and Sun, Channel Pruning, ICCV 2017 (targets from the dense network).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from prune_deploy.recovery.moments import Moments
from prune_deploy.recovery.sites import Layer, Site

RIDGE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """New weights of a consumer, with its errors on held-out images.

    `bias` is None where the layer has none. The errors are shares of the dense output's power.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    error_before: float
    error_after: float

    @property
    def helps(self) -> bool:
        """True if the held-out error is smaller than the plain cut's."""
        return self.error_after < self.error_before


def fold(dense: Layer, site: Site, fitted: Moments, held_out: Moments, *, before_norm: bool) -> Fold:
    """Solve for a consumer's weights.

    `dense` is the consumer in the dense network. `fitted` and `held_out` are moments of two halves of the images. `before_norm` tells
    that a batch norm follows, which takes up any constant.
    """
    weight = dense.weight.detach().double()[site.outputs]
    has_intercept = dense.bias is not None and not _is_padded(dense)
    centred = has_intercept or before_norm
    moments = fitted.normalised(centred=centred)
    plain = torch.zeros_like(moments.cross)
    plain[site.inputs, torch.arange(len(site.inputs))] = 1.0
    solved = _solve(moments, plain)
    bias = None if dense.bias is None else dense.bias.detach().double()[site.outputs]
    if has_intercept and bias is not None:
        bias = bias + _summed_taps(weight) @ (moments.dense_sum - solved @ moments.pruned_sum)
    judged = held_out.normalised(centred=centred)
    return Fold(
        weight=torch.einsum("oc...,ck->ok...", weight, solved),
        bias=bias,
        error_before=_error(weight, plain, judged),
        error_after=_error(weight, solved, judged),
    )


def _solve(moments: Moments, plain: torch.Tensor) -> torch.Tensor:
    size = len(moments.pruned)
    ridge = RIDGE * float(moments.pruned.diagonal().mean())
    regular = moments.pruned + max(ridge, torch.finfo(torch.float32).tiny) * torch.eye(size, dtype=torch.float64)
    missed = moments.cross - plain @ moments.pruned
    return plain + torch.cholesky_solve(missed.T, torch.linalg.cholesky(regular)).T


def _error(weight: torch.Tensor, mapping: torch.Tensor, moments: Moments) -> float:
    """Return a consumer's error, as a share of its output's power.

    The taps of a convolution count as if they read independent pixels.
    """
    left = moments.dense - mapping @ moments.cross.T - moments.cross @ mapping.T + mapping @ moments.pruned @ mapping.T
    rows = weight.flatten(2).permute(0, 2, 1).reshape(-1, weight.shape[1]) if weight.dim() > 2 else weight
    power = float(((rows @ moments.dense) * rows).sum())
    return max(0.0, float(((rows @ left) * rows).sum())) / power if power > 0 else 0.0


def _summed_taps(weight: torch.Tensor) -> torch.Tensor:
    return weight.flatten(2).sum(2) if weight.dim() > 2 else weight


def _is_padded(layer: Layer) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.padding not in ((0, 0), "valid")
