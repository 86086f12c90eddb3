"""Modules in half precision: cast whole, float32 at both ends, in the type that the label says; and labels that no session can have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from onnx import GraphProto, TensorProto, helper
from test_trt_session import images, opened
from torch import nn

from prune_deploy.backends import discover
from prune_deploy.backends.onnxruntime.layers import count_layers
from prune_deploy.backends.pytorch import precision as torch_precision
from prune_deploy.backends.pytorch.precision import require_precision
from prune_deploy.backends.pytorch.session import TorchSession
from prune_deploy.backends.run_options import require
from prune_deploy.errors import BuildError, CannotRunError
from prune_deploy.records import LayerShare
from prune_deploy.specs import Precision, RunOptions
from prune_deploy.tensors import named_input, only
from support.fakes import fake_tensorrt

INPUTS = np.random.default_rng(0).standard_normal((4, 3, 16, 16), dtype=np.float32)


class Network(nn.Module):
    """A convolution, a batch norm, attention and a head; it notes the types that reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.BatchNorm2d(16), nn.GELU())
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 5)
        self.seen: set[torch.dtype] = set()

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        self.seen.add(pictures.dtype)
        x = self.norm(self.stem(pictures).flatten(2).transpose(1, 2))
        x = x + self.attention(x, x, x, need_weights=False)[0]
        logits: torch.Tensor = self.head(x.mean(1))
        self.seen.add(logits.dtype)
        return logits


def network() -> Network:
    torch.manual_seed(0)
    return Network().eval()


def answer(session: Any) -> np.ndarray[Any, Any]:
    session.run()
    session.synchronize()
    session.check()
    logits: np.ndarray[Any, Any] = only(session.outputs())
    return logits


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("precision", "dtype", "close"), [("fp16", torch.float16, 0.02), ("bf16", torch.bfloat16, 0.15)])
def test_a_module_is_cast_whole_and_takes_and_gives_float32(
    precision: Precision, dtype: torch.dtype, close: float, channels_last: bool
) -> None:
    expected = answer(TorchSession(network(), named_input(INPUTS), RunOptions()))
    module = network()
    session = TorchSession(module, named_input(INPUTS), RunOptions(precision=precision, channels_last=channels_last))
    logits = answer(session)
    assert module.seen == {dtype}, "what arrives and what leaves has the precision, not only the weights"
    assert {tensor.dtype for tensor in module.state_dict().values() if tensor.is_floating_point()} == {dtype}
    assert (session.inputs[0].dtype, logits.dtype) == (torch.float32, np.float32)
    assert 0 < np.abs(logits - expected).max() < close * expected.std()
    settings = session.settings()
    assert settings["precision"].startswith(f"{precision}, weights and activations cast")
    assert settings["precision_layers"] == "4/4", "the convolution, the attention and its projection, the head"
    assert settings["channels_last"] == str(channels_last).lower()


def test_in_fp32_nothing_is_cast_and_without_a_label_nothing_is_said() -> None:
    plain, labelled = (TorchSession(network(), named_input(INPUTS), RunOptions(precision=each)) for each in (None, "fp32"))
    np.testing.assert_array_equal(answer(plain), answer(labelled))
    assert not {"precision", "precision_layers"} & plain.settings().keys()
    assert (labelled.settings()["precision"], labelled.settings()["precision_layers"]) == ("fp32", "4/4")


def test_a_layer_that_is_not_what_the_label_says_is_an_error() -> None:
    module = network()
    session = TorchSession(module, named_input(INPUTS), RunOptions(precision="bf16"))
    module.head.float()
    with pytest.raises(BuildError, match="only 3/4 layers have it"):
        session.check()
    module.float()
    with pytest.raises(BuildError, match="bf16 was asked for, 0 of 4 layers compute in BF16"):
        session.check()


@pytest.mark.parametrize("name", ["eager", "compile"])
def test_what_pytorch_cannot_compute_in_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = discover()[name]
    with pytest.raises(CannotRunError, match=f"{name} runs no INT8"):
        require_precision(backend, RunOptions(precision="int8"))
    monkeypatch.setattr(torch_precision, "local_target", lambda: "sm75")
    for precision in ("bf16", "tf32"):
        with pytest.raises(CannotRunError, match=f"sm75, which has no {precision.upper()}") as caught:
            require_precision(backend, RunOptions(precision=precision, device="cuda"))
        assert caught.value.fix
    for allowed in (RunOptions(precision="fp16", device="cuda"), RunOptions(precision="bf16")):
        require_precision(backend, allowed)
    monkeypatch.setattr(torch_precision, "local_target", lambda: "sm120")
    require_precision(backend, RunOptions(precision="bf16", device="cuda"))


@pytest.mark.parametrize("name", sorted(discover()))
def test_tf32_is_a_label_of_gpus(name: str) -> None:
    with pytest.raises(CannotRunError, match="a CPU has none"):
        require(discover()[name], RunOptions(precision="tf32"))
    require(discover()["eager"], RunOptions(precision="fp32"))


def test_an_emulated_precision_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, message in ((True, "fp16, weights and activations cast"), (False, "this CPU has no FP16 arithmetic")):
        kernels = SimpleNamespace(_is_mkldnn_fp16_supported=lambda has=has: has, _is_mkldnn_bf16_supported=lambda: True)
        monkeypatch.setattr(torch.ops, "mkldnn", kernels)
        found = torch_precision.described(network(), RunOptions(precision="fp16"))["precision"]
        assert found.endswith(message)


def graph(*nodes: Any, weights: dict[str, TensorProto.DataType]) -> GraphProto:
    """An optimised graph, as ONNX Runtime writes it: of nodes that it put in, the types are not there."""
    held = [helper.make_tensor(name, kind, [1], [0]) for name, kind in weights.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    return helper.make_graph(list(nodes), "g", inputs, [], held)


def test_types_follow_casts_where_the_graph_does_not_say() -> None:
    half = graph(
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("Cast", ["r"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
        weights={"w": TensorProto.FLOAT16, "v": TensorProto.FLOAT},
    )
    assert [count_layers(half, precision).text for precision in ("fp16", "fp32", "int8", "bf16")] == ["1/2", "1/2", "0/2", "0/2"]


def test_a_product_of_two_types_computes_in_neither_and_integers_are_int8() -> None:
    mixed = graph(
        helper.make_node("FusedConv", ["x", "w"], ["c"], domain="com.microsoft"),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["q"]),
        helper.make_node("QLinearConv", ["q", "s", "z"], ["k"]),
        helper.make_node("DequantizeLinear", ["k", "s", "z"], ["d"]),
        helper.make_node("Gemm", ["d", "v"], ["y"]),
        weights={"w": TensorProto.FLOAT16, "s": TensorProto.FLOAT, "z": TensorProto.INT8, "v": TensorProto.FLOAT},
    )
    found = {precision: count_layers(mixed, precision).computing for precision in ("fp16", "fp32", "int8")}
    assert found == {"fp16": 0, "fp32": 1, "int8": 1}
    assert count_layers(mixed, "int8") == LayerShare(computing=1, layers=3, source="ONNX Runtime's optimised graph")


def test_a_product_of_unknown_type_is_an_error_and_no_guess() -> None:
    bare = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"], name="lost")], "g", [], [])
    with pytest.raises(BuildError, match="does not say what type MatMul lost computes in"):
        count_layers(bare, "fp32")


@pytest.mark.parametrize(("precision", "refused"), [("fp16", False), ("int8", True), ("bf16", True), (None, False)])
def test_an_engine_without_a_layer_of_its_label_s_type_is_refused(precision: Precision | None, refused: bool) -> None:
    session, _, engine = opened(precision=precision)
    session.bind(named_input(images(8)))
    session.run()
    if refused:
        with pytest.raises(BuildError, match=f"{precision} was asked for, 0 of 1 layers"):
            session.check()
    else:
        session.check()
    assert session.settings().get("precision") == precision
    engine.layers = [{"Name": "all", "Inputs": [{"Datatype": "N/A due to dynamic shapes"}], "Outputs": []}]
    session.check()  # what the engine does not tell is no reason to refuse it
    assert session.stream == fake_tensorrt.STREAM
