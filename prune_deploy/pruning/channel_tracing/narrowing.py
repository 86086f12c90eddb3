"""Narrowing of tensors, layers and attributes.

Each kind is a value, and equal values do the same thing. Cuts of one layer can therefore be joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


def kept_positions(size: int, removed: Sequence[int]) -> torch.Tensor:
    """Return the remaining positions of an axis, in order."""
    gone = set(removed)
    return torch.tensor([position for position in range(size) if position not in gone], dtype=torch.long)


def narrowed(tensor: torch.Tensor, axis: int, removed: Sequence[int]) -> torch.Tensor:
    """Return a tensor without some positions of one axis.

    A parameter stays a parameter.
    """
    kept = kept_positions(tensor.shape[axis], removed).to(tensor.device)
    result = tensor.detach().index_select(axis, kept)
    return nn.Parameter(result, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else result


@dataclass(frozen=True, slots=True)
class NarrowTensor:
    """Removal of positions from one axis of a parameter or buffer."""

    leaf: str
    axis: int

    def __call__(self, owner: Any, removed: Sequence[int]) -> Any:
        """Narrow the tensor of `owner`, the module that holds it."""
        setattr(owner, self.leaf, narrowed(getattr(owner, self.leaf), self.axis, removed))
        return owner


@dataclass(frozen=True, slots=True)
class NarrowNorm:
    """Removal of channels from a group norm.

    The norm keeps its number of blocks.
    """

    def __call__(self, norm: Any, removed: Sequence[int]) -> Any:
        """Remove the same channels from the weight and bias of `norm`."""
        for leaf in ("weight", "bias"):
            if getattr(norm, leaf) is not None:
                setattr(norm, leaf, narrowed(getattr(norm, leaf), 0, removed))
        norm.num_channels -= len(removed)
        return norm


@dataclass(frozen=True, slots=True)
class NarrowDepthwise:
    """Removal of output channels from a depthwise convolution.

    It has several outputs per input. A group is removed with its outputs.
    """

    def __call__(self, conv: Any, removed: Sequence[int]) -> Any:
        """Remove output channels and the groups that they belong to.

        All outputs of an input channel are among `removed`, or none.
        """
        multiplier = conv.out_channels // conv.groups
        conv.weight = narrowed(conv.weight, 0, removed)
        if conv.bias is not None:
            conv.bias = narrowed(conv.bias, 0, removed)
        conv.out_channels -= len(removed)
        conv.groups -= len(removed) // multiplier
        conv.in_channels = conv.groups
        return conv


@dataclass(frozen=True, slots=True)
class NarrowAttribute:
    """Reduction of a size that a module keeps as an attribute.

    It is an int, or one element of a tuple or list.
    """

    leaf: str
    element: int | None = None

    def __call__(self, module: Any, removed: Sequence[int]) -> Any:
        """Reduce the size by the number of removed positions."""
        value = getattr(module, self.leaf)
        if self.element is None:
            setattr(module, self.leaf, value - len(removed))
        else:
            sizes = list(value)
            sizes[self.element] -= len(removed)
            setattr(module, self.leaf, type(value)(sizes))
        return module
