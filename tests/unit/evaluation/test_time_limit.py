"""A file that never ends: its run is ended, and said to be no good."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from prune_deploy.backends import usable
from prune_deploy.errors import InputError, LimitError
from prune_deploy.evaluation.time_limit import bounded
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import named_input

IMAGES = np.zeros((1, 3), np.float32)


def endless(path: Path) -> Path:
    """A loop of 2^62 rounds over one addition."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Add", ["carried", "carried"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, ["batch", 3]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["batch", 3]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds", "", "input"], ["logits"], body=body)],
        "endless",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("rounds", TensorProto.INT64, [], [1 << 62])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_a_loop_without_end_is_ended(tmp_path: Path) -> None:
    path = endless(tmp_path / "endless.onnx")
    with (
        usable("ort").open(path, named_input(IMAGES), RunOptions()) as session,
        pytest.raises(LimitError, match="did not end within 1 s") as caught,
        bounded(session, 1.0),
    ):
        session.run()
    assert "do not use this file" in caught.value.fix


def test_an_error_before_the_limit_stays_what_it_is(tmp_path: Path) -> None:
    path = endless(tmp_path / "endless.onnx")
    with (
        usable("ort").open(path, named_input(IMAGES), RunOptions()) as session,
        pytest.raises(InputError, match="wrong"),
        bounded(session, 60.0),
    ):
        raise InputError("wrong", fix="right")


def test_a_file_without_an_output_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])], [])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    with (
        pytest.raises(InputError, match=r"has no output|cannot load"),
        usable("ort").open(path, named_input(IMAGES), RunOptions()),
    ):
        pass
