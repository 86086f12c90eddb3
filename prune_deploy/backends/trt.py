"""TensorRT and TensorRT-RTX engines, run through CUDA's own runtime.

The process has no PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from prune_deploy.backends import cuda_runtime
from prune_deploy.backends.cuda_runtime import CudaRuntime
from prune_deploy.backends.run_options import DEFAULTS, NO_GPU, NO_GPU_FIX, require
from prune_deploy.backends.tensorrt import engine as trt_engine
from prune_deploy.backends.tensorrt.kernel_cache import cache_file
from prune_deploy.backends.tensorrt.session import TrtSession
from prune_deploy.errors import CannotRunError
from prune_deploy.export.tensorrt.library import choose_library
from prune_deploy.gpus import local_target
from prune_deploy.interfaces import Availability, Backend, Session
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import Arrays

CUDA_GRAPH = "cuda-graph"


class TrtBackend:
    """TensorRT engines, launch by launch or as one CUDA graph."""

    name = "trt"
    title = "TensorRT"
    summary = "TensorRT or TensorRT-RTX, from the bundle's engines; needs the GPU they were built for"
    consumes = "engine"
    variants: tuple[str, ...] = ("", CUDA_GRAPH)
    reported: tuple[str, ...] = ("", CUDA_GRAPH)
    needs_own_process = False
    compiles = False

    def available(self) -> Availability:
        """Check for a GPU, CUDA's binding, and a library for it."""
        target = local_target()
        if target is None:
            return Availability(available=False, reason=NO_GPU, fix=NO_GPU_FIX)
        if not cuda_runtime.is_installed():
            return Availability(available=False, reason="cuda-bindings is not installed", fix=cuda_runtime.INSTALL)
        try:
            choose_library("auto", target)
        except CannotRunError as error:
            return Availability(available=False, reason=error.message, fix=error.fix)
        return Availability(available=True)

    def environment(self, options: RunOptions) -> Mapping[str, str]:  # noqa: ARG002 - the same whatever is asked for
        """No variables are needed."""
        return {}

    @contextmanager
    def open(self, artifact: Path, inputs: Arrays, options: RunOptions = DEFAULTS) -> Iterator[Session]:
        """Load an engine, on a stream of its own.

        Raises:
            InputError: the file is missing or damaged, no profile takes the input, or there is no such variant.
            CannotRunError: no GPU was asked for or is here, the engine is for another one, or its library is not here.
        """
        if options.device == "cpu":
            raise CannotRunError(f"{artifact.name}: an engine runs on a GPU only", fix="use `device='cuda'`, or another backend")
        require(self, options)
        cuda = CudaRuntime()
        before = cuda.free_bytes()
        with ExitStack() as stack:
            stream = stack.enter_context(cuda.stream())
            graph = options.variant == CUDA_GRAPH
            session = TrtSession(
                trt_engine.load(artifact), cuda, stream, graph=graph, precision=options.precision, cache=cache_file(artifact)
            )
            stack.callback(session.close)
            session.bind(inputs)
            session.opened_bytes = before - cuda.free_bytes()
            yield session


BACKEND: Backend = TrtBackend()
