"""ONNX Runtime: its options are in force, and a provider that is not the one asked for is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import psutil
import pytest

from prune_deploy.backends import ort
from prune_deploy.backends.onnxruntime import providers as ort_providers
from prune_deploy.backends.ort import BACKEND
from prune_deploy.errors import BuildError, CannotRunError
from prune_deploy.gpus import local_target
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import named_input
from support.commands import Made, made

__all__ = ["made"]  # a fixture


INPUTS = np.zeros((2, 3, 160, 160), dtype=np.float32)
CUDA, CPU = ort_providers.CUDA, ort_providers.CPU
without_gpu = pytest.mark.skipif(local_target() is not None, reason="there is a GPU")


def test_threads_are_recorded_and_are_there(made: Made) -> None:
    started = []
    for threads in (1, 4):
        before = psutil.Process().num_threads()
        with BACKEND.open(made.folder / "model.onnx", named_input(INPUTS), RunOptions(threads=threads)) as session:
            session.run()
            started.append(psutil.Process().num_threads() - before)
            assert session.settings()["threads"] == str(threads)
    assert started == [0, 3], "the calling thread is one of them"


def test_settings_come_from_the_session(made: Made) -> None:
    with BACKEND.open(made.folder / "model.onnx", named_input(INPUTS)) as session:
        assert session.settings() == {
            "onnxruntime": onnxruntime.__version__,
            "provider": CPU,
            "threads": "ONNX Runtime's choice",
            "spinning": "on (default)",
        }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (RunOptions(device="cuda"), {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
        (
            RunOptions(device="cuda", precision="tf32", cudnn_benchmark=True),
            {"use_tf32": "1", "cudnn_conv_algo_search": "EXHAUSTIVE"},
        ),
    ],
)
def test_options_of_the_cuda_provider(options: RunOptions, expected: dict[str, str]) -> None:
    [(name, asked)] = ort_providers.providers_for(options, stream=42)
    assert name == CUDA
    assert expected.items() <= asked.items()
    assert asked["user_compute_stream"] == "42"
    assert "user_compute_stream" not in ort_providers.providers_for(options, stream=None)[0][1]


@without_gpu
def test_the_silent_way_to_the_cpu_is_refused(made: Made) -> None:
    with pytest.raises(CannotRunError, match=f"loaded {CPU} instead of {CUDA}"):
        ort._load(made.folder / "model.onnx", RunOptions(device="cuda"), None)


def session_on(placed: dict[str, list[str]], loaded: str = CUDA) -> Any:
    """What `verify` asks a session."""
    parts = [
        SimpleNamespace(ep_name=name, get_nodes=lambda operators=operators: [SimpleNamespace(op_type=o) for o in operators])
        for name, operators in placed.items()
    ]
    return SimpleNamespace(
        get_providers=lambda: [loaded, CPU],
        get_provider_graph_assignment_info=lambda: parts,
        get_provider_options=lambda: {loaded: {"use_tf32": "0", "device_id": "0"}},
    )


def test_the_arithmetic_of_shapes_may_stay_on_the_cpu() -> None:
    session = session_on({CUDA: ["Conv", "MatMul", "MatMul"], CPU: ["Shape", "Gather", "Concat"]})
    ort_providers.verify(session, CUDA)
    assert ort_providers.describe(session) == {
        "provider": CUDA,
        "provider_options": "use_tf32=0",
        "operators": f"3 on {CUDA}, 3 on {CPU}",
    }


@pytest.mark.parametrize("placed", [{CUDA: ["MatMul"], CPU: ["Conv", "Shape"]}, {CPU: ["Shape"]}])
def test_a_network_that_runs_elsewhere_is_refused(placed: dict[str, list[str]]) -> None:
    with pytest.raises(BuildError, match=f"not all of the network runs on {CUDA}"):
        ort_providers.verify(session_on(placed), CUDA)


def test_the_tensorrt_provider_needs_a_gpu(made: Made) -> None:
    options = RunOptions(variant=ort_providers.TENSORRT_VARIANT)
    with (
        pytest.raises(CannotRunError, match="runs on a GPU only") as caught,
        BACKEND.open(made.folder / "model.onnx", named_input(INPUTS), options),
    ):
        pass
    assert "`device='cuda'`" in caught.value.fix


def test_the_tensorrt_provider_names_the_library_that_it_lacks(tmp_path: Path) -> None:
    provider = tmp_path / "libonnxruntime_providers_tensorrt.so"
    provider.write_bytes(b"\0libnvinfer.so.987\0libnvinfer_plugin.so.987\0")
    with pytest.raises(CannotRunError, match=r"needs libnvinfer\.so\.987") as caught:
        ort_providers._load_tensorrt(provider)
    assert "tensorrt==987.*" in caught.value.fix
    with pytest.raises(CannotRunError, match="has no TensorRT provider"):
        ort_providers._load_tensorrt(tmp_path / "nothing.so")
