"""Interface between rules and a run, and the type of a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from prune_deploy.pruning.channel_tracing.classes import Axes, Classes


class State(Protocol):
    """Part of a run that rules use: classes and axes."""

    classes: Classes

    def axes(self, tensor: torch.Tensor | None) -> Axes:
        """Return the labels of a tensor, none where it has no channels."""

    def operand(self, tensor: torch.Tensor) -> tuple[Axes, tuple[int, ...]]:
        """Return the labels and the shape of a tensor."""


Rule = Callable[[State, Sequence[Any], Any], list[Axes]]
"""Function that returns the axes of an operation's outputs.

Its arguments are the state, the operation's arguments and its output, a tensor or several.
"""


def positive(axis: int, dims: int) -> int:
    """Return an axis counted from the front."""
    return axis % dims if dims else 0


def tensors_in(args: Sequence[Any]) -> list[torch.Tensor]:
    """Return the tensors among arguments, those in lists too."""
    flat = [item for arg in args for item in (arg if isinstance(arg, (list, tuple)) else (arg,))]
    return [item for item in flat if isinstance(item, torch.Tensor)]
