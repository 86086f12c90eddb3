"""What ONNX Runtime's CPU provider computes in is counted in the graph that it runs, and a label that is not true is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from prune_deploy.backends.onnxruntime.layers import SOURCE, ort_share, share_apart
from prune_deploy.backends.ort import BACKEND
from prune_deploy.errors import BuildError, CannotRunError, InputError
from prune_deploy.records import LayerShare
from prune_deploy.specs import Precision, RunOptions
from prune_deploy.tensors import named_input
from support.models.precise import SIZE, file_of, precise

__all__ = ["precise"]  # a fixture

LAYERS = 16
"""Convolutions and matrix products of test_resnet."""
INPUTS = np.random.default_rng(0).standard_normal((2, *SIZE), dtype=np.float32)


def small(
    path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray[Any, Any]], shape: list[int], **file: Any
) -> Path:
    """A file with one input "x" and one output "y"."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, str(path), **file)
    return path


def weights(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("file", "counted", "computing"),
    [("fp32", "fp32", LAYERS), ("fp32", "fp16", 0), ("fp32", "int8", 0), ("fp16", "fp16", 0), ("fp16", "fp32", LAYERS)],
)
def test_a_half_precision_file_is_computed_in_fp32_by_the_cpu(
    precise: Path, file: str, counted: Precision, computing: int
) -> None:
    share = ort_share(precise / file_of(precise, file).name, counted)
    assert share == LayerShare(computing=computing, layers=LAYERS, source=SOURCE)


def test_of_an_int8_file_the_quantised_layers_compute_in_int8_and_no_other(precise: Path) -> None:
    artifact = file_of(precise, "int8")
    assert artifact.quantization is not None
    share = ort_share(precise / artifact.name, "int8")
    assert artifact.share == share
    assert 0 < share.computing <= artifact.quantization.quantized
    assert ort_share(precise / artifact.name, "fp32").computing == share.layers - share.computing
    assert share_apart(precise / artifact.name, "int8", RunOptions()) == share, "the same from a process of its own"


def test_bf16_does_not_open(precise: Path) -> None:
    path = precise / file_of(precise, "bf16").name
    with pytest.raises(CannotRunError, match=r"CPU provider has no BF16 kernels for model\.bf16\.onnx") as counted:
        ort_share(path, "bf16")
    assert "eager" in counted.value.fix
    with pytest.raises(CannotRunError, match="no BF16 kernels"), BACKEND.open(path, named_input(INPUTS)):
        pass


def test_products_count_wherever_they_are(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "inner"], ["out"])],
        "then",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights(8, 8), "inner")],
    )
    other = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["rest"])], "else", [], [helper.make_tensor_value_info("rest", TensorProto.FLOAT, None)]
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "limit"], ["large"]),
        helper.make_node("If", ["large"], ["chosen"], then_branch=body, else_branch=other),
        helper.make_node("Gemm", ["chosen", "w", "b"], ["gemm"]),
        helper.make_node("Transpose", ["gemm"], ["turned"]),
        helper.make_node("MatMul", ["gemm", "turned"], ["y"]),
    ]
    held = {"w": weights(8, 8), "b": weights(8), "limit": np.zeros((), np.float32)}
    share = ort_share(small(tmp_path / "if.onnx", nodes, held, [4, 8]), "fp32")
    assert share.text == "3/3"


def test_a_batch_norm_of_its_own_is_no_layer_though_it_runs_as_a_convolution(tmp_path: Path) -> None:
    """ONNX Runtime makes a depthwise convolution of it where its neighbours are blocked. A real one still counts."""
    held = {
        "first": weights(32, 16, 3, 3),
        "depthwise": weights(32, 1, 3, 3),
        "last": weights(32, 32, 1, 1),
        **{name: np.abs(weights(32)) + 0.5 for name in ("scale", "bias", "mean", "variance")},
    }
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("BatchNormalization", ["b", "scale", "bias", "mean", "variance"], ["c"]),
        helper.make_node("Conv", ["c", "depthwise"], ["d"], group=32, pads=[1] * 4),
        helper.make_node("Conv", ["d", "last"], ["y"]),
    ]
    assert ort_share(small(tmp_path / "norm.onnx", nodes, held, [1, 16, 8, 8]), "fp32").text == "3/3"


def test_a_graph_without_products_has_no_layers(tmp_path: Path) -> None:
    path = small(tmp_path / "relu.onnx", [helper.make_node("Relu", ["x"], ["y"])], {}, [2, 3])
    assert ort_share(path, "fp32").text == "0/0"


def test_weights_beside_the_graph_are_found_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = small(
        tmp_path / "apart.onnx",
        nodes,
        {"w": weights(64, 64)},
        [4, 64],
        save_as_external_data=True,
        location="apart.onnx.data",
        size_threshold=1024,
    )
    assert (tmp_path / "apart.onnx.data").stat().st_size == 64 * 64 * 4
    assert ort_share(path, "fp32").text == "1/1"
    assert list(scratch.glob("*/*")) == []


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_what_is_no_model_is_bad_input_and_its_layers_are_unknown_from_afar(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot load .*broken\.onnx"):
        ort_share(path, "fp16")
    if content is None:
        with pytest.raises(BuildError, match=r"layers of broken\.onnx could not be counted: .*cannot load"):
            share_apart(path, "fp16", RunOptions())


@pytest.mark.parametrize(
    ("file", "precision", "error", "message"),
    [
        ("fp32", "int8", BuildError, f"int8 was asked for, 0 of {LAYERS} layers compute in INT8"),
        ("fp32", "fp16", BuildError, f"fp16 was asked for, 0 of {LAYERS} layers compute in FP16"),
        ("fp16", "fp16", CannotRunError, f"computes FP16 files in FP32 \\(0/{LAYERS} layers"),
    ],
)
def test_a_session_whose_label_is_not_true_is_refused(
    precise: Path, file: str, precision: Precision, error: type[Exception], message: str
) -> None:
    with BACKEND.open(precise / file_of(precise, file).name, named_input(INPUTS), RunOptions(precision=precision)) as session:
        session.run()
        assert session.settings()["precision_layers"] == f"0/{LAYERS}"
        with pytest.raises(error, match=message):
            session.check()
    assert error.status == ("failed" if error is BuildError else "unavailable")  # type: ignore[attr-defined]


def test_tf32_and_the_tensorrt_provider_s_half_precision_are_refused_at_once(precise: Path) -> None:
    with (
        pytest.raises(CannotRunError, match="a CPU has none"),
        BACKEND.open(precise, named_input(INPUTS), RunOptions(precision="tf32")),
    ):
        pass
    options = RunOptions(precision="fp16", variant="tensorrt-ep")
    with (
        pytest.raises(CannotRunError, match="does not say whether layers compute in FP16"),
        BACKEND.open(precise, named_input(INPUTS), options),
    ):
        pass


WORKER = """
import sys
from pathlib import Path
import numpy as np
from prune_deploy.backends import usable
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import named_input
with usable("ort").open(Path(sys.argv[1]), named_input(np.zeros((1, 3, 32, 32), np.float32)), RunOptions(precision="int8")) as session:
    session.run(), session.check()
    print(session.settings()["precision_layers"], *sorted({"torch", "onnx"} & sys.modules.keys()))
"""


def test_counting_does_not_weigh_on_the_worker_that_is_timed(precise: Path) -> None:
    artifact = file_of(precise, "int8")
    assert artifact.share is not None
    command = [sys.executable, "-c", WORKER, str(precise / artifact.name)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == artifact.share.text
