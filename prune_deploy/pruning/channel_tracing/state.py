"""What rules see of a run, and the shape of a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from prune_deploy.pruning.channel_tracing.classes import Axes, Classes


class State(Protocol):
    """What rules see of a run: the classes, and any tensor's axes."""

    classes: Classes

    def axes(self, tensor: torch.Tensor | None) -> Axes:
        """Labels of a tensor; none where it has no channels."""

    def operand(self, tensor: torch.Tensor) -> tuple[Axes, tuple[int, ...]]:
        """Labels and shape of a tensor."""


Rule = Callable[[State, Sequence[Any], Any], list[Axes]]
"""From the state, an operation's arguments and its output (a tensor or several) to the outputs' axes."""


def positive(axis: int, dims: int) -> int:
    """An axis counted from the front."""
    return axis % dims if dims else 0


def tensors_in(args: Sequence[Any]) -> list[torch.Tensor]:
    """The tensors among arguments, those in lists too."""
    flat = [item for arg in args for item in (arg if isinstance(arg, (list, tuple)) else (arg,))]
    return [item for item in flat if isinstance(item, torch.Tensor)]
