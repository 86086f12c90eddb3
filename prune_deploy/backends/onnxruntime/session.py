"""ONNX Runtime's session with its inputs and outputs bound."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from prune_deploy.backends import cuda_runtime
from prune_deploy.backends.cuda_runtime import CudaRuntime
from prune_deploy.backends.onnxruntime import providers as ort_providers
from prune_deploy.backends.onnxruntime.errors import holds_type, is_device_error, is_memory_error
from prune_deploy.backends.onnxruntime.layers import share_apart
from prune_deploy.backends.run_options import device_failed, out_of_memory, require_computing
from prune_deploy.errors import CannotRunError, InputError, first_line
from prune_deploy.interfaces import Session
from prune_deploy.records import LayerShare
from prune_deploy.specs import PRECISIONS, RunOptions
from prune_deploy.tensors import Arrays, arranged

_SPINNING = "session.intra_op.allow_spinning"
_ASYNCHRONOUS = "disable_synchronize_execution_providers"
_GRAPH_NUMBER = "gpu_graph_id"

_ARRAY_TYPES = {"float": "float32", "double": "float64", "bool": "bool"}
"""Types of arrays by ONNX Runtime's word, where theirs is another."""

Reopen = Callable[[Arrays], AbstractContextManager[Session]]


class OrtSession:
    """ONNX Runtime session with bound inputs and outputs.

    They lie in host memory or in the GPU's. On a GPU it runs on `stream`, and without waiting for the end of a run.
    """

    def __init__(
        self,
        session: Any,
        inputs: Arrays,
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
        self._inputs = [each.name for each in session.get_inputs()]
        self._outputs = [each.name for each in session.get_outputs()]
        self._host: dict[str, np.ndarray[Any, Any]] = {}
        self._device_inputs: dict[str, Any] = {}
        self._graphs = 0
        self._cuda = None if stream is None else CudaRuntime()
        if stream is not None:
            self._run_options.add_run_config_entry(_ASYNCHRONOUS, "1")
        self.bind(inputs)

    def bind(self, inputs: Arrays) -> None:
        """Bind inputs, and outputs of as many rows.

        Raises:
            InputError: the graph takes inputs of other names.
        """
        host = arranged(inputs, self._inputs)  # copies: they are read in place, at each run
        self.synchronize()  # a run that is still pending reads the buffers that are about to go
        before, self._host = self._host, host
        if self._device_inputs and all(before[name].shape == array.shape for name, array in host.items()):
            for name, array in host.items():
                self._device_inputs[name].update_inplace(array)  # at its address, which a CUDA graph holds
            return
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        if self._options.device == "cpu":
            for name, array in host.items():
                self._binding.bind_cpu_input(name, array)
            for name in self._outputs:
                self._binding.bind_output(name)
            return
        self._bind_on_device()

    def _bind_on_device(self) -> None:
        """Bind buffers on the GPU.

        ONNX Runtime allocates an output at each run if its graph does not tell the shape.
        """
        values, batch = self._ort.OrtValue, len(next(iter(self._host.values())))
        self._device_inputs = {name: values.ortvalue_from_numpy(array, "cuda", 0) for name, array in self._host.items()}
        for name, value in self._device_inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for target in self._session.get_outputs():
            shape = [batch, *target.shape[1:]]
            if all(isinstance(size, int) for size in shape):
                buffer = values.ortvalue_from_shape_and_type(shape, _array_type(target.type), "cuda", 0)
                self._binding.bind_ortvalue_output(target.name, buffer)
            else:
                self._binding.bind_output(target.name, "cuda", 0)
        if self._options.variant == ort_providers.GRAPH_VARIANT:
            self._graphs += 1  # a graph of its own for each shape
            self._run_options.add_run_config_entry(_GRAPH_NUMBER, str(self._graphs))

    def active(self) -> AbstractContextManager[dict[str, float]]:
        """ONNX Runtime keeps its settings per session."""
        return nullcontext({})

    def run(self) -> None:
        """Run once. On the CPU the call returns with the outputs.

        Raises:
            InputError: the graph does not run on the bound inputs.
            CannotRunError: there is not enough memory.
        """
        try:
            self._session.run_with_iobinding(self._binding, self._run_options)
        except Exception as error:  # untyped, as at opening
            if is_memory_error(error):
                raise out_of_memory("ONNX Runtime") from error
            if is_device_error(error):
                raise device_failed("ONNX Runtime", error) from error
            raise InputError(
                f"ONNX Runtime cannot run the graph: {first_line(error, 300)}",
                fix="bind inputs of the model's size; whether the file is damaged, prune-deploy verify tells",
            ) from error

    def terminate(self) -> None:
        """End a run that another thread waits for."""
        self._run_options.terminate = True

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

    def outputs(self) -> Arrays:
        """Outputs of the last run by the graph's names."""
        self.synchronize()
        return dict(zip(self._outputs, self._binding.copy_outputs_to_cpu(), strict=True))

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


def _array_type(words: str) -> np.dtype[Any]:
    """Return numpy's type for ONNX Runtime's words, such as "tensor(float)"."""
    word = words.removeprefix("tensor(").removesuffix(")")
    return np.dtype(_ARRAY_TYPES.get(word, word))


def _spinning(session_options: Any) -> str:
    """Tell whether idle threads spin, which is ONNX Runtime's default."""
    try:
        return "on" if session_options.get_session_config_entry(_SPINNING) == "1" else "off"
    except RuntimeError:  # its way to say that the entry was never set
        return "on (default)"
