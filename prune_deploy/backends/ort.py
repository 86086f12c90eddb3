"""ONNX Runtime.

A session is refused when another provider loaded than the one asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from prune_deploy.backends import cuda_runtime
from prune_deploy.backends.cuda_runtime import CudaRuntime
from prune_deploy.backends.onnxruntime import providers as ort_providers
from prune_deploy.backends.onnxruntime.errors import defective_optimizers, holds_type, is_memory_error, loading_error
from prune_deploy.backends.onnxruntime.layers import share_apart
from prune_deploy.backends.run_options import DEFAULTS, out_of_memory, require, require_computing
from prune_deploy.errors import CannotRunError, InputError, first_line
from prune_deploy.export.int8.kernels import EXACT_PRODUCTS
from prune_deploy.interfaces import Availability, Backend, Session
from prune_deploy.records import LayerShare
from prune_deploy.specs import PRECISIONS, RunOptions

_SPINNING = "session.intra_op.allow_spinning"
_ASSIGNMENT = "session.record_ep_graph_assignment_info"
_ASYNCHRONOUS = "disable_synchronize_execution_providers"

Reopen = Callable[[np.ndarray[Any, Any]], AbstractContextManager[Session]]
Configure = Callable[[Any], None]


def _as_it_is(_asked: Any) -> None:
    """Leave ONNX Runtime's session options alone."""


class OrtSession:
    """ONNX Runtime session with bound input and output.

    Both lie in host memory or in the GPU's. On a GPU it runs on `stream`, and without waiting for the end of a run.
    """

    def __init__(
        self,
        session: Any,
        inputs: np.ndarray[Any, Any],
        options: RunOptions,
        artifact: Path,
        reopen: Reopen,
        stream: Any = None,
    ) -> None:
        import onnxruntime

        self._ort, self._session, self._options = onnxruntime, session, options
        self._artifact = artifact
        self._counted: LayerShare | None = None
        self._reopen, self._cuda_stream = reopen, stream
        self._binding = session.io_binding()
        self._run_options = onnxruntime.RunOptions()
        self._cuda = None if stream is None else CudaRuntime()
        if stream is not None:
            self._run_options.add_run_config_entry(_ASYNCHRONOUS, "1")
        self.bind(inputs)

    def bind(self, inputs: np.ndarray[Any, Any]) -> None:
        """Bind an input, and an output of as many rows.

        The input's shape is (batch, channels, height, width).
        """
        self._host = host = np.array(inputs, dtype=np.float32, order="C")  # a copy: it is read in place, at each run
        source, target = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        if self._options.device == "cpu":
            self._binding.bind_cpu_input(source.name, host)
            self._binding.bind_output(target.name)
            return
        values, shape = self._ort.OrtValue, [len(host), *target.shape[1:]]
        self._binding.bind_ortvalue_input(source.name, values.ortvalue_from_numpy(host, "cuda", 0))
        self._binding.bind_ortvalue_output(target.name, values.ortvalue_from_shape_and_type(shape, np.float32, "cuda", 0))

    def run(self) -> None:
        """Run once. On the CPU the call returns with the outputs.

        Raises:
            InputError: the graph does not run on the bound input.
            CannotRunError: there is not enough memory.
        """
        try:
            self._session.run_with_iobinding(self._binding, self._run_options)
        except Exception as error:  # untyped, as at opening
            if is_memory_error(error):
                raise out_of_memory("ONNX Runtime") from error
            raise InputError(
                f"ONNX Runtime cannot run the graph: {first_line(error, 300)}",
                fix="bind inputs of the model's size; whether the file is damaged, prune-deploy verify tells",
            ) from error

    def synchronize(self) -> None:
        """Wait for the stream. Nothing is pending on a CPU."""
        if self._cuda is not None:
            self._cuda.synchronize(self._cuda_stream)
        elif self._options.device == "cuda":
            self._binding.synchronize_outputs()

    @property
    def stream(self) -> int | None:
        """Handle of the CUDA stream.

        None on a CPU, and where ONNX Runtime keeps a stream to itself.
        """
        return None if self._cuda_stream is None else int(self._cuda_stream)

    def outputs(self) -> np.ndarray[Any, Any]:
        """Logits of the last run, shape (batch, classes)."""
        self.synchronize()
        result: np.ndarray[Any, Any] = self._binding.copy_outputs_to_cpu()[0]
        return result

    def settings(self) -> dict[str, str]:
        """Version, provider with its options as read back, threads and spinning."""
        session_options = self._session.get_session_options()
        threads = session_options.intra_op_num_threads
        return {
            "onnxruntime": self._ort.__version__,
            **ort_providers.describe(self._session),
            "threads": str(threads) if threads else "ONNX Runtime's choice",
            "spinning": _spinning(session_options),
            **self._labelled(),
        }

    def _labelled(self) -> dict[str, str]:
        """The label's precision, and the count of layers that compute in it."""
        precision = self._options.precision
        if precision is None:
            return {}
        share = self._share()
        return {"precision": precision} | ({} if share is None else {"precision_layers": share.text})

    def _share(self) -> LayerShare | None:
        """Count the layers in the label's precision, once.

        None where the label leaves nothing to count. ONNX Runtime computes FP32 files in FP32 unless TF32 is allowed, and that is among
        its provider's options.
        """
        precision = self._options.precision
        if precision is None or PRECISIONS[precision].bits == 32:
            return None
        if self._counted is None:
            self._counted = share_apart(self._artifact, precision, self._options)
        return self._counted

    def check(self) -> None:
        """Check the provider, and that layers compute in the label's precision.

        Raises:
            CannotRunError: it was replaced, or it has no kernels of that precision.
            BuildError: operators of the network run elsewhere, or no layer of the file has that precision.
        """
        ort_providers.verify(self._session, ort_providers.providers_for(self._options, self.stream)[0][0])
        precision, share = self._options.precision, self._share()
        if precision is None or share is None:
            return
        if (
            precision == "fp16"
            and not share.computing
            and self._options.device == "cpu"
            and holds_type(self._artifact, "FLOAT16")
        ):
            raise CannotRunError(
                f"ONNX Runtime's CPU provider computes FP16 files in FP32 ({share.text} layers compute in FP16)",
                fix="run it on a GPU, or ask for fp32",
            )
        require_computing(precision, share)

    def device_bytes(self) -> int | None:
        """Return the device memory in bytes of a session for one run.

        Weights are included. None on a CPU. It is a second session, because the first one keeps what it once allocated, so nothing more
        would be seen.
        """
        if self._options.device == "cpu" or not cuda_runtime.is_installed():
            return None
        cuda = CudaRuntime()
        before = cuda.free_bytes()
        with self._reopen(self._host) as other:
            other.run()
            other.synchronize()
            return before - cuda.free_bytes()

    def end_profiling(self) -> Path:
        """Switch off the profiler and return the file that it wrote."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Release ONNX Runtime's session, which must end before its stream."""
        self.synchronize()
        del self._binding, self._session


class OrtBackend:
    """ONNX Runtime, CPU, CUDA or TensorRT execution provider."""

    name = "ort"
    title = "ONNX Runtime"
    summary = "ONNX Runtime, from the bundle's ONNX files"
    consumes = "onnx"
    variants: tuple[str, ...] = ("", ort_providers.TENSORRT_VARIANT)
    reported: tuple[str, ...] = ("",)
    needs_own_process = False
    compiles = False

    def available(self) -> Availability:
        """Tell whether the package is installed."""
        if find_spec("onnxruntime") is None:
            return Availability(
                available=False, reason="onnxruntime is not installed", fix="pip install 'onnxruntime-gpu[cuda,cudnn]'"
            )
        return Availability(available=True)

    @contextmanager
    def open(self, artifact: Path, inputs: np.ndarray[Any, Any], options: RunOptions = DEFAULTS) -> Iterator[Session]:
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
        self, artifact: Path, inputs: np.ndarray[Any, Any], options: RunOptions, configure: Configure = _as_it_is
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
        raise loading_error(artifact, error) from error
    ort_providers.verify(session, providers[0][0])
    return session


def _spinning(session_options: Any) -> str:
    """Tell whether idle threads spin, which is ONNX Runtime's default."""
    try:
        return "on" if session_options.get_session_config_entry(_SPINNING) == "1" else "off"
    except RuntimeError:  # its way to say that the entry was never set
        return "on (default)"


BACKEND: Backend = OrtBackend()
