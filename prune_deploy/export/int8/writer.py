"""Writer of Q/DQ nodes into a graph according to a plan.

onnxruntime.quantization's own writer sends every reader of a quantised tensor through Q/DQ, including layers that are to stay
float. It also handles each channel of a weight separately in Python, which takes a minute for a large transformer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from prune_deploy.export.arrays import Array, Range
from prune_deploy.export.int8.layers import Layer
from prune_deploy.export.int8.qdq_plan import Plan

_LARGEST = 127
_LEVELS = 255
# int32 holds a bias and what the products add to it.
_BIAS_LARGEST = 2.0**30


def quantize(model: onnx.ModelProto, plan: Plan, ranges: Mapping[str, Range], *, half_scales: bool = False) -> None:
    """Put Q/DQ nodes into `model`, in place.

    The nodes that were there keep their names and metadata. With `half_scales`, scales are numbers that FP16 has too, so that the
    weights are right for a graph that is converted afterwards.
    """
    _Writer(model.graph, plan, ranges, half_scales).write()


class _Writer:
    def __init__(self, graph: onnx.GraphProto, plan: Plan, ranges: Mapping[str, Range], half_scales: bool) -> None:
        self._graph, self._plan, self._ranges, self._half = graph, plan, ranges, half_scales
        self._nodes = {node.name: node for node in graph.node}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._pairs: dict[str, tuple[onnx.NodeProto, onnx.NodeProto]] = {}
        self._scales: dict[str, float] = {}
        self._weights: dict[tuple[str, int], tuple[str, Array]] = {}
        self._first: list[onnx.NodeProto] = []

    def write(self) -> None:
        sources = {layer.name: self._nodes[layer.name].input[0] for layer in self._plan.layers}
        for name, position in self._plan.inputs:
            node = self._nodes[name]
            node.input[position] = self._activation(node.input[position])
        for layer in self._plan.layers:
            self._layer(layer, sources[layer.name])
        swaps = {tensor: self._activation(tensor) for tensor in self._plan.everywhere}
        for node in self._graph.node:
            for position, name in enumerate(node.input):
                if name in swaps:
                    node.input[position] = swaps[name]
        self._rebuild()

    def _layer(self, layer: Layer, source: str) -> None:
        node = self._nodes[layer.name]
        floor = None
        if self._plan.biases and layer.bias:
            # Where a channel's weights are tiny compared with its bias, the bias in steps of scale × scale would not fit into int32.
            floor = np.abs(numpy_helper.to_array(self._constants[layer.bias])) / (self._scales[source] * _BIAS_LARGEST)
        node.input[1], scales = self._weight(layer.weight, layer.axis, floor)
        if self._plan.biases and layer.bias:
            node.input[2] = self._bias(layer, self._scales[source] * scales)

    def _activation(self, tensor: str) -> str:
        """Return the name of `tensor` behind a Q/DQ pair."""
        if tensor not in self._pairs:
            scale, zero = self._steps(tensor)
            self._scales[tensor] = scale
            kind = np.uint8 if self._plan.unsigned else np.int8
            names = (self._constant(f"{tensor}_scale", np.float32(scale)), self._constant(f"{tensor}_zero_point", kind(zero)))
            quantized = f"{tensor}_QuantizeLinear_Output"
            self._pairs[tensor] = (
                helper.make_node("QuantizeLinear", [tensor, *names], [quantized], f"{tensor}_QuantizeLinear"),
                helper.make_node(
                    "DequantizeLinear", [quantized, *names], [f"{tensor}_DequantizeLinear_Output"], f"{tensor}_DequantizeLinear"
                ),
            )
        return str(self._pairs[tensor][1].output[0])

    def _steps(self, tensor: str) -> tuple[float, int]:
        """Return scale and zero point of an activation.

        One that was always zero gets a scale of 1, because zero is exact in any scale.
        """
        lowest, highest = min(self._ranges[tensor][0], 0.0), max(self._ranges[tensor][1], 0.0)
        if self._plan.unsigned:
            scale = self._rounded((highest - lowest) / _LEVELS) or 1.0
            return scale, round(-lowest / scale)
        return self._rounded(max(-lowest, highest) / _LARGEST) or 1.0, 0

    def _weight(self, name: str, axis: int, floor: Array | None) -> tuple[str, Array]:
        """Return a weight's name behind a DQ node, and its scales.

        There is one scale for each output channel.
        """
        if (name, axis) not in self._weights:
            values = numpy_helper.to_array(self._constants[name])
            others = tuple(each for each in range(values.ndim) if each != axis)
            scales = np.abs(values).max(axis=others) / _LARGEST
            scales = scales if floor is None else np.maximum(scales, floor)
            if self._half:
                scales = np.maximum(scales, np.finfo(np.float16).smallest_subnormal).astype(np.float16)
            scales = np.where(scales > 0, scales, 1).astype(np.float32)
            shape = [-1 if each == axis else 1 for each in range(values.ndim)]
            steps = np.clip(np.rint(values / scales.reshape(shape)), -_LARGEST, _LARGEST).astype(np.int8)
            self._weights[name, axis] = (self._dequantized(name, steps, scales, axis), scales)
        return self._weights[name, axis]

    def _bias(self, layer: Layer, scales: Array) -> str:
        values = numpy_helper.to_array(self._constants[layer.bias])
        name = f"{layer.name}_bias"  # a bias may be shared by layers whose scales differ
        steps = np.clip(np.rint(values / scales), -_BIAS_LARGEST, _BIAS_LARGEST).astype(np.int32)
        return self._dequantized(name, steps, scales.astype(np.float32), 0)

    def _dequantized(self, name: str, steps: Array, scales: Array, axis: int) -> str:
        inputs = [
            self._constant(f"{name}_quantized", steps),
            self._constant(f"{name}_scale", scales),
            self._constant(f"{name}_zero_point", np.zeros(scales.shape, steps.dtype)),
        ]
        output = f"{name}_DequantizeLinear_Output"
        self._first.append(helper.make_node("DequantizeLinear", inputs, [output], f"{name}_DequantizeLinear", axis=axis))
        return output

    def _rounded(self, scale: float) -> float:
        return float(np.float16(scale)) if self._half else float(np.float32(scale))

    def _constant(self, name: str, values: Any) -> str:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _rebuild(self) -> None:
        """Order the nodes after the ones they read, and drop unread constants."""
        ordered = [*self._first]
        for tensor in self._graph.input:
            ordered += self._pairs.get(tensor.name, ())
        for node in self._graph.node:
            ordered.append(node)
            for tensor in node.output:
                ordered += self._pairs.get(tensor, ())
        read = {name for node in ordered for name in node.input}
        ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
        del self._graph.node[:]
        self._graph.node.extend(ordered)
        for number in reversed(range(len(self._graph.initializer))):
            if self._graph.initializer[number].name not in read:
                del self._graph.initializer[number]
