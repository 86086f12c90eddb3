"""Device memory that candidates need, and parts that fit it.

It is estimated before anything is opened. A comparison holds all its models on the GPU at once. What does not fit is measured in
parts, each beside the dense model and its copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from prune_deploy.execution.candidate import Candidate
from prune_deploy.specs import PRECISIONS

if TYPE_CHECKING:
    from onnx import GraphProto

_USABLE = 0.9
"""Share of the free memory that is planned with. The rest is for fragments and for what others take meanwhile."""
_PROCESS_BYTES = 512 << 20
"""CUDA's context with the libraries of a runtime."""
_WORKSPACE = 1.25
"""Factor for the scratch memory of kernels, beside weights and activations."""


def candidate_bytes(candidate: Candidate) -> tuple[int, int]:
    """Estimate a candidate's weights and peak activations in bytes.

    Weights are as large as the file that is opened. Activations are those of the bundle's FP32 graph, in the candidate's precision.
    """
    if candidate.graph is None:
        return 0, 0
    precision = candidate.options.precision
    element_bytes = 2 if precision is not None and PRECISIONS[precision].is_half else 4
    batch = candidate.shape[0]
    return _file_bytes(candidate.artifact), int(_WORKSPACE * element_bytes * peak_elements(_shapes(candidate.graph), batch))


def peak_elements(graph: GraphProto, batch: int) -> int:
    """Return the most activation elements that are alive at once.

    The nodes run in their order. Symbolic dimensions count as the batch. A tensor lives from its node to its last reader.
    """
    sizes = {
        value.name: prod(each.dim_value or batch for each in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)  # outputs stay
    alive = {value.name: sizes[value.name] for value in graph.input}
    peak = sum(alive.values())
    for node in graph.node:
        alive |= {name: sizes.get(name, 0) for name in node.output}
        peak = max(peak, sum(alive.values()))
        for name in node.input:
            readers[name] -= 1
            if readers[name] == 0:
                alive.pop(name, None)
    return peak


def parts_that_fit(candidates: Sequence[Candidate], free_bytes: int | None, *, shared: bool) -> list[list[int]]:
    """Divide a comparison into parts by the numbers of its candidates.

    The first candidate is the baseline, which is in every part together with its copy. A part has at least one other. Without a figure
    for the free memory there is one part. With `shared` all candidates have one process.
    """
    numbers = range(len(candidates))
    if free_bytes is None or len(candidates) < 3:
        return [list(numbers)]
    needs = [candidate_bytes(candidate) for candidate in candidates]
    pooled = shared and all(candidate.artifact.is_dir() for candidate in candidates)
    usable = _USABLE * free_bytes

    def fits(part: Sequence[int]) -> bool:
        held = [needs[number] for number in (0, *part)]  # once more for the copy
        activations = max if pooled else sum  # PyTorch's sessions of one process share one pool
        processes = 1 if shared else len(held)
        return sum(weights for weights, _ in held) + activations(peak for _, peak in held) + processes * _PROCESS_BYTES <= usable

    parts: list[list[int]] = []
    for number in numbers[1:]:
        if parts and fits([*parts[-1], number]):
            parts[-1].append(number)
        else:
            parts.append([0, number])
    return parts


def _file_bytes(artifact: Path) -> int:
    """Bytes of the weights.

    An ONNX file has its data beside it, and a bundle's folder its tensors within.
    """
    if artifact.is_dir():
        return sum(path.stat().st_size for path in artifact.glob("*.safetensors"))
    return sum(path.stat().st_size for path in artifact.parent.glob(f"{artifact.name}*"))


def _shapes(path: Path) -> GraphProto:
    """The graph of a file with the shapes of its tensors."""
    from prune_deploy.export.onnx import load_graph

    return load_graph(path).graph
