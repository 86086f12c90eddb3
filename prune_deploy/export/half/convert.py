"""Conversion of an ONNX file from FP32 to FP16 or BF16.

The tensors of a typed network decide its precision, so it is decided here and nowhere else. Inputs and outputs stay FP32, so a
caller sees no difference.

It is not onnxconverter-common's `float16` module, which knows no BF16 and takes a fixed list of operators for FP32 instead of ONNX's
schemas. By default it clamps constants at 10,000, and it leaves external tensors in FP32 under an FP16 label.
"""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper
from onnx.external_data_helper import set_external_data, uses_external_data

from prune_deploy.errors import InputError, first_line, storage_errors
from prune_deploy.export.half.graph import HalfConverter, all_graphs
from prune_deploy.export.half.numbers import HalfType
from prune_deploy.files import write_bytes
from prune_deploy.records import Conversion
from prune_deploy.specs import PRECISIONS, Precision

LARGEST_FILE_BYTES = 1 << 30
"""Protobuf cannot hold 2 GiB, so tensors go into a file of their own well before that."""

_SMALLEST_EXTERNAL_BYTES = 1024
_ALIGNMENT = 64
# Convolutions, poolings and others have no BF16 before opset 22. 21 and 22 only add types, but 21 also changes group normalisation.
_BF16_OPSET, _RAISED_OPSETS, _NOT_RAISED = 22, (20, 21), "GroupNormalization"


def convert(source: Path, destination: Path, precision: Precision) -> tuple[tuple[Path, ...], Conversion]:
    """Write `source` in half precision, its inputs and outputs still FP32.

    Returns the written files and a record of the changes. Weights lie in a file beside the graph where those of `source` do, and
    where they are large.

    Raises:
        InputError: `source` is no whole ONNX file, or `precision` is not a half one.
        BuildError: the graph has something that cannot be converted.
        StorageError: the disk is full or cannot be written.
    """
    model = _load(source)
    external = any(uses_external_data(tensor) for tensor in model.graph.initializer)
    conversion = convert_model(model, precision, source.parent)
    return save(model, destination, external=external), conversion


def convert_model(model: ModelProto, precision: Precision, folder: Path = Path()) -> Conversion:
    """Convert a model in place, including Q/DQ nodes with their scales.

    `folder` is where its external data lies, if it has any. Integer tensors, eight-bit weights among them, stay as they are.
    Weights are read one by one, so external ones need no more memory than their result. A BF16 model of opset 20 becomes one of
    opset 22, the first that has BF16 convolutions.

    Raises:
        InputError: the external data is missing or damaged, or `precision` is not a half one.
        BuildError: the graph has something that cannot be converted.
    """
    if not PRECISIONS[precision].is_half:
        known = (name for name, row in PRECISIONS.items() if row.is_half)
        raise InputError(f"{precision} is not a half precision", fix=f"one of {', '.join(known)}")
    half = HalfType.of(precision)
    if model.functions:
        raise InputError("the model has functions of its own", fix="inline them first: onnx.inliner.inline_local_functions")
    if half.code == TensorProto.BFLOAT16:
        _raise_opset(model)
    converter = HalfConverter(half, {opset.domain: opset.version for opset in model.opset_import}, folder)
    converter.convert(model.graph)
    return Conversion(kept_fp32=tuple(converter.kept), clipped=converter.clipped, lifted=converter.lifted)


def save(model: ModelProto, destination: Path, *, external: bool = False) -> tuple[Path, ...]:
    """Write a model whose tensors are all in memory.

    Returns the written files. Large tensors leave `model` for a file beside it if `external`, and if they would not fit into one
    file.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    data = destination.with_name(f"{destination.name}.data")
    if external or _tensor_bytes(model.graph) > LARGEST_FILE_BYTES:
        _move_tensors(model.graph, data)
    else:
        with storage_errors(data):
            data.unlink(missing_ok=True)
    write_bytes(destination, model.SerializeToString())
    return (destination, data) if data.is_file() else (destination,)


def _load(path: Path) -> ModelProto:
    """Load the model without external data.

    `export.onnx` does the same and imports torch, which a process that only converts can do without.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        if not model.graph.node:
            raise ValueError("no nodes")
    except Exception as error:  # protobuf's parser raises its own types, which differ between its implementations
        raise InputError(f"{path} is not a whole ONNX file: {first_line(error)}", fix="export it again") from error
    return model


def _raise_opset(model: ModelProto) -> None:
    if any(node.op_type == _NOT_RAISED for graph in all_graphs(model.graph) for node in graph.node):
        return
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version in _RAISED_OPSETS:
            opset.version = _BF16_OPSET
            model.ir_version = max(model.ir_version, helper.find_min_ir_version_for([opset]))


def _tensor_bytes(graph: GraphProto) -> int:
    return sum(map(_size, graph.initializer))


def _size(tensor: TensorProto) -> int:
    bytes_each: int = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return bytes_each * int(math.prod(tensor.dims))


def _move_tensors(graph: GraphProto, data: Path) -> None:
    """Move the large tensors of a graph into the file `data`."""
    with storage_errors(data), data.open("wb") as stream:
        for tensor in graph.initializer:
            if tensor.HasField("raw_data") and _size(tensor) >= _SMALLEST_EXTERNAL_BYTES:
                stream.write(b"\0" * (-stream.tell() % _ALIGNMENT))
                offset = stream.tell()
                stream.write(tensor.raw_data)
                set_external_data(tensor, data.name, offset, stream.tell() - offset)
                tensor.ClearField("raw_data")
