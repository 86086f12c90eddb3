"""Smoothing: activation ranges moved into the weights behind layer norms.

No channel then needs more of the range than the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from prune_deploy.export.arrays import Array, Range
from prune_deploy.export.int8.calibration import Ranges
from prune_deploy.export.int8.layers import Layer, quantisable

_ALPHA = 0.5


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm whose output only quantised matrix products read.

    `tensor` is that output, and `layers` are those products.
    """

    name: str
    tensor: str
    layers: tuple[Layer, ...]


def smoothable(graph: onnx.GraphProto, layers: Iterable[Layer]) -> list[Norm]:
    """Return layer norms that can give their channels' ranges to weights."""
    readers: dict[str, list[str]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node.name)
    products = {layer.name: layer for layer in quantisable(layers) if layer.op in ("MatMul", "Gemm")}
    norms = []
    for node in graph.node:
        if node.op_type != "LayerNormalization":
            continue
        behind = readers[node.output[0]]
        # A weight with several readers cannot be scaled for one of them.
        if behind and all(name in products and len(readers[products[name].weight]) == 1 for name in behind):
            norms.append(Norm(node.name, node.output[0], tuple(products[name] for name in behind)))
    return norms


def smooth(model: onnx.ModelProto, norms: Sequence[Norm], ranges: Ranges) -> dict[str, Range]:
    """Scale `norms` and the weights behind them, and return the new ranges.

    The network computes the same as before. It is changed in place, and the ranges are those of the norms' outputs. Each channel
    is divided by sqrt(its largest activation / its largest weight) (SmoothQuant, Xiao et al., 2023, with alpha 0.5). The new
    ranges span all values seen, whatever the method of calibration.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    changed = {}
    for norm in norms:
        low, high = (np.asarray(bounds) for bounds in ranges.channels[norm.tensor])
        factors = _factors(np.maximum(np.abs(low), np.abs(high)), _largest_weights(norm, constants))
        node = nodes[norm.name]
        for position in range(1, len(node.input)):
            node.input[position] = _divided(model.graph, constants[node.input[position]], norm.name, factors)
        for layer in norm.layers:
            _multiply(constants[layer.weight], layer.axis, factors)
        changed[norm.tensor] = (float((low / factors).min()), float((high / factors).max()))
    return changed


def _largest_weights(norm: Norm, constants: Mapping[str, onnx.TensorProto]) -> Array:
    """Return the largest weight that each input channel meets in any product."""
    largest = [np.abs(numpy_helper.to_array(constants[layer.weight])).max(axis=layer.axis) for layer in norm.layers]
    return np.asarray(np.max(largest, axis=0))


def _factors(activations: Array, weights: Array) -> Array:
    alive = (activations > 0) & (weights > 0)
    ratio = np.where(alive, activations, 1.0) ** _ALPHA / np.where(alive, weights, 1.0) ** (1 - _ALPHA)
    return np.where(alive, ratio, 1.0).astype(np.float32)


def _divided(graph: onnx.GraphProto, tensor: onnx.TensorProto, norm: str, factors: Array) -> str:
    """Divide a constant of a norm by the factors.

    The result has a name of its own, because equal constants of several norms are one tensor.
    """
    name = f"{norm}_{tensor.name}_smoothed"
    graph.initializer.append(numpy_helper.from_array((numpy_helper.to_array(tensor) / factors).astype(np.float32), name))
    return name


def _multiply(tensor: onnx.TensorProto, axis: int, factors: Array) -> None:
    values = numpy_helper.to_array(tensor)
    scaled = values * (factors[None, :] if axis == 0 else factors[:, None])
    tensor.CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), tensor.name))
