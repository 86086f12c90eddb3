"""Criteria that torch-pruning implements, behind the Method interface.

They score a group's real layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from prune_deploy.interfaces import GroupLayer, LayerGroup, Method
from prune_deploy.pruning.methods.base import WeightsOnly

if TYPE_CHECKING:
    import torch

Importance = Callable[[Any], "torch.Tensor | None"]


@dataclass(frozen=True, slots=True)
class _Dependency:
    """Fields that torch-pruning's importance classes read of a dependency."""

    layer: Any
    pruning_fn: Any


class _Item(tuple[Any, Any]):
    """Pair (dependency, indices) with the root indices, as torch-pruning's GroupItem."""

    root_idxs: list[int]

    @classmethod
    def of(cls, layer: GroupLayer, power: int | None) -> _Item:
        module = layer.module if power is None else _summed_up(layer.module, layer.pruning_fn, power)
        item = cls((_Dependency(module, layer.pruning_fn), list(layer.positions)))
        item.root_idxs = list(layer.roots)
        return item


class _GroupView:
    """LayerGroup in the form that torch-pruning's importance classes iterate over."""

    def __init__(self, items: list[_Item]) -> None:
        self._items = items

    @classmethod
    def of(cls, group: LayerGroup, power: int | None) -> _GroupView:
        return cls([_Item.of(layer, power) for layer in group.layers])

    def __iter__(self) -> Iterator[_Item]:
        return iter(self._items)

    def __getitem__(self, index: int) -> _Item:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)


def _summed_up(layer: Any, pruning_fn: Any, power: int) -> Any:
    """Return a layer whose filters are single weights of the same norm.

    torch-pruning copies all weights three times to sum their powers, which takes seconds for a large network. Inputs of a layer stay
    as they are: nothing is faster there.
    """
    import torch
    import torch_pruning as tp

    filters = {tp.prune_conv_out_channels, tp.prune_linear_out_channels}
    if pruning_fn not in filters or getattr(layer, "transposed", False):
        return layer
    norms = torch.linalg.vector_norm(layer.weight.detach().flatten(1), ord=power, dim=1, keepdim=True)
    short = copy.copy(layer)
    short._parameters = {**layer._parameters, "weight": torch.nn.Parameter(norms, requires_grad=False)}
    return short


class TorchPruningImportance(WeightsOnly):
    """One of torch-pruning's importance classes as a Method.

    `power` says that it sums that power of a filter's weights and uses nothing else of them.
    """

    def __init__(self, name: str, summary: str, source: str, make: Callable[[], Importance], power: int | None) -> None:
        self.name = name
        self.summary = summary
        self.source = source
        self._make = make
        self._power = power

    @cached_property
    def _importance(self) -> Importance:
        """Made when it is first needed: methods are listed without torch-pruning."""
        return self._make()

    def scores(self, group: LayerGroup) -> torch.Tensor | None:
        """Return scores of shape (channels,).

        They are None where the group has no layer that the criterion uses.
        """
        try:
            result = self._importance(_GroupView.of(group, self._power))
        except RuntimeError:
            return None  # torch-pruning sums into the first layer that scores, and here another one reaches channels beyond it
        if result is None or len(result) == 0:
            return None
        if len(result) != group.channels:
            # The first layer that scores does not reach every root channel, so its scores cannot be assigned to channels.
            return None
        return result


class _FilterDistances:
    """FPGM without the inputs of grouped convolutions.

    The filters that feed them decide. torch-pruning 1.6.1 fails there (importance.py, FPGMImportance: it repeats a matrix as if
    it were a vector).
    """

    def __init__(self) -> None:
        self._importance = _upstream("FPGMImportance")

    def __call__(self, view: _GroupView) -> torch.Tensor | None:
        result: torch.Tensor | None = self._importance(_GroupView([item for item in view if not _is_grouped_input(item)]))
        return result


def _is_grouped_input(item: _Item) -> bool:
    import torch_pruning as tp

    dependency, _ = item
    return bool(dependency.pruning_fn == tp.prune_conv_in_channels and dependency.layer.groups > 1)


def _upstream(name: str, **options: Any) -> Importance:
    """Return one of torch-pruning's importance objects."""
    import torch_pruning as tp

    made: Importance = getattr(tp.importance, name)(**options)
    return made


_CRITERIA: dict[str, tuple[str, str, Callable[[], Importance]]] = {
    "l1": (
        "L1 norm of the weights, mean over the group",
        "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (arXiv 1608.08710)",
        lambda: _upstream("GroupMagnitudeImportance", p=1),
    ),
    "l2": (
        "L2 norm of the weights, mean over the group",
        "Fang et al., DepGraph, CVPR 2023 (arXiv 2301.12900)",
        lambda: _upstream("GroupMagnitudeImportance", p=2),
    ),
    "bn-scale": (
        "scale of the batch norms; groups without one get no score",
        "Liu et al., Network Slimming, ICCV 2017 (arXiv 1708.06519)",
        lambda: _upstream("BNScaleImportance"),
    ),
    "lamp": (
        "magnitude relative to what would remain",
        "Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR 2021 (arXiv 2010.07611)",
        lambda: _upstream("LAMPImportance"),
    ),
    "fpgm": (
        "distance to the other filters: replaceable ones go",
        "He et al., Filter Pruning via Geometric Median, CVPR 2019 (arXiv 1811.00250)",
        _FilterDistances,
    ),
}


_POWERS = {"l1": 1, "l2": 2, "lamp": 2}
"""Powers of the weights that criteria sum over each filter."""


def _factory(name: str) -> Callable[[int], Method]:
    summary, source, make = _CRITERIA[name]
    return lambda _seed: TorchPruningImportance(name, summary, source, make, _POWERS.get(name))


METHODS: dict[str, Callable[[int], Method]] = {name: _factory(name) for name in _CRITERIA}
