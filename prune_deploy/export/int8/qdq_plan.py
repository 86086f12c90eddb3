"""Where Q/DQ nodes go for a runtime. TensorRT and ONNX Runtime's CPU kernels fuse different patterns, and each refuses the other's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx

from prune_deploy.export.int8.layers import Layer, quantisable
from prune_deploy.records import QdqPlacement

# What ONNX Runtime folds into the QuantizeLinear node behind it, because cutting at zero is what its range does anyway.
_FOLDED = ("Relu", "Clip")
_SIGMOIDS = ("Sigmoid",)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where activations and weights pass through INT8.

    `inputs` are single inputs of nodes (name, position) that read a Q/DQ pair; of the tensors `everywhere` all readers do. `biases` says
    whether the layers' biases become int32, and `unsigned` whether activations are uint8 with a zero point of their own.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[tuple[str, int], ...]
    everywhere: tuple[str, ...]
    biases: bool
    unsigned: bool

    def tensors(self, graph: onnx.GraphProto) -> list[str]:
        """The activations whose ranges it needs."""
        nodes = {node.name: node for node in graph.node}
        return list(dict.fromkeys([*(nodes[name].input[position] for name, position in self.inputs), *self.everywhere]))


def plan(placement: QdqPlacement, graph: onnx.GraphProto, layers: Iterable[Layer]) -> Plan:
    """The plan of a placement for those of `layers` that have no reason to stay float."""
    chosen = quantisable(layers)
    return _tensorrt(graph, chosen) if placement == "tensorrt" else _onnxruntime(graph, chosen)


def _tensorrt(graph: onnx.GraphProto, layers: Sequence[Layer]) -> Plan:
    """Inputs of layers, never their outputs, which TensorRT fuses with what follows in float; symmetric, for it refuses zero points.

    Where a sum closes a residual branch, its other input: so the convolution before it fuses with the sum.
    """
    inputs = [(layer.name, 0) for layer in layers]
    inputs += [(node.name, position) for node, position in _residual_sums(graph, layers)]
    return Plan(tuple(layers), tuple(inputs), (), biases=False, unsigned=False)


def _onnxruntime(graph: onnx.GraphProto, layers: Sequence[Layer]) -> Plan:
    """Inputs of layers, and outputs of convolutions, behind an activation that folds; without them there is no QLinearConv.

    Sums at the end of residual branches of convolutions are quantised whole, so that the tensors between blocks stay in INT8, and so are
    the gates of SiLU and squeeze-excitation. Measured with AVX-512 VNNI, one thread: resnet50 pruned at 0.5, batch 8, takes 55 ms, 77 with
    float sums, 224 with signed activations and 153 in FP32; efficientnet_b0, batch 4, takes 34 ms, 47 with float gates and in FP32.
    """
    readers = _readers(graph)
    final = {each.name for each in graph.output}
    everywhere = [_behind(layer.output, readers) for layer in layers if layer.op == "Conv"]
    inputs = [(layer.name, 0) for layer in layers]
    for node, _ in _residual_sums(graph, layers):
        inputs += [(node.name, 0), (node.name, 1)]
        everywhere.append(_behind(node.output[0], readers))
    everywhere += _gated(graph, everywhere)
    kept = tuple(dict.fromkeys(name for name in everywhere if name not in final))
    return Plan(tuple(layers), tuple(inputs), kept, biases=True, unsigned=True)


def _residual_sums(graph: onnx.GraphProto, layers: Sequence[Layer]) -> list[tuple[onnx.NodeProto, int]]:
    """Sums that a quantised convolution feeds directly, and the position of their other input, the skip connection.

    Transformers' sums come behind matrix products or scales and stay float: quantising them ruins these networks (cosine 0.94 of
    vit_tiny instead of 0.998).
    """
    readers = _readers(graph)
    # A convolution that others read too is no branch: it is what the branch began with.
    convolved = {layer.output for layer in layers if layer.op == "Conv" and len(readers[layer.output]) == 1}
    constants = {tensor.name for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type != "Add" or constants.intersection(node.input):
            continue
        branch = next((position for position, name in enumerate(node.input) if name in convolved), None)
        if branch is not None:
            found.append((node, 1 - branch))
    return found


def _gated(graph: onnx.GraphProto, everywhere: Iterable[str]) -> list[str]:
    """What sigmoids make of quantised tensors, and products of two quantised tensors."""
    known, found = set(everywhere), []
    for node in graph.node:
        gate = node.op_type in _SIGMOIDS or (node.op_type == "Mul" and len(node.input) == 2)
        if gate and known.issuperset(node.input):
            known.add(node.output[0])
            found.append(node.output[0])
    return found


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers


def _behind(tensor: str, readers: dict[str, list[onnx.NodeProto]]) -> str:
    """The tensor itself, or what its only reader makes of it if that folds into the quantisation."""
    found = readers[tensor]
    return found[0].output[0] if len(found) == 1 and found[0].op_type in _FOLDED else tensor
