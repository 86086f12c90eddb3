"""Sizes that modules keep as attributes and read again in `forward`.

They are found by the arguments of the module's operations, independent of their names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from prune_deploy.pruning.channel_tracing.classes import Labels
from prune_deploy.pruning.channel_tracing.narrowing import NarrowAttribute
from prune_deploy.pruning.channel_tracing.tracing import Traced

# Layers whose own narrowing keeps their attributes right.
_HANDLED = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True, slots=True)
class Size:
    """Size that a module keeps as an attribute, and its axis's labels."""

    module: str
    handler: NarrowAttribute
    labels: Labels


def sizes_of(meta_copy: nn.Module, traced: Traced, fixed: Collection[type[nn.Module]] = ()) -> Iterator[Size]:
    """Yield the attributes that hold the size of an axis.

    The module's own operations made that axis, or else read it. Modules of a `fixed` type are skipped.
    """
    modules = dict(meta_copy.named_modules())
    for (name, size), seen in (traced.read | traced.made).items():
        if not isinstance(modules[name], _HANDLED) and type(modules[name]) not in fixed:
            for leaf, element in _named(modules[name], size):
                # Of several axes of this size the last counts: it is what a module finally makes of its channels.
                yield Size(name, NarrowAttribute(leaf, element), seen[-1])


def _named(module: Any, size: int) -> Iterator[tuple[str, int | None]]:
    for leaf, value in module.__dict__.items():
        if leaf.startswith("_") or "num_" in leaf or leaf == "groups":
            continue
        if type(value) is int and value == size:
            yield leaf, None
        elif isinstance(value, (tuple, list)) and all(type(item) is int for item in value):
            yield from ((leaf, element) for element, item in enumerate(value) if item == size)
