"""ONNX Runtime.

A session is refused when another provider loaded than the one asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prune_deploy.backends import cuda_runtime
from prune_deploy.backends.cuda_runtime import CudaRuntime
from prune_deploy.backends.onnxruntime import providers as ort_providers
from prune_deploy.backends.onnxruntime.errors import (
    defective_optimizers,
    loading_error,
)
from prune_deploy.backends.onnxruntime.session import OrtSession
from prune_deploy.backends.run_options import DEFAULTS, require
from prune_deploy.errors import CannotRunError, InputError, install_extra
from prune_deploy.export.int8.kernels import EXACT_PRODUCTS
from prune_deploy.files import open_plain
from prune_deploy.interfaces import Availability, Backend, Session
from prune_deploy.specs import PRECISIONS, RunOptions
from prune_deploy.tensors import Arrays

_ASSIGNMENT = "session.record_ep_graph_assignment_info"

Configure = Callable[[Any], None]


def _as_it_is(_asked: Any) -> None:
    """Leave ONNX Runtime's session options alone."""


class OrtBackend:
    """ONNX Runtime, CPU, CUDA or TensorRT execution provider."""

    name = "ort"
    title = "ONNX Runtime"
    summary = "ONNX Runtime, from the bundle's ONNX files"
    consumes = "onnx"
    variants: tuple[str, ...] = ort_providers.VARIANTS
    reported: tuple[str, ...] = ("",)
    needs_own_process = False
    compiles = False

    def available(self) -> Availability:
        """Tell whether the package is installed."""
        if find_spec("onnxruntime") is None:
            return Availability(
                available=False,
                reason="onnxruntime is not installed",
                fix=f"{install_extra('cpu')}, or for an NVIDIA GPU {install_extra('gpu')}",
            )
        return Availability(available=True)

    def environment(self, options: RunOptions) -> Mapping[str, str]:
        """TF32 of the TensorRT provider has no other switch."""
        return ort_providers.environment(options)

    @contextmanager
    def open(self, artifact: Path, inputs: Arrays, options: RunOptions = DEFAULTS) -> Iterator[Session]:
        """Open an ONNX file.

        Raises:
            InputError: the file is no whole ONNX model, or there is no such variant.
            BuildError: ONNX Runtime lacks an operator of the graph, or runs part of it elsewhere.
            CannotRunError: another provider than the one asked for was loaded, it has no kernels of the file's types, or there is no GPU.
        """
        with self.open_configured(artifact, inputs, options) as session:
            yield session

    @contextmanager
    def open_configured(
        self, artifact: Path, inputs: Arrays, options: RunOptions, configure: Configure = _as_it_is
    ) -> Iterator[OrtSession]:
        """Open an ONNX file with changed session options.

        `configure` receives ONNX Runtime's session options, to switch its profiler on for example.

        Raises:
            InputError, BuildError, CannotRunError: as `open`.
        """
        require(self, options)
        row = None if options.precision is None else PRECISIONS[options.precision]
        if options.variant == ort_providers.TENSORRT_VARIANT and row is not None and row.bits < 32:
            raise CannotRunError(
                f"ONNX Runtime's TensorRT provider does not say whether layers compute in {row.label}",
                fix="time the bundle's engine with trt, which does",
            )
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)  # its errors arrive as exceptions
        ort_providers.prepare(options)
        with ExitStack() as stack:
            stream = None
            if options.device == "cuda" and cuda_runtime.is_installed():
                stream = stack.enter_context(CudaRuntime().stream())
            loaded = _load(artifact, options, None if stream is None else int(stream), configure)
            session = OrtSession(
                loaded,
                inputs,
                options,
                artifact,
                reopen=lambda other: self.open(artifact, other, options),
                stream=stream,
            )
            del loaded
            stack.callback(session.close)
            yield session


def _load(artifact: Path, options: RunOptions, stream: int | None, configure: Configure = _as_it_is) -> Any:
    """ONNX Runtime's session of a file, its provider looked at."""
    import onnxruntime

    session_options = onnxruntime.SessionOptions()
    configure(session_options)
    session_options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session_options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    session_options.inter_op_num_threads = 1
    session_options.add_session_config_entry(*EXACT_PRODUCTS)
    if options.threads is not None:
        session_options.intra_op_num_threads = options.threads
    if options.device == "cuda":
        session_options.add_session_config_entry(_ASSIGNMENT, "1")
    providers = ort_providers.providers_for(options, stream)
    with open_plain(artifact, fix="restore the file, or export the bundle again"):
        pass  # ONNX Runtime would wait for a pipe
    try:
        # Without its fallback, which would print to standard output and go on with the CPU.
        session = onnxruntime.InferenceSession(
            str(artifact),
            session_options,
            providers=providers,
            disabled_optimizers=defective_optimizers(artifact, options.precision),
            enable_fallback=0,
        )
    except Exception as error:  # ONNX Runtime raises its own untyped family for everything
        raise loading_error(artifact, error, options.device) from error
    for what, found in (("input", session.get_inputs()), ("output", session.get_outputs())):
        if not found:
            raise InputError(f"{artifact} has no {what}", fix="run a file that prune-deploy export made")
    ort_providers.verify(session, providers[0][0])
    return session


BACKEND: Backend = OrtBackend()
