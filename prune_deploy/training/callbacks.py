"""Callbacks of a training: what may change the network after a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from prune_deploy.records import Epoch


class Callback(Protocol):
    """Participant in a training, called after steps and epochs.

    It may change weights in place. Everything it keeps must follow from them and the step, because a training that continues
    after an interruption makes its callbacks anew.
    """

    def on_step(self, model: nn.Module, step: int, /) -> None:
        """Act after a step of the optimizer.

        Steps are counted from 1 over all epochs.
        """

    def on_epoch_end(self, model: nn.Module, epoch: Epoch, /) -> None:
        """Called after an epoch's validation."""


@dataclass(frozen=True, slots=True)
class Stepwise:
    """Callback of one function.

    An example is `on_step` of a `prune_deploy.interfaces.Method`.
    """

    function: Callable[[nn.Module, int], None]

    def on_step(self, model: nn.Module, step: int) -> None:
        """Call the function."""
        self.function(model, step)

    def on_epoch_end(self, model: nn.Module, epoch: Epoch) -> None:
        """Do nothing."""


class KeepZeros:
    """Callback that keeps zero weights at zero: a mask that outlives training.

    It covers the weights of convolutions and linear layers that are zero when it is made.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = {name: module for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
        self._zeros = {f"{name}.weight": layer.weight.detach() == 0 for name, layer in layers.items()}

    @torch.no_grad()
    def on_step(self, model: nn.Module, _step: int) -> None:
        """Set them to zero again."""
        for name, zeros in self._zeros.items():
            weight = model.get_parameter(name)
            weight.masked_fill_(zeros.to(weight.device), 0.0)

    def on_epoch_end(self, model: nn.Module, epoch: Epoch) -> None:
        """Do nothing."""
