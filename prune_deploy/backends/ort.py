"""ONNX Runtime on the CPU. A session is refused, not used, when the provider that loaded is not the one asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from prune_deploy.errors import BuildError, CannotRunError, InputError, first_line
from prune_deploy.interfaces import Availability, Backend, Consumes, Session

PROVIDER = "CPUExecutionProvider"


class OrtSession:
    """An ONNX Runtime session with its input and output bound to host memory."""

    stream: int | None = None

    def __init__(self, session: Any, inputs: np.ndarray[Any, Any]) -> None:
        self._session = session
        self._binding = session.io_binding()
        self.bind(inputs)

    def bind(self, inputs: np.ndarray[Any, Any]) -> None:
        """Bind an input of shape (batch, channels, height, width); the output is allocated anew at the next run."""
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        self._binding.bind_cpu_input(self._session.get_inputs()[0].name, np.ascontiguousarray(inputs, dtype=np.float32))
        self._binding.bind_output(self._session.get_outputs()[0].name)

    def run(self) -> None:
        """Run once; on the CPU the call returns when the outputs are there.

        Raises:
            InputError: the graph does not run on the bound input.
        """
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # untyped, as at opening
            raise InputError(
                f"ONNX Runtime cannot run the graph: {first_line(error, 300)}",
                fix="bind inputs of the model's size; whether the file is damaged, prune-deploy verify tells",
            ) from error

    def synchronize(self) -> None:
        """Nothing is pending on a CPU."""

    def outputs(self) -> np.ndarray[Any, Any]:
        """Logits of the last run, shape (batch, classes)."""
        result: np.ndarray[Any, Any] = self._binding.copy_outputs_to_cpu()[0]
        return result


class OrtBackend:
    """ONNX Runtime, CPU execution provider."""

    name = "ort"
    summary = "ONNX Runtime on the CPU, from the bundle's ONNX files"
    consumes: Consumes = "onnx"
    extra = "onnxruntime-gpu"

    def available(self) -> Availability:
        """Whether the package is installed."""
        if find_spec("onnxruntime") is None:
            return Availability(
                available=False, reason="onnxruntime is not installed", fix="pip install 'onnxruntime-gpu[cuda,cudnn]'"
            )
        return Availability(available=True)

    @contextmanager
    def open(self, artifact: Path, inputs: np.ndarray[Any, Any]) -> Iterator[Session]:
        """Open an ONNX file.

        Raises:
            InputError: the file is no whole ONNX model.
            BuildError: ONNX Runtime lacks an operator of the graph.
            CannotRunError: another provider than the one asked for was loaded.
        """
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)  # its errors arrive as exceptions
        try:
            session = onnxruntime.InferenceSession(str(artifact), providers=[PROVIDER])
        except Exception as error:  # ONNX Runtime raises its own untyped family for everything
            said = f"ONNX Runtime cannot load {artifact}: {first_line(error, 300)}"
            if type(error).__name__ == "NotImplemented":
                raise BuildError(said, fix="this runtime lacks an operator of the model: report the model's name") from error
            raise InputError(said, fix="the file is damaged or incomplete: restore it, or export the bundle again") from error
        if session.get_providers()[0] != PROVIDER:
            raise CannotRunError(
                f"ONNX Runtime loaded {session.get_providers()[0]} instead of {PROVIDER}", fix="see: prune-deploy doctor"
            )
        yield OrtSession(session, inputs)


BACKEND: Backend = OrtBackend()
