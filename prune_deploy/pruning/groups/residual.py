"""Residual streams of a traced graph: x → f(x), x + f(x)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch_pruning as tp

_PRODUCERS = (tp.ops.TORCH_CONV, tp.ops.TORCH_LINEAR)


def is_on_cycle(start: int, feeds: Sequence[set[int]]) -> bool:
    """Return whether a path along `feeds` leaves `start` and comes back.

    `feeds` maps a node to the nodes it feeds.
    """
    pending, seen = list(feeds[start]), set()
    while pending:
        index = pending.pop()
        if index == start:
            return True
        if index not in seen:
            seen.add(index)
            pending.extend(feeds[index])
    return False


def names_added_to(graph: tp.DependencyGraph, names: Mapping[Any, str]) -> set[str]:
    """Return the layers whose output reaches an addition of two tensors.

    No other layer lies between. `names` maps modules to names.
    """
    result: set[str] = set()
    for module, node in graph.module2node.items():
        if "AddBackward" in str(getattr(module, "_grad_fn", "")) and len(node.inputs) >= 2:
            result |= _producers_above(node, names)
    return result


def _producers_above(node: Any, names: Mapping[Any, str]) -> set[str]:
    result: set[str] = set()
    pending, seen = list(node.inputs), set()
    while pending:
        above = pending.pop()
        if above in seen:
            continue
        seen.add(above)
        if above.module in names:
            result.add(names[above.module])
        if not isinstance(above.module, _PRODUCERS):
            pending.extend(above.inputs)  # operations, norms and scales pass the stream on
    return result
