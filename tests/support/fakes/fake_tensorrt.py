"""A TensorRT and a CUDA runtime that record calls instead of computing.

They have enough of both for a session, and no more.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from prune_deploy.export.tensorrt.library import TensorRTLibrary

SUCCESS, REFUSED = SimpleNamespace(name="cudaSuccess"), SimpleNamespace(name="cudaErrorStreamCaptureInvalidated")
OUT_OF_MEMORY = SimpleNamespace(name="cudaErrorMemoryAllocation")
STREAM = 7


class FakeCuda:
    """Functions of `cuda.bindings.runtime`.

    `diary` names the calls. The device's memory is the host's.
    """

    cudaError_t = SimpleNamespace(cudaSuccess=SUCCESS, cudaErrorMemoryAllocation=OUT_OF_MEMORY)  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out")  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread")  # noqa: N815
    cudaStreamNonBlocking = 1  # noqa: N815

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.memory: dict[int, Any] = {}
        self.free_bytes = 1000_000_000
        self.capture_fails = False

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.diary.append(name)
            return (SUCCESS,)

        return call

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, int]:  # noqa: N802
        return SUCCESS, STREAM

    def cudaMemGetInfo(self) -> tuple[Any, int, int]:  # noqa: N802
        return SUCCESS, self.free_bytes, 1000_000_000

    def cudaMalloc(self, size_bytes: int) -> tuple[Any, int]:  # noqa: N802
        if size_bytes > self.free_bytes:
            return OUT_OF_MEMORY, 0
        buffer = ctypes.create_string_buffer(size_bytes)
        self.memory[ctypes.addressof(buffer)] = buffer
        self.free_bytes -= size_bytes
        return SUCCESS, ctypes.addressof(buffer)

    def cudaFree(self, address: int) -> tuple[Any]:  # noqa: N802
        self.free_bytes += len(self.memory.pop(address))
        return (SUCCESS,)

    def cudaMemcpyAsync(self, target: int, source: int, size_bytes: int, kind: str, stream: int) -> tuple[Any]:  # noqa: N802
        self.diary.append(f"copy {kind}")
        ctypes.memmove(target, source, size_bytes)
        return (SUCCESS,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, str]:  # noqa: N802
        self.diary.append("cudaStreamEndCapture")
        return (REFUSED if self.capture_fails else SUCCESS), "graph"

    def cudaGraphInstantiate(self, graph: str, flags: int) -> tuple[Any, str]:  # noqa: N802
        self.diary.append("cudaGraphInstantiate")
        return SUCCESS, "executable graph"


class FakeContext:
    """An execution context.

    It records its calls in the same diary.
    """

    def __init__(self, diary: list[str], classes: int, config: Any = None, say: Callable[[str], None] = lambda _: None) -> None:
        self.diary, self.classes, self.config, self.say = diary, classes, config, say
        self.refuses: set[str] = set()
        self.profiler: Any = None
        self.layer_times_ms: list[tuple[str, float]] = []

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.diary.append(f"profile {index}")
        return "profile" not in self.refuses

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.batch = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.batch, self.classes

    def set_tensor_address(self, name: str, address: int) -> bool:
        return address > 0

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == STREAM
        self.diary.append("execute")
        for name, milliseconds in self.layer_times_ms if self.profiler is not None else ():
            self.profiler.report_layer_time(name, milliseconds)
        if "execute" in self.refuses:
            self.say("the kernel could not be compiled")
        elif self.config is not None and self.config.cache is not None:
            self.config.cache.kernels = b"kernels"
        return "execute" not in self.refuses

    def get_runtime_config(self) -> Any:
        return self.config

    def is_stream_capturable(self, stream: int) -> bool:
        assert stream == STREAM
        return "capture" not in self.refuses


class FakeKernels:
    """TensorRT-RTX's runtime cache."""

    def __init__(self) -> None:
        self.kernels = b""

    def deserialize(self, content: bytes) -> bool:
        self.kernels = content
        return True

    def serialize(self) -> bytes:
        return self.kernels


class FakeEngine:
    """An engine with a profile for each (minimum, optimum, maximum) batch.

    It has one input, and the outputs that it is told of.
    """

    def __init__(
        self,
        diary: list[str],
        profiles: tuple[tuple[int, int, int], ...],
        image: tuple[int, ...] = (3, 4, 4),
        outputs: tuple[str, ...] = ("logits",),
    ) -> None:
        self.diary, self.profiles, self.image, self.names = diary, profiles, image, ("input", *outputs)
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = len(profiles)
        self.context: FakeContext | None = None
        self.context_message: str | None = None
        self.logger: Any = None
        self.layers: list[Any] = [{"Name": "all", "Inputs": [{"Datatype": "Half"}], "Outputs": [{"Datatype": "Half"}]}]

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name == "input" else "OUTPUT"

    def get_tensor_dtype(self, name: str) -> str:
        return "float32"

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [(batch, *self.image) for batch in self.profiles[index]]

    def create_runtime_config(self) -> Any:
        config = SimpleNamespace(cuda_graph_strategy="DISABLED", dynamic_shapes_kernel_specialization_strategy="LAZY", cache=None)
        config.create_runtime_cache = FakeKernels
        config.set_runtime_cache = lambda cache: setattr(config, "cache", cache)
        return config

    def create_execution_context(self, config: Any = None) -> FakeContext | None:
        if self.context_message is not None:
            self.say(self.context_message)
            return None
        self.context = FakeContext(self.diary, 10, config, self.say)
        return self.context

    def say(self, message: str) -> None:
        """Let TensorRT log an error."""
        if self.logger is not None:
            self.logger.log(_Logger.Severity.ERROR, message)

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": self.layers}))


class _Profiler:
    """Base class that TensorRT's bindings require to be initialised by name."""

    def __init__(self) -> None:
        self.is_initialized = True


class _Logger:
    class Severity:
        INTERNAL_ERROR, ERROR, WARNING = range(3)

    def __init__(self) -> None:
        pass


def library(*, rtx: bool = False) -> TensorRTLibrary:
    """Return TensorRT, or TensorRT-RTX with its own way to capture graphs."""
    own: dict[str, Any] = {
        "CudaGraphStrategy": SimpleNamespace(WHOLE_GRAPH_CAPTURE="WHOLE"),
        "DynamicShapesKernelSpecializationStrategy": SimpleNamespace(EAGER="EAGER"),
    }
    module = SimpleNamespace(
        ILogger=_Logger,
        IProfiler=_Profiler,
        TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
        LayerInformationFormat=SimpleNamespace(JSON="JSON"),
        float32="float32",
        **(own if rtx else {}),
    )
    name, version = ("TensorRT-RTX", "1.7.1") if rtx else ("TensorRT", "11.4.0")
    return TensorRTLibrary(name=name, version=version, module=_Hashable(module))


class _Hashable:
    """A module, which unlike a namespace can be a key."""

    def __init__(self, module: SimpleNamespace) -> None:
        self.__dict__.update(vars(module))
