"""Import of a Q/DQ file that was made elsewhere.

The file is accepted if it is one of this model, and one that TensorRT reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from prune_deploy.errors import InputError, first_line, setting
from prune_deploy.export.half.convert import save
from prune_deploy.export.int8.layers import PRODUCTS
from prune_deploy.export.onnx import BATCH_NAME, load_graph
from prune_deploy.specs import RestPrecision

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_BIAS_FIX = "quantise again with extra_options={'QuantizeBias': False}: TensorRT's DequantizeLinear takes INT8, not INT32 biases"
_SYMMETRIC_FIX = (
    "quantise again with activation_type=QuantType.QInt8 and extra_options={'ActivationSymmetric': True}: TensorRT rejects zero points "
    "other than 0 and unsigned activations"
)


def import_int8(path: Path, source: Path, destination: Path) -> tuple[tuple[Path, ...], int, int, RestPrecision]:
    """Check `path` against the FP32 file `source` and write it to `destination`.

    Returns four values: the written files, the number of convolutions and matrix products with Q/DQ on both operands, the number
    of all of them, and the precision of the rest.

    Raises:
        InputError: the file is not acceptable. See `prune_deploy.export.int8.quantize.accept_int8`.
        StorageError: the disk is full or the folder cannot be written.
    """
    model = _loaded(path)
    graph = model.graph
    if not any(node.op_type == _DEQUANTIZE for node in graph.node):
        raise InputError(
            f"{setting('onnx', path)} has no Q/DQ nodes", fix="quantise it, or let `calibration` do it and leave `onnx` out"
        )
    _match(path, graph, load_graph(source).graph)
    _require_symmetric(path, graph)
    quantized, layers = _counted(graph)
    if not quantized:
        raise InputError(
            f"{setting('onnx', path)}: none of its {layers} layers has INT8 operands",
            fix="quantise inputs and weights of its layers",
        )
    rest: RestPrecision = "fp16" if any(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.initializer) else "fp32"
    return save(model, destination), quantized, layers, rest


def _loaded(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise InputError(f"{setting('onnx', path)}: there is no such file", fix="check the path")
    model = load_graph(path)
    try:
        load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
    except Exception as error:  # the checker and the loader raise types of their own
        raise InputError(
            f"{setting('onnx', path)} is not a whole ONNX model: {first_line(error)}", fix="export it again"
        ) from error
    return model


def _match(path: Path, graph: onnx.GraphProto, expected: onnx.GraphProto) -> None:
    """Name the graph's inputs and outputs as the FP32 file does.

    Raises:
        InputError: there are more or fewer, or their types or shapes differ.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    for side, tensors, expected_tensors in (("input", inputs, expected.input), ("output", list(graph.output), expected.output)):
        if len(tensors) != len(expected_tensors):
            raise InputError(
                f"{setting('onnx', path)} has {len(tensors)} {side}s, the model has {len(expected_tensors)}",
                fix="give a file of this very model",
            )
        for tensor, wanted in zip(tensors, expected_tensors, strict=True):
            _require_like(path, side, tensor, wanted)
            tensor.type.tensor_type.shape.dim[0].dim_param = BATCH_NAME
            _rename(graph, tensor.name, wanted.name)


def _require_like(path: Path, side: str, tensor: onnx.ValueInfoProto, wanted: onnx.ValueInfoProto) -> None:
    """Refuse another type, another shape, or a fixed batch."""
    if tensor.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise InputError(f"{setting('onnx', path)}: its {side} is not FP32", fix=f"keep the {side} in FP32 when converting")
    found, shape = _shape(tensor), _shape(wanted)
    if found[1:] != shape[1:]:
        raise InputError(
            f"{setting('onnx', path)}: its {side} has the shape {_text(found)}, the model's is {_text(shape)}",
            fix="give a file of this very model, pruned the same way",
        )
    if isinstance(found[0], int):
        raise InputError(f"{setting('onnx', path)}: its batch is fixed at {found[0]}", fix="export it with a free batch")


def _shape(tensor: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.type.tensor_type.shape.dim
    )


def _text(shape: Iterable[int | str]) -> str:
    return "×".join(map(str, shape))


def _rename(graph: onnx.GraphProto, before: str, after: str) -> None:
    if before == after:
        return
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    if after in taken:
        raise InputError(
            f"a tensor inside the given graph is named {after}, as the model's input or output", fix=f"rename {after}"
        )
    for names in (names for node in graph.node for names in (node.input, node.output)):
        for position, name in enumerate(names):
            if name == before:
                names[position] = after
    for tensor in (*graph.input, *graph.output):
        if tensor.name == before:
            tensor.name = after


def _require_symmetric(path: Path, graph: onnx.GraphProto) -> None:
    values = _constants(graph)
    for node in graph.node:
        if node.op_type not in (_QUANTIZE, _DEQUANTIZE):
            continue
        zero = values.get(node.input[2]) if len(node.input) > 2 else None
        quantized = values.get(node.input[0]) if node.op_type == _DEQUANTIZE else None
        kinds = {array.dtype for array in (zero, quantized) if array is not None}
        if np.dtype(np.int32) in kinds:
            raise InputError(f"{setting('onnx', path)}: {node.name or node.op_type} has the type INT32", fix=_BIAS_FIX)
        if (zero is not None and zero.any()) or np.dtype(np.uint8) in kinds or (zero is None and node.op_type == _QUANTIZE):
            # Without a zero point, QuantizeLinear makes uint8.
            raise InputError(f"{setting('onnx', path)}: {node.name or node.op_type} is not symmetric INT8", fix=_SYMMETRIC_FIX)


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray[Any, Any]]:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                values[node.output[0]] = numpy_helper.to_array(attribute.t)
    return values


def _counted(graph: onnx.GraphProto) -> tuple[int, int]:
    makers = {name: node.op_type for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type in PRODUCTS]
    both = [node for node in products if all(makers.get(name) == _DEQUANTIZE for name in node.input[:2])]
    return len(both), len(products)
