"""ONNX Runtime sessions on graphs that are not bundle files.

They show the tensors inside a network, and run a quantised one for its quality check.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx import TensorProto, helper

from prune_deploy.errors import storage_errors
from prune_deploy.export.half.convert import save
from prune_deploy.export.int8.kernels import EXACT_PRODUCTS, WRONG_IN_FP16
from prune_deploy.export.onnx import load_graph


@contextlib.contextmanager
def open_session(path: Path, outputs: Sequence[str] = ()) -> Iterator[Any]:
    """Open a session on the CPU that also returns the tensors `outputs`.

    The tensors are any of the graph in `path`.
    """
    if not outputs:
        yield _session(path)
        return
    model = load_graph(path)
    present = {tensor.name for tensor in (*model.graph.output, *model.graph.input)}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs if name not in present
    )
    # Beside the file, because weights that lie apart are named relative to it.
    widened = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with storage_errors(widened):
            widened.write_bytes(model.SerializeToString())
        del model
        session = _session(widened)
    finally:
        widened.unlink(missing_ok=True)
    yield session


@contextlib.contextmanager
def open_model(model: onnx.ModelProto, beside: Path) -> Iterator[Any]:
    """Open a session on the CPU for a model without a file.

    While it opens, the model lies beside the file `beside`.
    """
    path = beside.with_name(f".{beside.name}.{secrets.token_hex(4)}")
    written: tuple[Path, ...] = ()
    try:
        written = save(model, path)
        session = _session(path)
    finally:
        for file in written:
            file.unlink(missing_ok=True)
    yield session


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(*EXACT_PRODUCTS)
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        options.intra_op_num_threads = int(threads)
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=[WRONG_IN_FP16]
    )
