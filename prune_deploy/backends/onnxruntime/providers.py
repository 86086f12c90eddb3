"""Providers: the part of ONNX Runtime that does the work.

They are chosen with their options and checked after loading, because ONNX Runtime falls back silently.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from prune_deploy.environment import package_folder
from prune_deploy.errors import BuildError, CannotRunError
from prune_deploy.specs import RunOptions

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
TENSORRT_VARIANT = "tensorrt-ep"

SHAPE_OPERATORS = frozenset(
    {"Shape", "Size", "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Cast", "Add", "Sub", "Mul", "Div"}
    | {"Range", "Identity", "Constant", "ConstantOfShape", "Equal", "Where"}
)
"""Operators that a GPU session may compute on the CPU.

ONNX Runtime places the arithmetic of shapes there on purpose.
"""

_REPORTED = ("use_tf32", "cudnn_conv_algo_search", "prefer_nhwc", "enable_cuda_graph", "do_copy_in_default_stream")

Provider = tuple[str, dict[str, str]]


def providers_for(options: RunOptions, stream: int | None) -> list[Provider]:
    """List the providers to ask for.

    The first one must do the work. `stream` is the CUDA stream to run on.
    """
    if options.device == "cpu":
        return [(CPU, {})]
    on_stream = {} if stream is None else {"user_compute_stream": str(stream)}
    cuda = {
        "use_tf32": str(int(options.precision == "tf32")),
        "cudnn_conv_algo_search": "EXHAUSTIVE" if options.cudnn_benchmark else "HEURISTIC",
        "do_copy_in_default_stream": "1",
        **on_stream,
    }
    return [*([(TENSORRT, dict(on_stream))] if options.variant == TENSORRT_VARIANT else []), (CUDA, cuda)]


def prepare(options: RunOptions) -> None:
    """Load pip's CUDA libraries and those of the TensorRT provider.

    Raises:
        CannotRunError: the TensorRT provider was asked for and cannot load, or there is no GPU for it.
    """
    import onnxruntime

    if options.variant == TENSORRT_VARIANT:
        if options.device == "cpu":
            raise CannotRunError("ONNX Runtime's TensorRT provider runs on a GPU only", fix="use `device='cuda'`")
        _load_tensorrt(Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_tensorrt.so")
        if options.precision != "tf32":
            # The provider has no option for it. NVIDIA's libraries read this variable when they are initialised.
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    if options.device == "cuda":
        with redirect_stdout(sys.stderr):  # where it fails it prints
            onnxruntime.preload_dlls()


def _load_tensorrt(provider: Path) -> None:
    """Load the TensorRT that the provider was linked with.

    Loading the provider itself first could end the process.
    """
    needed = re.search(rb"libnvinfer\.so\.\d+", provider.read_bytes()) if provider.is_file() else None
    if needed is None:
        raise CannotRunError("this ONNX Runtime has no TensorRT provider", fix="pip install 'onnxruntime-gpu[cuda,cudnn]'")
    name = needed[0].decode()
    folder = package_folder("tensorrt_libs")
    for place in (name, *([] if folder is None else [str(folder / name)])):
        try:
            ctypes.CDLL(place, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return
    major = name.rpartition(".")[2]
    raise CannotRunError(
        f"ONNX Runtime's TensorRT provider needs {name}, which is not here",
        fix=f"pip install 'tensorrt=={major}.*' into an environment of its own, or use the trt backend",
    )


def verify(session: Any, provider: str) -> None:
    """Refuse a session that does not run wholly on `wanted`.

    Raises:
        CannotRunError: another provider was loaded.
        BuildError: operators of the network itself were left to another.
    """
    loaded = session.get_providers()[0]
    if loaded != provider:
        raise CannotRunError(f"ONNX Runtime loaded {loaded} instead of {provider}", fix="see: prune-deploy doctor")
    if provider == CPU:
        return
    placed = placement(session)
    stray = {name: nodes for name, nodes in placed.items() if name != provider}
    heavy = sorted({f"{operator} on {name}" for name, nodes in stray.items() for operator in nodes.keys() - SHAPE_OPERATORS})
    if provider not in placed or heavy:
        message = ", ".join(heavy) or "nothing was given to it"
        raise BuildError(f"not all of the network runs on {provider}: {message}", fix="time it with another backend")


def placement(session: Any) -> dict[str, Counter[str]]:
    """Count the operators by provider, without empty parts."""
    placed: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        placed.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return placed


def describe(session: Any) -> dict[str, str]:
    """Provider, its options as read back, and the places of the operators."""
    provider = session.get_providers()[0]
    reported = session.get_provider_options().get(provider, {})
    described = {"provider": provider}
    if shown := " ".join(f"{name}={reported[name]}" for name in _REPORTED if name in reported):
        described["provider_options"] = shown
    if provider != CPU:
        counted = ", ".join(f"{sum(nodes.values())} on {name}" for name, nodes in placement(session).items())
        described["operators"] = counted
    return described
