"""Base classes of methods: scores from weights, and from a plain function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prune_deploy.interfaces import LayerGroup, Need, ScoreFunction
from prune_deploy.records import WidthPlan

if TYPE_CHECKING:
    import torch
    from torch import nn


class WeightsOnly:
    """Base of methods that use weights alone.

    They need no preparation, and do nothing during training.
    """

    needs: frozenset[Need] = frozenset()

    def prepare(self, model: nn.Module, data: Iterable[torch.Tensor] | None, plan: WidthPlan | None) -> None:
        """Do nothing: there is nothing to prepare."""

    def on_step(self, model: nn.Module, step: int) -> None:
        """Do nothing: such methods have no part in training."""


class FunctionMethod(WeightsOnly):
    """Method made of one function."""

    def __init__(self, name: str, function: ScoreFunction) -> None:
        self.name = name
        self.summary = (function.__doc__ or "a plain score function").strip().splitlines()[0]
        self.source = function.__module__
        self._function = function

    def scores(self, group: LayerGroup) -> torch.Tensor | None:
        """Return the function's scores."""
        return self._function(group)
