"""TrtSession, CudaRuntime and the timed loops on a real card, with an engine whose one kernel is PyTorch's.

It needs no TensorRT, and shows all of the trt backend but TensorRT itself: streams, buffers, copies, capture and replay, events, release.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from prune_deploy.backends.cuda_runtime import CudaRuntime
from prune_deploy.backends.tensorrt.engine import EngineLabel, LoadedEngine
from prune_deploy.backends.tensorrt.session import TrtSession
from prune_deploy.errors import CannotRunError
from prune_deploy.execution.workers.timing import time_runs
from prune_deploy.export.tensorrt.library import TensorRTLibrary
from prune_deploy.specs import Mode
from prune_deploy.tensors import named_input, only
from support.gpu import needs_cuda

pytestmark = needs_cuda

CLASSES, IMAGE = 10, (3, 4, 4)
BATCHES = (8, 64)


class View:
    """Device memory that somebody else owns, for torch to look at."""

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {"shape": shape, "typestr": "<f4", "data": (address, False), "version": 3}


class Context:
    """Writes twice the first numbers of each image; `launches` counts enqueues, which replays of a graph are not."""

    def __init__(self) -> None:
        self.launches, self.profiler = 0, None
        self.addresses: dict[str, torch.Tensor] = {}

    def set_optimization_profile_async(self, index: int, handle: int) -> bool:
        self.profile = index
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.batch = shape[0]
        return BATCHES[self.profile] == shape[0]

    def get_tensor_shape(self, name: str) -> tuple[int, int]:
        return self.batch, CLASSES

    def set_tensor_address(self, name: str, address: int) -> bool:
        shape = (self.batch, *IMAGE) if name == "input" else (self.batch, CLASSES)
        self.addresses[name] = torch.as_tensor(View(address, shape), device="cuda")
        assert self.addresses[name].data_ptr() == address
        return True

    def execute_async_v3(self, handle: int) -> bool:
        self.launches += 1
        with torch.cuda.stream(torch.cuda.ExternalStream(handle)):  # type: ignore[no-untyped-call]
            torch.mul(self.addresses["input"].flatten(1)[:, :CLASSES], 2.0, out=self.addresses["logits"])
        return True


class Engine:
    num_io_tensors, num_optimization_profiles = 2, len(BATCHES)

    def __init__(self) -> None:
        self.context = Context()

    def get_tensor_name(self, index: int) -> str:
        return ("input", "logits")[index]

    def get_tensor_mode(self, name: str) -> str:
        return {"input": "INPUT", "logits": "OUTPUT"}[name]

    def get_tensor_dtype(self, name: str) -> str:
        return "float32"

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [(BATCHES[index], *IMAGE)] * 3

    def create_execution_context(self) -> Context:
        return self.context


class Logger:
    Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    def __init__(self) -> None:
        """Nothing is logged."""


class Module:
    """As much of TensorRT as a session asks for; hashable, as a module is."""

    ILogger, float32 = Logger, "float32"
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")


def images(batch: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((batch, *IMAGE), dtype=np.float32)


def wanted(inputs: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return 2 * inputs.reshape(len(inputs), -1)[:, :CLASSES]


@pytest.mark.parametrize("graph", [False, True])
def test_a_session_on_a_real_stream(graph: bool) -> None:
    cuda, engine = CudaRuntime(), Engine()
    label = EngineLabel.read(Path("model.fp32.sm90.b8-64.tensorrt-11.4.engine"), b"")
    library = TensorRTLibrary(name="TensorRT", version="11.4.0", module=Module())
    free = cuda.free_bytes()
    with cuda.stream() as stream:
        session = TrtSession(LoadedEngine(label=label, library=library, runtime=None, engine=engine), cuda, stream, graph=graph)
        for batch, seed in ((8, 0), (8, 1), (64, 2), (8, 3)):  # another input, another batch, and back
            inputs = images(batch, seed)
            session.bind(named_input(inputs))
            before = engine.context.launches
            session.run()
            session.run()
            session.synchronize()
            assert engine.context.launches - before == (0 if graph else 2), "a graph is replayed, not enqueued"
            np.testing.assert_array_equal(only(session.outputs()), wanted(inputs))
        modes: tuple[Mode, ...] = ("latency", "device", "throughput")
        for mode in modes:
            samples = time_runs(session, 200, mode)
            assert samples.shape == (200,)
            assert 0 < np.median(samples) < 5e6, f"{mode}: a tiny kernel takes microseconds"
        session.close()
    torch.cuda.synchronize()
    assert free - cuda.free_bytes() < 64 << 20, "buffers were given back"


def test_more_than_the_card_has_is_said_so() -> None:
    cuda = CudaRuntime()
    with pytest.raises(CannotRunError, match="not enough memory"):
        cuda.allocate(1 << 50)
    cuda.release(cuda.allocate(1 << 20))  # the context lives on
