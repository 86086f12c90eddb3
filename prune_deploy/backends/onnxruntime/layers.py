"""Types of a file's layers in the graph that ONNX Runtime runs.

They are counted there, not in the file. On the way, Q/DQ nodes become integer kernels or stay what they are. An FP16 node without
a kernel is silently computed in FP32 between casts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_deploy.backends.onnxruntime import providers as ort_providers
from prune_deploy.backends.onnxruntime.errors import defective_optimizers, loading_error
from prune_deploy.errors import BuildError, StorageError, first_line
from prune_deploy.export.int8.kernels import EXACT_PRODUCTS
from prune_deploy.records import LayerShare, from_json, to_json
from prune_deploy.scratch import Scratch
from prune_deploy.specs import PRECISIONS, Precision, RunOptions

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

SOURCE = "ONNX Runtime's optimised graph"

INTEGER_OPERATORS = frozenset().union(*(row.ort_operators for row in PRECISIONS.values()))
"""Convolutions and matrix products that multiply integers, of whatever type their tensors are."""

FLOAT_OPERATORS = frozenset(
    {"Conv", "FusedConv", "NhwcConv", "NhwcFusedConv", "ConvTranspose"}
    | {"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "FusedMatMulActivation", "TransposeMatMul", "Einsum", "MatMulNBits"}
    | {"Attention", "MultiHeadAttention"}
)
"""Those that multiply in the type of their tensors. Attention that was fused into one node counts once."""

_FLOATING = frozenset({"FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"})
_TO_INTEGERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "Shape", "Size", "ArgMax", "ArgMin"})
_APART_LIMIT_S = 300.0


def ort_share(path: Path, precision: Precision, options: RunOptions | None = None) -> LayerShare:
    """Count the convolutions and matrix products that compute in `precision`.

    The count is of the graph that ONNX Runtime made of the file. `options` name the device, the CPU by default.

    Raises:
        CannotRunError: the provider has no kernels for the file's types.
        InputError, BuildError: the file does not load.
    """
    import onnx

    with Scratch() as scratch:
        optimised = scratch / "optimised.onnx"
        _write_optimised(path, optimised, options or RunOptions())
        graph = onnx.load(str(optimised), load_external_data=False).graph
    exported = onnx.load(str(path), load_external_data=False).graph
    norms = sum(node.op_type == "BatchNormalization" for node in exported.node)
    return count_layers(graph, precision, norms=norms)


def share_apart(path: Path, precision: Precision, options: RunOptions) -> LayerShare:
    """Count as `ort_share` does, in a process of its own.

    A second session and the library that reads its graph would burden the one that is timed.

    Raises:
        BuildError: the counting failed, so nothing is known of the layers.
        StorageError: there is no room for its files.
    """
    command = [sys.executable, "-m", __name__, str(path), precision, to_json(options)]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_APART_LIMIT_S, check=True
        )
    except subprocess.TimeoutExpired as error:
        raise _uncounted(path, f"no answer within {_APART_LIMIT_S:.0f} s") from error
    except subprocess.CalledProcessError as error:
        words = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        if error.returncode == StorageError.exit_code:
            raise StorageError(words[-1], fix="free space on the disk of temporary files, or set TMPDIR") from error
        raise _uncounted(path, words[-1]) from error
    return from_json(LayerShare, ended.stdout, source="the counting process")


def _uncounted(path: Path, reason: str) -> BuildError:
    return BuildError(f"the layers of {path.name} could not be counted: {reason}", fix="report it with the model's name")


def count_layers(graph: GraphProto, precision: Precision, *, norms: int = 0) -> LayerShare:
    """The share of an optimised graph, bodies of If and Loop included.

    A convolution or product computes in a floating-point type if what it reads first, its weights and what it writes have it. Of the file's
    batch norms `norms` follow no convolution, and as many depthwise convolutions of one pixel are what ONNX Runtime made of them.

    Raises:
        BuildError: the graph does not say what type any of a layer's tensors has.
    """
    row = PRECISIONS[precision]
    computing = layers = 0
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node, types in _layers(graph, {}):
        if norms and _is_norm(node, shapes):
            norms -= 1
            continue
        layers += 1
        if node.op_type in INTEGER_OPERATORS:
            computing += node.op_type in row.ort_operators
        elif not row.ort_operators:
            computing += types == {row.onnx_type}
    return LayerShare(computing=computing, layers=layers, source=SOURCE)


def _is_norm(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Tell whether a blocked convolution only scales each channel."""
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return node.domain.endswith("nchwc") and groups > 1 and shapes.get(node.input[1], ())[2:] == (1, 1)


def _layers(graph: GraphProto, outer: Mapping[str, str]) -> Iterator[tuple[NodeProto, set[str]]]:
    """List convolutions and products with the types of operands and result."""
    types = _types_in(graph, outer)
    for node in graph.node:
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _layers(body, types)
        if node.op_type in INTEGER_OPERATORS:
            yield node, set()
        elif node.op_type in FLOAT_OPERATORS:
            dtypes = {types[name] for name in (*node.input[:2], node.output[0]) if name in types}
            if not dtypes:
                raise BuildError(
                    f"ONNX Runtime's graph does not say what type {node.op_type} {node.name} computes in",
                    fix="report it with the model's name and ONNX Runtime's version",
                )
            yield node, dtypes


def _types_in(graph: GraphProto, outer: Mapping[str, str]) -> dict[str, str]:
    """Return the element type of each tensor of a graph, by name.

    Tensors of the surrounding graphs are included. ONNX Runtime writes no types for the nodes that it inserts. A Cast names its own.
    Any other node has the first floating-point type that it reads (of a DequantizeLinear, its scale's).
    """
    import onnx

    word = onnx.TensorProto.DataType.Name
    described = (*graph.input, *graph.output, *graph.value_info)
    types = {**outer, **{each.name: word(each.type.tensor_type.elem_type) for each in described}}
    types |= {tensor.name: word(tensor.data_type) for tensor in graph.initializer}
    for node in graph.node:
        read = [types[name] for name in node.input if types.get(name) in _FLOATING]
        if node.op_type == "Cast":
            read = [word(attribute.i) for attribute in node.attribute if attribute.name == "to"]
        if read and node.op_type not in _TO_INTEGERS:
            types |= {name: read[0] for name in node.output if name not in types}
    return types


def _write_optimised(path: Path, destination: Path, options: RunOptions) -> None:
    """Have ONNX Runtime write the graph that it would run.

    Its weights go to the null device, because they are not read and may be large.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # its errors arrive as exceptions
    ort_providers.prepare(options)
    weights = destination.with_suffix(".weights")
    weights.symlink_to(os.devnull)
    settings: Any = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.intra_op_num_threads = 1
    settings.add_session_config_entry(*EXACT_PRODUCTS)
    settings.optimized_model_filepath = str(destination)
    settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", weights.name)
    settings.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    settings.add_session_config_entry("session.disable_prepacking", "1")
    providers = ort_providers.providers_for(options, None)
    try:
        left_out = defective_optimizers(path, options.precision)
        onnxruntime.InferenceSession(str(path), settings, providers=providers, disabled_optimizers=left_out, enable_fallback=0)
    except Exception as error:  # as at opening
        raise loading_error(path, error, options.device) from error


def main() -> None:
    """The process of `share_apart`."""
    path, precision, options = sys.argv[1:]
    parsed_precision: Precision = from_json(Precision, f'"{precision}"', source="the command line")  # type: ignore[arg-type]
    try:
        share = ort_share(Path(path), parsed_precision, from_json(RunOptions, options, source="the command line"))
    except Exception as error:  # noqa: BLE001 - its first line is all that the other side can use
        sys.stderr.write(f"{first_line(error, 300)}\n")
        sys.exit(StorageError.exit_code if isinstance(error, StorageError) else 1)
    sys.stdout.write(to_json(share))


if __name__ == "__main__":
    main()
