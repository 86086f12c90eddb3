"""Layers from an engine's inspector, and the modules they came from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prune_deploy.export.tensorrt.types import ENGINE_TYPES, nodes_of_layer, type_of_tensor
from prune_deploy.records import LayerTime
from prune_deploy.tracing.onnx_graph import ExportedGraph, Origin
from prune_deploy.tracing.products import product_macs

_WEIGHT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One layer of an engine: ONNX nodes, tensors and kernel."""

    op: str
    nodes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    tensor_bytes: int | None
    kernel: str


def describe(text: str) -> dict[str, Described]:
    """Return layers by name from the inspector's JSON.

    Layers of an engine without detailed verbosity are names only and are left out.
    """
    layers = json.loads(text).get("Layers", [])
    return {layer["Name"]: _described(layer) for layer in layers if isinstance(layer, dict)}


def _described(layer: dict[str, Any]) -> Described:
    outputs = layer.get("Outputs") or [{}]
    kind = type_of_tensor(outputs[0])
    return Described(
        op=layer.get("LayerType", ""),
        nodes=nodes_of_layer(layer),
        shape=_dimensions(outputs[0]),
        dtype=ENGINE_TYPES[kind].dtype if kind in ENGINE_TYPES else kind,
        tensor_bytes=_bytes([*layer.get("Inputs", []), *outputs]),
        kernel=str(layer.get("TacticName", "")),
    )


def layer_of(name: str, time_us: float, described: Described | None, exported: ExportedGraph | None) -> LayerTime:
    """Return the row of a layer.

    It has its module's name where the exported graph knows it, and TensorRT's own name elsewhere.
    """
    if described is None:
        return LayerTime(name=name, op="", time_us=time_us, share=0.0)
    origin = exported.origin_of(described.nodes) if exported is not None else Origin()
    weights = math.prod(origin.weight_shape) * _WEIGHT_BYTES if origin.weight_shape else 0
    return LayerTime(
        name=origin.row(described.op) if origin.module else name,
        op=described.op,
        time_us=time_us,
        share=0.0,
        shape=described.shape,
        dtype=described.dtype,
        parameters=origin.parameters,
        weight_shape=origin.weight_shape,
        macs=product_macs(described.shape, origin.weight_shape) if origin.owns else None,
        bytes_moved=None if described.tensor_bytes is None else described.tensor_bytes + weights,
        kernel=described.kernel,
    )


def _dimensions(tensor: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(size) for size in tensor.get("Dimensions", ()))


def _bytes(tensors: Iterable[dict[str, Any]]) -> int | None:
    """Return the bytes of tensors, or None.

    It is None where TensorRT reports no shape or type.
    """
    total = 0
    for tensor in tensors:
        kind, shape = ENGINE_TYPES.get(type_of_tensor(tensor)), _dimensions(tensor)
        size = None if kind is None else kind.size_bytes
        if size is None or not shape or min(shape) < 0:
            return None
        total += size * math.prod(shape)
    return total
