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
from prune_deploy.errors import BuildError, CannotRunError, install_extra
from prune_deploy.specs import RunOptions

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
TENSORRT_VARIANT = "tensorrt-ep"
TUNED_VARIANT = "tuned"
GRAPH_VARIANT = "cuda-graph"
VARIANTS = ("", TUNED_VARIANT, GRAPH_VARIANT, TENSORRT_VARIANT)
"""Ways to run. The plain one and the others but the first search cuDNN's algorithms by heuristics, as PyTorch does by default.

"tuned" times them all (ONNX Runtime's own default), and "cuda-graph" replays a run as one CUDA graph.
"""

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
        "cudnn_conv_algo_search": "EXHAUSTIVE" if options.cudnn_benchmark or options.variant == TUNED_VARIANT else "HEURISTIC",
        "do_copy_in_default_stream": "1",
        # As much memory as is needed: the default doubles an arena at each growth.
        "arena_extend_strategy": "kSameAsRequested",
        "prefer_nhwc": str(int(options.channels_last)),
        "enable_cuda_graph": str(int(options.variant == GRAPH_VARIANT)),
        **on_stream,
    }
    return [*([(TENSORRT, dict(on_stream))] if options.variant == TENSORRT_VARIANT else []), (CUDA, cuda)]


def environment(options: RunOptions) -> dict[str, str]:
    """Return the variables that keep TF32 out of the TensorRT provider.

    It has no option for it. NVIDIA's libraries read the variable when they are initialised, for the whole process.
    """
    if options.variant != TENSORRT_VARIANT or options.precision == "tf32":
        return {}
    return {"NVIDIA_TF32_OVERRIDE": "0"}


def prepare(options: RunOptions) -> None:
    """Load pip's CUDA libraries and those of the TensorRT provider.

    Raises:
        CannotRunError: a variant was asked for on a CPU, or the TensorRT provider cannot load, or the process allows it TF32.
    """
    import onnxruntime

    if options.variant and options.device == "cpu":
        raise CannotRunError(f"variant {options.variant} of ONNX Runtime runs on a GPU only", fix="use `device='cuda'`")
    if options.variant == TENSORRT_VARIANT:
        _load_tensorrt(Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_tensorrt.so")
        for name, value in environment(options).items():
            if os.environ.get(name) != value:
                raise CannotRunError(
                    f"ONNX Runtime's TensorRT provider computes {options.precision or 'fp32'} in TF32 in this process",
                    fix=f"start the process with {name}={value}, or ask for tf32",
                )
    if options.device == "cuda":
        with redirect_stdout(sys.stderr):  # where it fails it prints
            onnxruntime.preload_dlls()


def _load_tensorrt(provider: Path) -> None:
    """Load the TensorRT that the provider was linked with.

    Loading the provider itself first could end the process.
    """
    needed = re.search(rb"libnvinfer\.so\.\d+", provider.read_bytes()) if provider.is_file() else None
    if needed is None:
        raise CannotRunError("this ONNX Runtime has no TensorRT provider", fix=install_extra("gpu"))
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
