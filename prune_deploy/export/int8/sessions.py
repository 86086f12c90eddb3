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
from prune_deploy.export.onnx import load_graph

# It turns a float bias between DQ and Q into int32 by a division in the graph's own type. FP16 ends at 65504 and a bias in steps of
# scale × scale does not, so the convolution gets another bias (ONNX Runtime 1.31: cosine 0.978 instead of 0.9998 of a test_resnet).
_WRONG_IN_FP16 = "WeightBiasQuantization"


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
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        options.intra_op_num_threads = int(threads)
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=[_WRONG_IN_FP16]
    )
