"""Layers from ONNX Runtime's profile: time, shapes, multiplications and kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prune_deploy.errors import CannotRunError
from prune_deploy.records import LayerTime
from prune_deploy.tracing.onnx_graph import PRODUCTS, Origin
from prune_deploy.tracing.products import product_macs
from prune_deploy.tracing.recording import mean_over

RUN_EVENT = "model_run"
_NODE_ENDING = "_kernel_time"
_TYPES = {"float": "float32", "float16": "float16", "bfloat16": "bfloat16", "double": "float64"}
_CPU = "CPUExecutionProvider"
_EIGHT_BIT = "QLinear"
_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
_LARGEST_BLOCK = 16
# Fused operators whose multiplications cannot be derived from their shapes.
_OPAQUE = ("Attention", "Einsum", "ConvTranspose", "TRTKernel")

Event = Mapping[str, Any]


@dataclass(slots=True)
class Node:
    """One node of the profile.

    `times_us` are its durations in microseconds, run by run. `arguments` come from its last event.
    """

    op: str
    times_us: list[float]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> tuple[str, tuple[int, ...]]:
        """Type and shape of the first output."""
        return next(iter(_tensors(self.arguments, "output_type_shape")), ("", ()))


def last_runs(events: Sequence[Event], runs: int) -> list[list[Event]]:
    """Return the events of the last `runs` runs, run by run.

    Each run's own event comes first.
    """
    whole = sorted((event for event in events if event["name"] == RUN_EVENT), key=lambda event: event["ts"])[-runs:]
    return [[run, *(e for e in events if e is not run and run["ts"] <= e["ts"] < run["ts"] + run["dur"])] for run in whole]


def nodes_of(runs: Sequence[Sequence[Event]], *, launches_wait: bool = False) -> dict[str, Node]:
    """Return the nodes by name.

    On a GPU a node's time is that of the kernels it launched. Elsewhere it is its own. With `launches_wait` it is its own on a GPU too,
    since its launches waited for the kernels.

    Raises:
        CannotRunError: a node ran on another provider than the CPU, without its kernels and without waiting for them.
    """
    nodes: dict[str, Node] = {}
    for number, events in enumerate(runs):
        kernels = [event for event in events if event["cat"] == "Kernel"]
        for event in events:
            if event["cat"] != "Node" or not event["name"].endswith(_NODE_ENDING):
                continue
            name = event["name"].removesuffix(_NODE_ENDING)
            node = nodes.setdefault(name, Node(event["args"]["op_name"], [0.0] * len(runs)))
            node.arguments = event["args"]
            if not kernels and not launches_wait and event["args"].get("provider", _CPU) != _CPU:
                raise CannotRunError(
                    "ONNX Runtime's profile has no kernels of the GPU, only the time of their launches",
                    fix="start the process with CUDA_LAUNCH_BLOCKING=1, as prune-deploy trace does",
                )
            node.times_us[number] += 0 if kernels else event["dur"]
        for kernel in kernels:
            name = kernel["args"].get("parent_name", kernel["name"]).removesuffix(_NODE_ENDING)
            node = nodes.setdefault(name, Node(kernel["args"].get("op_name", "kernel"), [0.0] * len(runs)))
            node.times_us[number] += kernel["dur"]
    return nodes


def layers_of(
    nodes: Mapping[str, Node], runs: Sequence[int], origins: Mapping[str, Origin], blocked: frozenset[str]
) -> tuple[LayerTime, ...]:
    """Return one row per module and per operator beside its main work.

    Times are means over `runs`. `blocked` names the nodes whose channels lie in blocks that fit the processor's vectors (NCHWc).
    """
    rows: dict[str, list[LayerTime]] = {}
    for name, node in nodes.items():
        origin = origins.get(name, Origin())
        row = origin.row(node.op) if name in origins else name
        rows.setdefault(row, []).append(_layer(row, node, mean_over(runs, node.times_us), origin, name in blocked))
    return tuple(_joined(parts) for parts in rows.values())


def _layer(row: str, node: Node, time_us: float, origin: Origin, is_blocked: bool) -> LayerTime:
    kind, _ = node.output
    return LayerTime(
        name=row,
        op=node.op,
        time_us=time_us,
        share=0.0,
        shape=_shape(node, origin),
        dtype=_TYPES.get(kind, kind),
        parameters=origin.parameters,
        weight_shape=origin.weight_shape,
        macs=_macs(node, origin),
        bytes_moved=_bytes_moved(node, origin),
        kernel=_kernel(node, origin, is_blocked),
    )


def _joined(parts: Sequence[LayerTime]) -> LayerTime:
    """Merge the nodes of one row into one layer.

    Times, multiplications and bytes add up. The other fields are those of the slowest node.
    """
    if len(parts) == 1:
        return parts[0]
    slowest = max(parts, key=lambda part: part.time_us)
    macs = [part.macs for part in parts if part.macs is not None]
    moved = [part.bytes_moved for part in parts if part.bytes_moved is not None]
    return LayerTime(
        name=slowest.name,
        op=slowest.op,
        time_us=sum(part.time_us for part in parts),
        share=0.0,
        shape=slowest.shape,
        dtype=slowest.dtype,
        parameters=tuple(dict.fromkeys(name for part in parts for name in part.parameters)),
        weight_shape=slowest.weight_shape,
        macs=sum(macs) if len(macs) == len(parts) else None,
        bytes_moved=sum(moved) if len(moved) == len(parts) else None,
        kernel=slowest.kernel,
    )


def _macs(node: Node, origin: Origin) -> int | None:
    """Count the multiplications of the layer as the network has it.

    Padding of channels does not count.
    """
    if any(word in node.op for word in _OPAQUE):
        return None
    if node.op not in PRODUCTS:
        return 0
    shape = _shape(node, origin)
    if origin.weight_shape or "Conv" in node.op:
        return product_macs(shape, origin.weight_shape)
    inputs = _tensors(node.arguments, "input_type_shape")
    return math.prod(shape) * inputs[0][1][-1] if inputs and inputs[0][1] else None


def _shape(node: Node, origin: Origin) -> tuple[int, ...]:
    """Return the output's shape with its channels in second place.

    Eight-bit convolutions run with channels last.
    """
    _, shape = node.output
    if len(shape) == 4 and node.op == "QLinearConv" and origin.weight_shape and shape[1] != origin.weight_shape[0] == shape[3]:
        return (shape[0], shape[3], shape[1], shape[2])
    return shape


def _bytes_moved(node: Node, origin: Origin) -> int | None:
    if node.op in _VIEWS:
        return 0
    sizes = [node.arguments.get(name) for name in ("activation_size", "parameter_size", "output_size")]
    if None in sizes:
        return None
    activations, weights, outputs = (int(size) for size in sizes if size is not None)
    # A weight that was packed when the session was made is no input of the node any more.
    size = 1 if node.op.startswith(_EIGHT_BIT) else 4
    return activations + (weights or math.prod(origin.weight_shape or (0,)) * size) + outputs


def _kernel(node: Node, origin: Origin, is_blocked: bool) -> str:
    """Return the implementation of a convolution on the CPU.

    It is read from the graph, as far as that shows it. For pooling it only says whether the channels lie in blocks.
    """
    if "Conv" not in node.op or node.op.startswith(_EIGHT_BIT) or node.arguments.get("provider") != _CPU:
        return "NCHWc" if is_blocked and "Pool" in node.op else ""
    if not is_blocked:
        return "NCHW, GEMM" if math.prod(origin.weight_shape[2:]) == 1 else "NCHW, im2col and GEMM"
    return f"NCHWc{_padding(node, origin.weight_shape)}"


def _padding(node: Node, weight: tuple[int, ...]) -> str:
    """Describe the channels that were added to fill whole blocks.

    An example is ", 24 to 96 channels run as 32 to 96".
    """
    inputs, (_, output) = _tensors(node.arguments, "input_type_shape"), node.output
    if not weight or not inputs:
        return ""
    run_as = (inputs[0][1][1], output[1])
    is_depthwise = weight[1] == 1 and run_as[0] > 1
    true_channels = (weight[0] if is_depthwise else weight[1], weight[0])
    is_grouped = not is_depthwise and run_as[0] >= 2 * max(true_channels[0], _LARGEST_BLOCK)
    if run_as == true_channels or is_grouped:
        return ""
    return f", {true_channels[0]} to {true_channels[1]} channels run as {run_as[0]} to {run_as[1]}"


def _tensors(arguments: Mapping[str, Any], which: str) -> list[tuple[str, tuple[int, ...]]]:
    """Return types and shapes of a node's tensors.

    [{"float": [2, 64]}] becomes [("float", (2, 64))].
    """
    return [(kind, tuple(shape)) for entry in arguments.get(which, []) for kind, shape in entry.items()]
