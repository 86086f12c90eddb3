"""ONNX models written as text, run and looked into."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import checker, numpy_helper

Array = np.ndarray[Any, Any]


def model_of(text: str, *, weights: dict[str, Array] | None = None, check: bool = True) -> onnx.ModelProto:
    """A model from ONNX's own text form, with `weights` as constants.

    An example is `g (float[batch,4] x) => (float[batch,4] y) { … }`.
    """
    model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 20]>\n' + text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in (weights or {}).items())
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{node.op_type}_{number}"
    if check:
        checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, **inputs: Array) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def constant(model: onnx.ModelProto, name: str) -> Array:
    return next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name)


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


RNG = np.random.default_rng(0)
