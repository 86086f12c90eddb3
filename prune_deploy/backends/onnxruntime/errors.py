"""Meanings of ONNX Runtime's exceptions.

It raises one untyped family for everything, so the words of the message decide.
"""

from __future__ import annotations

import re
from pathlib import Path

from prune_deploy.backends.run_options import device_failed, out_of_memory
from prune_deploy.errors import BuildError, CannotRunError, InputError, PruneDeployError, first_line
from prune_deploy.export.int8.kernels import WRONG_IN_FP16
from prune_deploy.specs import PRECISIONS, Device, Precision

_MADE_FOR_IT = ".ort.onnx"
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")


def is_memory_error(error: Exception) -> bool:
    """Tell from ONNX Runtime's text whether memory ran out."""
    return any(message in str(error) for message in ("Failed to allocate memory", "out of memory", "bad allocation"))


def is_device_error(error: Exception) -> bool:
    """Tell from ONNX Runtime's text whether CUDA failed."""
    return any(message in str(error) for message in ("CUDA failure", "CUDA error", "CUDNN failure", "CUBLAS failure"))


def loading_error(artifact: Path, error: Exception, device: Device) -> PruneDeployError:
    """Return the error to raise instead of ONNX Runtime's for a file."""
    message = f"ONNX Runtime cannot load {artifact}: {first_line(error, 300)}"
    kind = type(error).__name__
    # Of a BF16 convolution it says that the graph is invalid: the operator has had that type since opset 22 only.
    if kind in ("NotImplemented", "InvalidGraph") and holds_type(artifact, "BFLOAT16"):
        return CannotRunError(
            f"ONNX Runtime's {device.upper()} provider has no BF16 kernels for {artifact.name}: {_PREFIX.sub('', first_line(error, 300))}",
            fix="run it in BF16 with eager or compile, or its engine with trt",
        )
    if kind == "NotImplemented":
        return BuildError(message, fix="this runtime lacks an operator of the model: report the model's name")
    if is_memory_error(error):
        return out_of_memory(message)
    if is_device_error(error):
        return device_failed(f"ONNX Runtime cannot load {artifact}", error)
    return InputError(message, fix="the file is damaged or incomplete: restore it, or export the bundle again")


def defective_optimizers(artifact: Path, precision: Precision | None) -> list[str]:
    """List optimisers of ONNX Runtime that must not see a file.

    Release 1.31 makes int32 biases of an INT8 graph whose rest is FP16. It does so in FP16, where bias / (scale × scale) overflows.
    Files made for its own kernels have int32 biases already.
    """
    if precision is None or not PRECISIONS[precision].needs_calibration or artifact.name.endswith(_MADE_FOR_IT):
        return []
    return [WRONG_IN_FP16] if holds_type(artifact, "FLOAT16") else []


def holds_type(artifact: Path, name: str) -> bool:
    """Tell whether weights of a file have the ONNX type `name`.

    Data in a separate file is not read.
    """
    import onnx  # not for workers whose file loads and is what its label says

    graph = onnx.load(str(artifact), load_external_data=False).graph
    return any(tensor.data_type == onnx.TensorProto.DataType.Value(name) for tensor in graph.initializer)
