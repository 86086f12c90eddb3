"""How tensors, layers and attributes get narrower. Each is a value: equal ones do the same thing, so cuts of one layer can be joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


def kept_positions(size: int, removed: Sequence[int]) -> torch.Tensor:
    """The positions of an axis that are left, in order."""
    gone = set(removed)
    return torch.tensor([position for position in range(size) if position not in gone], dtype=torch.long)


def narrowed(tensor: torch.Tensor, axis: int, removed: Sequence[int]) -> torch.Tensor:
    """A tensor without some positions of one axis; a parameter stays one."""
    kept = kept_positions(tensor.shape[axis], removed).to(tensor.device)
    result = tensor.detach().index_select(axis, kept)
    return nn.Parameter(result, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else result


@dataclass(frozen=True, slots=True)
class NarrowTensor:
    """Takes positions out of one axis of a parameter or buffer."""

    leaf: str
    axis: int

    def __call__(self, owner: Any, removed: Sequence[int]) -> Any:
        """`owner` is the module that holds the tensor."""
        setattr(owner, self.leaf, narrowed(getattr(owner, self.leaf), self.axis, removed))
        return owner


@dataclass(frozen=True, slots=True)
class NarrowNorm:
    """Takes channels out of a group norm, whose blocks stay as many."""

    def __call__(self, norm: Any, removed: Sequence[int]) -> Any:
        """`norm` loses the same channels in weight and bias."""
        for leaf in ("weight", "bias"):
            if getattr(norm, leaf) is not None:
                setattr(norm, leaf, narrowed(getattr(norm, leaf), 0, removed))
        norm.num_channels -= len(removed)
        return norm


@dataclass(frozen=True, slots=True)
class NarrowDepthwise:
    """Takes output channels out of a depthwise convolution with several outputs per input: groups go with their outputs."""

    def __call__(self, conv: Any, removed: Sequence[int]) -> Any:
        """All outputs of an input channel are among `removed`, or none."""
        each = conv.out_channels // conv.groups
        conv.weight = narrowed(conv.weight, 0, removed)
        if conv.bias is not None:
            conv.bias = narrowed(conv.bias, 0, removed)
        conv.out_channels -= len(removed)
        conv.groups -= len(removed) // each
        conv.in_channels = conv.groups
        return conv


@dataclass(frozen=True, slots=True)
class NarrowAttribute:
    """Lowers a size that a module keeps as an attribute: an int, or one element of a tuple or list."""

    leaf: str
    element: int | None = None

    def __call__(self, module: Any, removed: Sequence[int]) -> Any:
        """The size falls by as many as are removed."""
        value = getattr(module, self.leaf)
        if self.element is None:
            setattr(module, self.leaf, value - len(removed))
        else:
            sizes = list(value)
            sizes[self.element] -= len(removed)
            setattr(module, self.leaf, type(value)(sizes))
        return module
