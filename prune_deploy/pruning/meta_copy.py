"""Meta copies of models: the same modules without any weights.

Planning and trial runs use it and need no weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


def make_meta_copy(model: nn.Module) -> nn.Module:
    """Copy `model` in eval mode to the meta device.

    `model` itself does not change. Parameters require gradients whatever the original's do, because DepGraph traces through autograd.
    """
    # deepcopy looks tensors up in the memo first, so handing it weightless stand-ins avoids copying a single weight.
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.is_floating_point())
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    for module in model.modules():
        for tensor in _loose_tensors(module):
            memo.setdefault(id(tensor), tensor.detach().to("meta"))
    return copy.deepcopy(model, memo).eval()


def _loose_tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    """Find tensors that a module keeps as plain attributes.

    TinyViT's cache of attention biases is one. deepcopy refuses those with a history.
    """
    for value in module.__dict__.values():
        values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else (value,)
        yield from (item for item in values if isinstance(item, torch.Tensor))


def example_input(input_size: tuple[int, int, int], batch: int = 1) -> torch.Tensor:
    """A weightless image batch of shape (batch, channels, height, width)."""
    return torch.empty(batch, *input_size, device="meta")


def parameter_owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds parameter `name`, and the parameter's name within it."""
    owner, _, leaf = name.rpartition(".")
    return model.get_submodule(owner), leaf
