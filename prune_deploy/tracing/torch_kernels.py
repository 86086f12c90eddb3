"""Rows of a compiled module: Inductor's fused kernels and called operators."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from prune_deploy.tracing.torch_layers import ATEN, Ledger
from prune_deploy.tracing.torch_modules import Network

# "graph_0_cpp_fused_add_relu_3", "triton_poi_fused_add_relu_3": the fused operators stand between the kind and the number.
_KERNEL = re.compile(r"^(?:graph_\d+_)?((?:cpp|triton_[a-z]+)_fused_(?P<fused>\w+?)_\d+|(?:cpp|triton)_\w+)$")
_OPERATOR = re.compile(r"^\w+::")
_ATTENTION = "attention"


def by_kernel(roots: Sequence[Any], network: Network, on_device: bool) -> Ledger:
    """Return the rows of a compiled module.

    There is one for each fused kernel, each layer whose product is a call of an operator, and each other operator. `roots` are
    one event per run. `network` is what an eager run observed of the same module.
    """
    ledger = Ledger(len(roots), on_device)
    for run, root in enumerate(roots):
        products = _Products(network)
        _walk(ledger, products, run, root)
    return ledger


def _walk(ledger: Ledger, products: _Products, run: int, event: Any) -> None:
    kernel = _KERNEL.match(event.name)
    if kernel is not None:
        ledger.book(run, kernel[1], (kernel["fused"] or kernel[1]).strip("_"), event)
    elif _OPERATOR.match(event.name):
        op = event.name.removeprefix(ATEN)
        ledger.book(run, products.take(event) or op, op, event)
    else:
        ledger.book_kernels(run, event)
        for child in event.cpu_children:
            _walk(ledger, products, run, child)


class _Products:
    """Multiplying layers of a network, in its order.

    Each is matched with one call of an operator.
    """

    def __init__(self, network: Network) -> None:
        self._left = [(row, sorted(network.facts[row].weight_shape)) for row in network.multiplied]

    def take(self, event: Any) -> str:
        """Remove and return the first layer that fits an operator's inputs.

        Returns "" if none does.
        """
        shapes = [sorted(shape) for shape in event.input_shapes or [] if len(shape) > 1]
        is_attention = _ATTENTION in event.name
        for place, (row, weight) in enumerate(self._left):
            fits = weight in shapes if weight else is_attention and _ATTENTION in row
            if fits:
                del self._left[place]
                return row
        return ""
