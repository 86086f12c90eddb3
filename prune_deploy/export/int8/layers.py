"""Layers of an FP32 graph, and reasons against quantising them.

The layers are convolutions and matrix products.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import onnx

from prune_deploy.errors import InputError, setting
from prune_deploy.records import UnquantizedReason

PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""Operators that are counted as layers."""

_SCOPES = "pkg.torch.onnx.name_scopes"
_WEIGHT = ".weight"
# Below this TensorRT has no INT8 kernel that is faster (rules of NVIDIA's Model-Optimizer, modelopt/onnx/quantization/graph_utils.py).
_NARROW = 16
_ALIGNED = 8


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or matrix product, with the tensors it reads and writes.

    `reason` is set where it is not quantised. `axis` is that of its output channels in the weight. `weight` and `bias` are ""
    where they are no constants. `module` is the network's module that it belongs to.
    """

    name: str
    op: str
    module: str
    source: str
    output: str
    weight: str = ""
    bias: str = ""
    axis: int = 0
    shape: tuple[int, ...] = ()
    reason: UnquantizedReason | None = None


def find_layers(graph: onnx.GraphProto) -> list[Layer]:
    """Return all convolutions and matrix products of `graph`, in its order."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    return [_layer(node, shapes) for node in graph.node if node.op_type in PRODUCTS]


def keep_by_name(layers: Sequence[Layer], patterns: Iterable[str]) -> list[Layer]:
    """Mark the layers "by name" whose node or module fits a pattern.

    Returns all layers. The pattern "layer1.*" stands for all of module layer1.

    Raises:
        InputError: a pattern fits no layer.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        if not any(_fits(layer, pattern) for layer in layers):
            names = sorted({name for layer in layers for name in (layer.module, layer.name) if name})
            near = difflib.get_close_matches(pattern.replace("*", ""), names, n=3, cutoff=0.4) or names[:3]
            raise InputError(
                f"{setting('keep', (pattern,))} fits no layer",
                fix=f"name a module or a node, for example {', '.join(near)}",
                field="keep",
            )
    return [
        replace(layer, reason="by name") if layer.reason is None and any(_fits(layer, each) for each in patterns) else layer
        for layer in layers
    ]


def keep_sensitive(layers: Sequence[Layer], names: Iterable[str]) -> list[Layer]:
    """Return the layers, those of `names` marked "sensitive"."""
    chosen = frozenset(names)
    return [replace(layer, reason="sensitive") if layer.name in chosen else layer for layer in layers]


def quantisable(layers: Iterable[Layer]) -> list[Layer]:
    """Return those layers that are quantised."""
    return [layer for layer in layers if layer.reason is None]


def _fits(layer: Layer, pattern: str) -> bool:
    return fnmatchcase(layer.name, pattern) or fnmatchcase(layer.module, pattern)


def _layer(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> Layer:
    weight = node.input[1] if node.input[1] in shapes else ""
    bias = node.input[2] if len(node.input) > 2 and node.input[2] in shapes else ""
    axis = 0 if node.op_type == "Conv" or _attribute(node, "transB", 0) else 1
    shape = shapes.get(weight, ())
    layer = Layer(
        name=node.name,
        op=node.op_type,
        module=_module(node, weight),
        source=node.input[0],
        output=node.output[0],
        weight=weight,
        bias=bias,
        axis=axis,
        shape=shape,
    )
    return replace(layer, reason=_reason(node, layer, shapes))


def _reason(node: onnx.NodeProto, layer: Layer, shapes: Mapping[str, tuple[int, ...]]) -> UnquantizedReason | None:
    if layer.source in shapes:
        return "unsupported"  # the constant is the first operand
    if not layer.weight:
        return "dynamic"
    if layer.op == "ConvTranspose" or (layer.op == "MatMul" and len(layer.shape) != 2):
        return "unsupported"
    if layer.op == "Gemm":
        scaled = _attribute(node, "alpha", 1.0) != 1 or _attribute(node, "beta", 1.0) != 1
        if scaled or _attribute(node, "transA", 0) or (len(node.input) > 2 and not layer.bias):
            return "unsupported"
    return "narrow" if _is_narrow(node, layer) else None


def _is_narrow(node: onnx.NodeProto, layer: Layer) -> bool:
    if layer.op != "Conv":
        return min(layer.shape) < _NARROW
    outputs, inputs, *kernel = layer.shape
    groups = int(_attribute(node, "group", 1))
    if min(outputs, inputs * groups) >= _NARROW and groups == 1:
        return False
    if len(kernel) != 2:
        return True
    if groups > 1:
        return outputs % _ALIGNED != 0 or min(kernel) < 3
    aligned = inputs % _ALIGNED == 0 or outputs % _ALIGNED == 0
    return not (aligned and max(outputs, inputs) >= _NARROW and kernel[0] == kernel[1])


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    attribute = next((each for each in node.attribute if each.name == name), None)
    return default if attribute is None else float(onnx.helper.get_attribute_value(attribute))


def _module(node: onnx.NodeProto, weight: str) -> str:
    """Return the module that owns the weight, "" where it is unknown.

    The name of the weight decides first, because a folded batch norm's scopes are on its convolution. Otherwise it is the last
    but one of the scopes that the exporter wrote down. The last one is the node's own.
    """
    if weight.endswith(_WEIGHT):
        return weight.removesuffix(_WEIGHT)
    text = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "")
    try:
        scopes = ast.literal_eval(text) if text else []
    except (ValueError, SyntaxError):  # metadata of another exporter
        return ""
    return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""
