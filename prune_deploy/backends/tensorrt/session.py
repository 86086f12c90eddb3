"""An engine with its buffers on the GPU.

It is bound once, then launched, or replayed as one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from prune_deploy.backends.cuda_runtime import CudaRuntime
from prune_deploy.backends.run_options import out_of_memory
from prune_deploy.backends.tensorrt.engine import LoadedEngine, Shapes, choose_profile, profiles_of
from prune_deploy.backends.tensorrt.kernel_cache import KernelCache
from prune_deploy.backends.tensorrt.layer_clock import layer_clock
from prune_deploy.errors import BuildError, CannotRunError, setting
from prune_deploy.export.tensorrt.layers import types_in_inspector
from prune_deploy.export.tensorrt.log import collecting
from prune_deploy.specs import PRECISIONS, Precision
from prune_deploy.tensors import Arrays, arranged

_WITHOUT_GRAPH = "run the engine without a CUDA graph: the plain variant of trt"


class TrtSession:
    """Engine and its execution context on a stream.

    `opened_bytes` is the device memory that opening took. `precision` is the engine's label, or None if it is not checked. `cache` is
    the file that keeps the kernels which TensorRT-RTX compiles in the first run.
    """

    def __init__(
        self,
        loaded: LoadedEngine,
        cuda: CudaRuntime,
        stream: Any,
        *,
        graph: bool,
        precision: Precision | None = None,
        cache: Path | None = None,
    ) -> None:
        self._precision = precision
        self._loaded, self._cuda, self._cuda_stream, self._graph = loaded, cuda, stream, graph
        self._trt, self._engine = loaded.library.module, loaded.engine
        self._handle = int(stream)
        self._inputs, self._outputs = self._tensors("INPUT"), self._tensors("OUTPUT")
        self._profiles = profiles_of(self._engine, self._inputs)
        # TensorRT-RTX captures by itself. Capture from outside needs an engine built with REQUIRE_USER_ALLOCATION.
        self._captures_itself = graph and hasattr(self._trt, "CudaGraphStrategy")
        self._cache = None if cache is None or not loaded.library.is_rtx else KernelCache(cache)
        self._context = self._create_context()
        self._shapes: Shapes = {}
        self._buffers: dict[str, int] = {}
        self._graph_exec: Any = None
        self._has_run = False
        self.opened_bytes = 0

    def bind(self, inputs: Arrays) -> None:
        """Copy inputs to the GPU.

        Another batch size chooses a profile again.

        Raises:
            InputError: the engine takes inputs of other names, or no profile takes the shapes.
        """
        host = arranged(inputs, self._inputs)
        shapes = {name: array.shape for name, array in host.items()}
        if shapes != self._shapes:
            profile = choose_profile(self._profiles, shapes)
            self._release()
            self._select(profile.index, shapes)
            self._profile = profile
        for name, array in host.items():
            self._cuda.copy_in(self._buffers[name], array, self._cuda_stream)
        if self._graph and not self._captures_itself and self._graph_exec is None:
            self._capture()

    def active(self) -> AbstractContextManager[dict[str, float]]:
        """An engine's settings were built into it."""
        return nullcontext({})

    def run(self) -> None:
        """Start one inference.

        Raises:
            CannotRunError: TensorRT or CUDA refuses.
        """
        if self._graph_exec is not None:
            self._cuda.call("cudaGraphLaunch", self._graph_exec, self._cuda_stream)
        elif not self._has_run:
            self._first_run()
        elif not self._context.execute_async_v3(self._handle):
            raise self._refused("execute_async_v3")

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._cuda.synchronize(self._cuda_stream)

    @property
    def stream(self) -> int | None:
        """The CUDA stream's handle."""
        return self._handle

    def outputs(self) -> Arrays:
        """Outputs of the last run by the engine's names."""
        arrays = {name: np.empty(tuple(self._context.get_tensor_shape(name)), dtype=np.float32) for name in self._outputs}
        for name, array in arrays.items():
            self._cuda.copy_out(array, self._buffers[name], self._cuda_stream)
        return arrays

    def settings(self) -> dict[str, str]:
        """Library, target and profile in force, graph replay, and layer types."""
        graph = "captured" if self._graph_exec is not None else "none"
        return {
            "library": self._loaded.library.name,
            "library_version": self._loaded.library.version,
            "target": self._loaded.label.target,
            "profile": self._profile.label,
            "cuda_graph": "whole graph, captured by TensorRT-RTX" if self._captures_itself else graph,
            "layer_types": " ".join(f"{name}={count}" for name, count in self._layer_types().items()) or "unknown",
            **({} if self._precision is None else {"precision": self._precision}),
        }

    def check(self) -> None:
        """Check that a requested graph ran and layers have the label's type.

        TensorRT-RTX reports its setting, and whether the runs on this stream could be captured. That it captures is for a profiler to
        show (tests/gpu).

        Raises:
            CannotRunError: the graph did not run.
            BuildError: no layer has the type.
        """
        self._check_precision()
        if self._captures_itself:
            whole_graph = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            in_force = self._context.get_runtime_config().cuda_graph_strategy == whole_graph
            replayed = in_force and self._context.is_stream_capturable(self._handle)
        else:
            replayed = self._graph_exec is not None
        if self._graph and not replayed:
            raise CannotRunError("the engine ran launch by launch, not as a CUDA graph", fix=_WITHOUT_GRAPH)

    def device_bytes(self) -> int | None:
        """Return the device memory in bytes of opening and one run.

        It holds weights, scratch memory and buffers.
        """
        self.synchronize()
        before = self._cuda.free_bytes()
        self.run()
        self.synchronize()
        return self.opened_bytes + before - self._cuda.free_bytes()

    @contextmanager
    def layer_clock(self) -> Iterator[list[tuple[str, float]]]:
        """Collect each layer's milliseconds while open.

        TensorRT adds them to the list as runs go by. Runs are slower meanwhile.
        """
        clock = layer_clock(self._trt)
        self._context.profiler = clock
        try:
            yield clock.heard
        finally:
            self._context.profiler = None

    def layer_information(self) -> str:
        """The inspector's JSON of all layers, with the shapes that are bound."""
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = self._context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def close(self) -> None:
        """Give the device memory back.

        The context ends before its engine and its stream.
        """
        self._release()
        del self._context, self._engine, self._loaded

    def _tensors(self, mode: str) -> list[str]:
        """Names of the engine's inputs or outputs, all float32."""
        names: list[str] = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        tensor_mode = getattr(self._trt.TensorIOMode, mode)
        matching = [name for name in names if self._engine.get_tensor_mode(name) == tensor_mode]
        others = [name for name in matching if self._engine.get_tensor_dtype(name) != self._trt.float32]
        if others or not matching:
            raise CannotRunError(
                f"the engine has {mode.lower()}s that are not float32: {', '.join(others) or 'none at all'}",
                fix="run engines that prune-deploy export made",
            )
        return matching

    def _create_context(self) -> Any:
        with collecting(self._loaded.library) as log:
            if self._loaded.library.is_rtx:
                context = self._engine.create_execution_context(self._runtime_config())
            else:
                context = self._engine.create_execution_context()
            message = log.describe_errors()
        if context is None:
            if not message or "memory" in message.lower():  # it needs the scratch memory of the largest profile
                raise out_of_memory(f"TensorRT's execution context{f': {message}' if message else ''}")
            raise self._refused("an execution context", message)
        return context

    def _runtime_config(self) -> Any:
        """TensorRT-RTX's settings of a context.

        They say when it compiles kernels, where it keeps them, and whether it captures.
        """
        config = self._engine.create_runtime_config()
        # At once, in the first run: the default replaces kernels in the background, while others are timed.
        config.dynamic_shapes_kernel_specialization_strategy = self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
        if self._captures_itself:
            config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if self._cache is not None:
            self._cache.attach(config)
        return config

    def _first_run(self) -> None:
        """Start the first inference with the bound shape.

        TensorRT-RTX compiles its kernels here, so this is where it may refuse, and says why.
        """
        with collecting(self._loaded.library) as log:
            done = self._context.execute_async_v3(self._handle)
            message = log.describe_errors()
        if not done:
            raise self._refused("execute_async_v3", message)
        self._has_run = True
        if self._cache is not None:
            self._cache.save()

    def _select(self, profile: int, shapes: dict[str, tuple[int, ...]]) -> None:
        """Put a profile and shapes in force, with buffers for them."""
        context = self._context
        with collecting(self._loaded.library) as log:
            done = context.set_optimization_profile_async(profile, self._handle)
            self.synchronize()  # kernels must not start while TensorRT still copies for the new profile
            done = done and all(context.set_input_shape(name, shape) for name, shape in shapes.items())
            outputs = {name: tuple(context.get_tensor_shape(name)) if done else () for name in self._outputs}
            for name, dimensions in (shapes | outputs).items():
                size_bytes = int(np.prod(dimensions)) * np.dtype(np.float32).itemsize
                self._buffers[name] = self._cuda.allocate(size_bytes)
                done = done and context.set_tensor_address(name, self._buffers[name])
            message = log.describe_errors()
        if not done:
            raise self._refused(f"profile {profile} with inputs {' and '.join(map(str, shapes.values()))}", message)
        self._shapes = shapes

    def _capture(self) -> None:
        """Record one inference as a graph, after one that is not recorded.

        The first allocates and initialises.
        """
        self._first_run()
        self.synchronize()
        api = self._cuda.api
        with collecting(self._loaded.library) as log:
            self._cuda.call(
                "cudaStreamBeginCapture", self._cuda_stream, api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            )
            done = self._context.execute_async_v3(self._handle)
            # Always ended: a stream that is still capturing can do nothing else.
            status, graph = api.cudaStreamEndCapture(self._cuda_stream)
            message = log.describe_errors()
        captured = status == api.cudaError_t.cudaSuccess
        if not done or not captured:
            reason = message or ("TensorRT refused: execute_async_v3" if captured else status.name)
            raise CannotRunError(f"the engine cannot be captured as a CUDA graph: {reason}", fix=_WITHOUT_GRAPH)
        self._graph_exec = self._cuda.call("cudaGraphInstantiate", graph, 0)
        self._cuda.call("cudaGraphDestroy", graph)

    def _release(self) -> None:
        """Drop graph and buffers of the shape that was bound."""
        self._cuda.api.cudaStreamSynchronize(self._cuda_stream)
        if self._graph_exec is not None:
            self._cuda.api.cudaGraphExecDestroy(self._graph_exec)
            self._graph_exec = None
        for address in self._buffers.values():
            self._cuda.release(address)
        self._buffers.clear()
        self._shapes = {}
        self._has_run = False

    def _layer_types(self) -> dict[str, int]:
        """Count the layers by type, empty where the engine does not tell."""
        try:
            return types_in_inspector(self.layer_information())
        except BuildError:  # an engine built without detailed verbosity says nothing of its layers
            return {}

    def _check_precision(self) -> None:
        """Refuse an engine without a layer of the label's type.

        The count of its products was made when it was built.
        """
        if self._precision is None:
            return
        types, engine_type = self._layer_types(), PRECISIONS[self._precision].engine_type
        if types and "Unknown" not in types and engine_type not in types:
            counts = ", ".join(f"{count} {name}" for name, count in types.items())
            raise BuildError(
                f"{self._precision} was asked for, 0 of {sum(types.values())} layers of the engine compute in {engine_type}: {counts}",
                fix=f"export the bundle again with {setting('precisions', (self._precision,))}",
            )

    def _refused(self, what: str, message: str = "") -> CannotRunError:
        return CannotRunError(f"TensorRT refused: {what}{f': {message}' if message else ''}", fix="see: prune-deploy doctor")
