"""Share of a network's products computed in the label's type.

Products are convolutions and matrix products. A builder fuses, splits and renames, so products are followed by the ONNX nodes
that TensorRT names for each kernel. Both products of an attention count, though one kernel computes them. Every node counts once,
however many optimisation profiles there are. It computes in a type if it does so in all of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from prune_deploy.export.tensorrt.layers import EngineLayer
from prune_deploy.export.tensorrt.types import QUANTIZED_TYPES, onnx_nodes
from prune_deploy.records import LayerShare
from prune_deploy.specs import PRECISIONS, Precision

_PRODUCTS = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM")
# Myelin, TensorRT's compiler, numbers its graphs. Those of different profiles are different graphs.
_GRAPH = re.compile(r"_myl(\d+)_|\[profile (\d+)\]")
_GENERATED = "kgen"
_AROUND = (_GENERATED, "Reformat")
"""Kinds of layers that only prepare or finish a product beside a kernel for it.

Kernels that TensorRT generates may also be the product itself, where they are alone.
"""


def products_of(trt: Any, network: Any) -> tuple[str, ...]:
    """Return the ONNX nodes that are convolutions or matrix products."""
    kinds = {trt.LayerType.__members__[name] for name in _PRODUCTS if name in trt.LayerType.__members__}
    layers = (network.get_layer(index) for index in range(network.num_layers))
    nodes = [name for layer in layers if layer.type in kinds for name in onnx_nodes(layer.metadata) or [layer.name]]
    return tuple(dict.fromkeys(nodes))


def share_of(layers: Sequence[EngineLayer], products: Sequence[str], precision: Precision, source: str) -> LayerShare | None:
    """Return the share of `products` that compute in the type of `precision`.

    A product that no layer is made of does not count as computing. None if that is so of all: the description names no ONNX
    nodes.
    """
    rows: defaultdict[str, defaultdict[str, list[EngineLayer]]] = defaultdict(lambda: defaultdict(list))
    for layer in layers:
        for node in layer.nodes:
            rows[node][_graph(layer)].append(layer)
    if not any(node in rows for node in products):
        return None
    engine_type = PRECISIONS[precision].engine_type
    computing = sum(node in rows and all(_computes(part, engine_type) for part in rows[node].values()) for node in products)
    return LayerShare(computing=computing, layers=len(products), source=source)


def _graph(layer: EngineLayer) -> str:
    match = _GRAPH.search(layer.name)
    return "" if match is None else match[1] or match[2]


def _computes(layers: Sequence[EngineLayer], dtype: str) -> bool:
    """True if the layers of one product multiply in the type.

    They are its layers in one profile.
    """
    kernels = [layer for layer in layers if layer.kind not in _AROUND]
    return any(_multiplies_in(layer, dtype) for layer in (kernels or layers))


def _multiplies_in(layer: EngineLayer, dtype: str) -> bool:
    """True if a kernel multiplies in the type.

    That is the type of its weights, or of its inputs where it has none. It multiplies in eight bits only if two operands have
    them.

    The first constant of a generated kernel is its weight, while its first input may be anything that was fused into it. A kernel
    that quantises its own input before it multiplies does not count as INT8, because its tensors do not show it.
    """
    generated = layer.kind == _GENERATED
    operands = [*layer.constants, *layer.inputs] if generated else [*layer.inputs, *layer.constants]
    if dtype in QUANTIZED_TYPES:
        return operands.count(dtype) > 1 if not layer.constants else dtype in layer.inputs and dtype in layer.constants
    return operands[:1] == [dtype]
