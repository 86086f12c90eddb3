"""What the ort backend asks of ONNX Runtime on a GPU, and what it makes of its words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from prune_deploy.backends import usable
from prune_deploy.backends.onnxruntime import providers
from prune_deploy.backends.onnxruntime.errors import is_device_error, loading_error
from prune_deploy.backends.onnxruntime.session import OrtSession
from prune_deploy.errors import BuildError, CannotRunError, InputError, OutOfMemoryError
from prune_deploy.specs import Device, RunOptions
from prune_deploy.tensors import named_input

INVALID_GRAPH = type("InvalidGraph", (Exception,), {})


def provider(**options: object) -> dict[str, str]:
    """The options of the CUDA provider."""
    (name, found), *_ = reversed(providers.providers_for(RunOptions(device="cuda", **options), 7))  # type: ignore[arg-type]
    assert name == providers.CUDA
    return found


def test_the_plain_way_the_tuned_one_and_the_graph() -> None:
    plain = provider()
    assert (plain["cudnn_conv_algo_search"], plain["enable_cuda_graph"], plain["prefer_nhwc"]) == ("HEURISTIC", "0", "0")
    assert (plain["user_compute_stream"], plain["arena_extend_strategy"], plain["use_tf32"]) == ("7", "kSameAsRequested", "0")
    assert provider(variant="tuned")["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    assert provider(cudnn_benchmark=True)["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    assert provider(variant="cuda-graph")["enable_cuda_graph"] == "1"
    assert provider(channels_last=True)["prefer_nhwc"] == "1"
    assert provider(precision="tf32")["use_tf32"] == "1"


@pytest.mark.parametrize("variant", ["tuned", "cuda-graph", "tensorrt-ep"])
def test_variants_of_the_gpu_are_refused_on_a_cpu(variant: str) -> None:
    with (
        pytest.raises(CannotRunError, match=f"variant {variant} of ONNX Runtime runs on a GPU only"),
        usable("ort").open(Path("model.onnx"), named_input(np.zeros((1, 3, 8, 8), np.float32)), RunOptions(variant=variant)),
    ):
        pass


def test_tf32_of_the_tensorrt_provider_is_a_matter_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is read once. Set in a shared process it would forbid TF32 to its neighbours, under their label."""
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    monkeypatch.setattr(providers, "_load_tensorrt", lambda path: None)
    exact, quick = (RunOptions(device="cuda", variant="tensorrt-ep", precision=each) for each in ("fp32", "tf32"))
    backend = usable("ort")
    assert backend.environment(exact) == {"NVIDIA_TF32_OVERRIDE": "0"}
    assert backend.environment(quick) == backend.environment(RunOptions(device="cuda")) == {}
    with pytest.raises(CannotRunError, match="computes fp32 in TF32 in this process") as caught:
        providers.prepare(exact)
    assert "NVIDIA_TF32_OVERRIDE=0" in caught.value.fix


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA failure 700: an illegal memory access was encountered ; GPU=0"), CannotRunError),
        (RuntimeError("Failed to allocate memory for requested buffer of size 104857600"), OutOfMemoryError),
        (RuntimeError("Protobuf parsing failed."), InputError),
    ],
)
def test_a_failure_of_cuda_is_no_damaged_file(tmp_path: Path, error: Exception, kind: type[Exception]) -> None:
    assert type(loading_error(tmp_path / "model.onnx", error, "cuda")) is kind
    assert is_device_error(error) == (kind is CannotRunError)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_provider_without_bf16_kernels_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    monkeypatch.setattr("prune_deploy.backends.onnxruntime.errors.holds_type", lambda path, name: name == "BFLOAT16")
    found = loading_error(tmp_path / "model.onnx", INVALID_GRAPH("no kernel"), device)
    assert not isinstance(found, BuildError)
    assert f"{device.upper()} provider has no BF16 kernels" in found.message


class FakeSession:
    """A session of ONNX Runtime with one input and two outputs, whose calls a diary keeps."""

    def __init__(self) -> None:
        self.diary: list[str] = []

    def io_binding(self) -> FakeSession:
        return self

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="input", shape=["batch", 3, 8, 8])]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(name="logits", shape=["batch", 10], type="tensor(float)"),
            SimpleNamespace(name="boxes", shape=["batch", "found", 4], type="tensor(int64)"),
        ]

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.diary.append(name)


class FakeValue:
    """An OrtValue on the GPU."""

    placed: ClassVar[list[str]] = []

    @classmethod
    def ortvalue_from_numpy(cls, host: np.ndarray[Any, Any], device: str, number: int) -> FakeValue:
        cls.placed.append("input")
        return cls()

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape: list[int], kind: type, device: str, number: int) -> FakeValue:
        cls.placed.append("output")
        return cls()

    def update_inplace(self, host: np.ndarray[Any, Any]) -> None:
        self.placed.append("update")


@pytest.mark.parametrize(("variant", "graphs"), [("", 0), ("cuda-graph", 2)])
def test_another_input_waits_for_the_run_and_keeps_its_address(
    monkeypatch: pytest.MonkeyPatch, variant: str, graphs: int
) -> None:
    """A CUDA graph holds the addresses that it was recorded with, and a pending run still reads its input.

    The output without a known shape gets no buffer of ours.
    """
    monkeypatch.setattr(FakeValue, "placed", [])
    monkeypatch.setattr("onnxruntime.OrtValue", FakeValue)
    fake, waits = FakeSession(), []
    never: Any = None  # nothing is opened again
    opened = OrtSession(fake, named_input(images(2)), RunOptions(device="cuda", variant=variant), Path("model.onnx"), never)
    monkeypatch.setattr(opened, "synchronize", lambda: waits.append(list(FakeValue.placed)))
    opened.bind(named_input(images(2, 1.0)))
    opened.bind(named_input(images(4)))
    assert FakeValue.placed == ["input", "output", "update", "input", "output"]
    assert waits == [["input", "output"], ["input", "output", "update"]], "before each change"
    assert opened._graphs == graphs, "one for each shape"
    assert [fake.diary.count(call) for call in ("bind_ortvalue_output", "bind_output")] == [2, 2]
    with pytest.raises(InputError, match="takes input, and not images"):
        opened.bind({"images": images(2)})


def images(batch: int, value: float = 0.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full((batch, 3, 8, 8), value, np.float32)
