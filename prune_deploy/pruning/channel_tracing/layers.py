"""Slots: axes that are narrowed together, and the function that does it.

A slot is a layer's outputs, its inputs, or one bare tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch_pruning as tp
from torch import nn

from prune_deploy.pruning.channel_tracing.classes import Labels
from prune_deploy.pruning.channel_tracing.narrowing import NarrowDepthwise, NarrowNorm, NarrowTensor
from prune_deploy.pruning.channel_tracing.tracing import Traced

_CONVS = nn.modules.conv._ConvNd
_BATCH_NORMS = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True, slots=True)
class Slot:
    """Something that is narrowed as one.

    `labels[i]` stands at its position i. `is_layer` is false for bare tensors.
    """

    name: str
    kind: str
    labels: Labels
    handler: Callable[..., Any]
    is_output: bool
    is_layer: bool
    axis: int = 0


def slots_of(meta_copy: nn.Module, traced: Traced) -> Iterator[Slot]:
    """Yield every slot of a traced model, in model order."""
    taken: set[str] = set()
    for name, module in meta_copy.named_modules():
        for slot, leaves in _layer_slots(name, module, traced):
            yield slot
            taken.update(f"{name}.{leaf}".lstrip(".") for leaf in leaves)
        own = [leaf for leaf, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))]
        for leaf in own:
            full = f"{name}.{leaf}".lstrip(".")
            if full not in taken and full in traced.tensors:
                for axis, labels in traced.tensors[full].items():
                    yield Slot(full, type(module).__name__, labels, NarrowTensor(leaf, axis), True, False, axis)


def _layer_slots(name: str, module: Any, traced: Traced) -> Iterator[tuple[Slot, tuple[str, ...]]]:
    weight = traced.tensors.get(f"{name}.weight".lstrip("."))
    if weight is None:
        return
    kind = type(module).__name__
    if isinstance(module, nn.Linear):
        yield from _two_sided(name, kind, weight, (0, 1), tp.prune_linear_out_channels, tp.prune_linear_in_channels)
    elif isinstance(module, _CONVS) and not module.transposed and module.groups > 1 and module.in_channels == module.groups:
        handler = tp.prune_depthwise_conv_out_channels if module.out_channels == module.groups else NarrowDepthwise()
        yield Slot(name, kind, weight[0], handler, True, True), ("weight", "bias")
    elif isinstance(module, _CONVS):
        out, into = (1, 0) if module.transposed else (0, 1)
        axes = {out: weight[out]} if out in weight else {}
        if into in weight:
            axes[into] = np.tile(weight[into], module.groups) if not module.transposed else weight[into]
        yield from _two_sided(name, kind, axes, (out, into), tp.prune_conv_out_channels, tp.prune_conv_in_channels)
    elif isinstance(module, _BATCH_NORMS) and 0 in weight:
        yield (
            Slot(name, kind, weight[0], tp.prune_batchnorm_out_channels, True, True),
            ("weight", "bias", "running_mean", "running_var"),
        )
    elif isinstance(module, nn.LayerNorm) and list(weight) == [0]:
        yield Slot(name, kind, weight[0], tp.prune_layernorm_out_channels, True, True, -1), ("weight", "bias")
    elif isinstance(module, nn.GroupNorm) and 0 in weight:
        yield Slot(name, kind, weight[0], NarrowNorm(), True, True), ("weight", "bias")


def _two_sided(
    name: str, kind: str, weight: dict[int, Labels], axes: tuple[int, int], out: Callable[..., Any], into: Callable[..., Any]
) -> Iterator[tuple[Slot, tuple[str, ...]]]:
    if axes[0] in weight:
        yield Slot(name, kind, weight[axes[0]], out, True, True), ("weight", "bias")
    if axes[1] in weight:
        yield Slot(name, kind, weight[axes[1]], into, False, True), ("weight",)
