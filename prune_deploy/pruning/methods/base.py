"""The simplest method: a plain function from group to scores."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from prune_deploy.interfaces import LayerGroup, Need, ScoreFunction
from prune_deploy.records import WidthPlan


class WeightsOnly:
    """Base of methods that look at weights alone: nothing to prepare, nothing to do while training."""

    needs: frozenset[Need] = frozenset()

    def prepare(self, model: nn.Module, data: Iterable[torch.Tensor] | None, plan: WidthPlan | None) -> None:
        """Nothing to prepare."""

    def on_step(self, model: nn.Module, step: int) -> None:
        """Nothing to do while training."""


class FunctionMethod(WeightsOnly):
    """A Method made of one function."""

    def __init__(self, name: str, function: ScoreFunction) -> None:
        self.name = name
        self.summary = (function.__doc__ or "a plain score function").strip().splitlines()[0]
        self.source = function.__module__
        self._function = function

    def scores(self, group: LayerGroup) -> torch.Tensor | None:
        """Whatever the function says."""
        return self._function(group)
