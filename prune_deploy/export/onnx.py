"""Export of one FP32 ONNX file with a dynamic batch.

It is the source of every other artifact.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript import ir
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from prune_deploy.errors import BuildError, InputError, first_line, storage_errors
from prune_deploy.files import read_file
from prune_deploy.tensors import INPUT_NAME, output_tensors

OPSET = 20
"""The first opset that writes GELU as one node.

TensorRT-RTX fails on FP32 graphs of opset 23 and later, which hold Attention nodes.
"""
BATCH_NAME = "batch"
# Protobuf cannot hold 2 GiB, so the weights go into model.onnx.data well before that.
_EXTERNAL_DATA_BYTES = 1 << 30
_LARGEST_GRAPH = 1 << 31


def export_onnx(module: nn.Module, input_size: tuple[int, int, int], destination: Path) -> tuple[Path, ...]:
    """Export `module` in FP32 and return the files written.

    They are the graph, and its external data where the weights are large. `input_size` is (channels, height, width). The graph
    takes (batch, channels, height, width). Its outputs have the names of `output_tensors` and begin with the batch: (batch, classes)
    of a classifier.

    Raises:
        BuildError: the exporter fails, or the batch came out fixed.
        StorageError: the disk is full or the folder cannot be written.
    """
    try:
        with _quiet():
            program = _exported(module, input_size)
    except Exception as error:  # the exporter raises the exceptions of every pass it runs
        raise BuildError(
            f"the ONNX export failed: {first_line(error, 300)}",
            fix="this architecture cannot be exported as it is; report it with the model's name",
        ) from error
    _strip_traces(program)
    external = sum(p.numel() * p.element_size() for p in module.parameters()) > _EXTERNAL_DATA_BYTES
    with storage_errors(destination), _quiet():
        program.save(str(destination), external_data=external)
    check_dynamic_batch(destination)
    data = destination.with_name(destination.name + ".data")
    return (destination, data) if data.is_file() else (destination,)


def _exported(module: nn.Module, input_size: tuple[int, int, int]) -> torch.onnx.ONNXProgram:
    """Export a module, with its attention written out where that is needed.

    torch 2.15's exporter fails on PyTorch's fused attention if the mask broadcasts over the batch (BEiT's and MaxViT's bias
    tables). The fused and the written-out form are the same products and the same softmax in the file.
    """
    try:
        return _attempt(module, input_size)
    except Exception:  # noqa: BLE001 - any pass may fail, and an export that fails for another reason fails again
        with sdpa_kernel(SDPBackend.MATH):
            return _attempt(module, input_size)


def _attempt(module: nn.Module, input_size: tuple[int, int, int]) -> torch.onnx.ONNXProgram:
    with _flat_outputs(module) as names:
        program = torch.onnx.export(
            module,
            # The example has a batch of 2, because exporters specialise on a batch of 1.
            (torch.zeros(2, *input_size),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim(BATCH_NAME)},),
            optimize=True,
            verbose=False,
        )
    assert program is not None, "the exporter gives a program unless it is told to write a file"
    _name_outputs(program.model.graph, names)
    return program


@contextlib.contextmanager
def _flat_outputs(module: nn.Module) -> Iterator[list[str]]:
    """Let a module return its output tensors in a tuple.

    Yields the list that their names will be in.

    The exporter knows neither dataclasses nor what a dictionary's order is.
    """
    names: list[str] = []

    def flatten(_module: nn.Module, _arguments: Any, output: Any) -> tuple[torch.Tensor, ...]:
        named = output_tensors(output)
        names[:] = named
        return tuple(named.values())

    handle = module.register_forward_hook(flatten)
    try:
        yield names
    finally:
        handle.remove()


def _name_outputs(graph: ir.Graph, names: Sequence[str]) -> None:
    """Name a graph's outputs.

    A tensor that is returned twice, or that is an input, gets a copy. What has a name inside the graph that an output needs is renamed.
    """
    for node in graph.all_nodes():
        for value in node.outputs:
            if value.name in names:
                value.name = f"{value.name}.inner"
    seen: set[int] = set()
    for position, name in enumerate(names):
        value = graph.outputs[position]
        if id(value) in seen or value.is_graph_input() or value.is_initializer():
            copy = ir.node("Identity", [value], name=f"copy_{position}")
            copy.outputs[0].type, copy.outputs[0].shape = value.type, value.shape
            graph.append(copy)
            graph.outputs[position] = value = copy.outputs[0]
        seen.add(id(value))
        value.name = name


def _strip_traces(program: torch.onnx.ONNXProgram) -> None:
    """Drop each node's Python stack.

    It names files of the machine that exported, and doubles a small model's size. Module names and classes stay. They join a
    layer of an engine to a layer of the model.
    """
    for node in program.model.graph.all_nodes():
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)


def check_dynamic_batch(path: Path) -> None:
    """Raise if the graph's batch is a number instead of a name.

    Raises:
        BuildError: the batch is fixed.
        InputError: the file is no ONNX model.
    """
    graph = load_graph(path).graph
    for tensor in (*graph.input, *graph.output):
        axes = tensor.type.tensor_type.shape.dim
        found = (axes[0].dim_param or axes[0].dim_value) if axes else "nothing"
        if found != BATCH_NAME:
            raise BuildError(
                f"{path.name}: the batch of {tensor.name} came out as {found} instead of a free size",
                fix="the model's forward uses the batch size as a plain number; export it in a form that does not",
            )


def load_graph(path: Path) -> onnx.ModelProto:
    """Load the graph without external data.

    Raises:
        InputError: the file is no ONNX model.
    """
    content = read_file(path, fix="export the bundle again", most_bytes=_LARGEST_GRAPH)
    try:
        model = onnx.load_model_from_string(content)
        if not model.graph.node:
            raise ValueError("no nodes")
    except Exception as error:  # protobuf's parser raises its own types, which differ between its implementations
        raise InputError(f"{path} is not a whole ONNX file: {error}", fix="export the bundle again") from error
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes off stderr.

    Its failures arrive as exceptions.
    """
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
