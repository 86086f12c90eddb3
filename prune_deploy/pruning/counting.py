"""Counters of parameters and of multiply-accumulates.

MACs are counted in two ways that must not be mixed up.
"""

from __future__ import annotations

import warnings

import torch
import torch_pruning as tp
from torch import nn

from prune_deploy.pruning.flops import flop_counter
from prune_deploy.pruning.meta_copy import example_input, make_meta_copy
from prune_deploy.records import Counts


def count(meta_copy: nn.Module, input_size: tuple[int, int, int]) -> Counts:
    """Count the parameters and MACs of a meta copy.

    MACs are those of one image of shape `input_size`.
    """
    return Counts(
        params=count_params(meta_copy),
        macs=count_macs(meta_copy, input_size),
        macs_with_attention=_macs_with_attention(meta_copy, input_size),
    )


def count_params(model: nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(meta_copy: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Count MACs as torch-pruning does, as in the published tables.

    Layers, activations and norms count. Source: torch_pruning/utils/op_counter.py.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        macs, _ = tp.utils.count_ops_and_params(meta_copy, example_input(input_size))
    return int(macs)


def _macs_with_attention(meta_copy: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Count the MACs of every convolution and matrix product.

    Products inside attention are included. Source: torch.utils.flop_counter, which counts two FLOPs per MAC.
    """
    counter = flop_counter()
    # The counter follows modules through gradients, and trips over parameters that want one while none is recorded.
    frozen = make_meta_copy(meta_copy).requires_grad_(False)
    with torch.no_grad(), counter:
        frozen(example_input(input_size))
    return int(counter.get_total_flops()) // 2
