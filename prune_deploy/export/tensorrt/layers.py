"""Data types that an engine's layers compute in, read from the engine.

The finished engine is the source, never the request. Two descriptions agree. The inspector's JSON needs a GPU, and TensorRT 10
and 11 write it differently. The builder logs a layer table, which TensorRT-RTX writes without a GPU.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prune_deploy.errors import BuildError
from prune_deploy.export.tensorrt.log import LAYER_TABLE_HEAD, SPARSITY_HEAD
from prune_deploy.export.tensorrt.types import (
    NARROW_TYPES,
    QUANTIZED_TYPES,
    nodes_of_layer,
    onnx_nodes,
    type_of_tensor,
    type_of_word,
)
from prune_deploy.records import EngineRecord
from prune_deploy.specs import PRECISIONS

_TABLE_END = "\nI/O Tensors:\n"
_TABLE_LINE = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: (?P<rest>.*)"
)
_TABLE_TENSOR = re.compile(r"\{ Name: .*?, Dimensions: \[[^]]*\], .*?Datatype: (\w+), Format: ")

_SPARSE_COUNTS = re.compile(
    re.escape(SPARSITY_HEAD) + r"(?:Found (?P<eligible>\d+) layer\(s\) eligible to|Chose (?P<chosen>\d+) layer\(s\) using)"
)

_REPORT = "report it with the TensorRT version: this package must be taught the new layout"


@dataclass(frozen=True, slots=True)
class EngineLayer:
    """One layer of an engine: kind, data types and ONNX nodes.

    `name` and `kind` are TensorRT's. `inputs`, `constants` and `outputs` are the data types of its tensors. `nodes` are the ONNX
    nodes that it was made of.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]


def layers_in_table(table: str) -> list[EngineLayer]:
    """Return the layers of the builder's layer table.

    They are those of all optimisation profiles.

    Raises:
        BuildError: the table's layout is unknown, so nothing can be said about the engine.
    """
    body, end, _ = table.removeprefix(LAYER_TABLE_HEAD).partition(_TABLE_END)
    lines = [line for line in body.split("\n") if line]
    if not table.startswith(LAYER_TABLE_HEAD) or not end or not lines:
        raise BuildError("the builder's layer table has no beginning, no end or no layers: layer types are unknown", fix=_REPORT)
    layers = []
    for line in lines:
        match = _TABLE_LINE.match(line)
        if match is None:
            raise BuildError(f"a line of the builder's layer table is not understood: {line[:200]}", fix=_REPORT)
        inputs, constants, outputs = (_table_types(match[part], line) for part in ("inputs", "constants", "outputs"))
        nodes = tuple(onnx_nodes(match["rest"]))
        layers.append(EngineLayer(match["name"], match["kind"], inputs, constants, outputs, nodes))
    return layers


def layers_in_inspector(text: str) -> list[EngineLayer]:
    """Return the layers in the inspector's JSON.

    They are those of all optimisation profiles. A tensor whose type TensorRT leaves open ("N/A due to dynamic shapes") is
    "Unknown".

    Raises:
        BuildError: not the JSON of an engine built with DETAILED verbosity.
    """
    try:
        return [_inspected(layer) for layer in json.loads(text)["Layers"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"the inspector's description of the engine is not understood: {error!r}", fix=_REPORT) from None


def count_types(layers: Iterable[EngineLayer]) -> dict[str, int]:
    """Count layers by the type they compute in.

    The most frequent type comes first.

    Raises:
        BuildError: none of them has a tensor.
    """
    counts: Counter[str] = Counter()
    for layer in layers:
        counts.update(_computes_in(layer))
    if not counts:
        raise BuildError("the engine's description has no layer with a data type: layer types are unknown", fix=_REPORT)
    return dict(counts.most_common())


def types_in_inspector(text: str) -> dict[str, int]:
    """Count layers by type in the inspector's JSON.

    It is read by `layers_in_inspector` and counted by `count_types`.

    Raises:
        BuildError: not the JSON of an engine built with DETAILED verbosity.
    """
    return count_types(layers_in_inspector(text))


def _inspected(layer: dict[str, Any]) -> EngineLayer:
    weights = [layer["Weights"]] if isinstance(layer.get("Weights"), dict) else []
    parts = (layer["Inputs"], [*layer.get("Constants", []), *weights], layer["Outputs"])
    inputs, constants, outputs = (tuple(type_of_tensor(tensor) for tensor in part) for part in parts)
    return EngineLayer(
        str(layer.get("Name", "")), str(layer.get("LayerType", "")), inputs, constants, outputs, nodes_of_layer(layer)
    )


def sparse_counts(messages: Iterable[str]) -> tuple[int | None, int | None]:
    """Return counts of layers eligible for 2:4 sparsity, and of chosen ones.

    Eligible layers have weights of that pattern, chosen ones got a kernel for it. A count is None where the builder does not
    state it. TensorRT counts once per round of its choice, and the last round's kernels are the engine's.
    """
    counts: dict[str, int] = {}
    for match in filter(None, map(_SPARSE_COUNTS.match, messages)):
        counts |= {name: int(number) for name, number in match.groupdict().items() if number is not None}
    return counts.get("eligible"), counts.get("chosen")


def verify_precision(record: EngineRecord) -> None:
    """Check that the engine is what its label says.

    Raises:
        BuildError: no layer, or no convolution or matrix product, computes in the requested precision. The same goes for layers
            that compute in one that the label rules out.
    """
    row = PRECISIONS[record.precision]
    required = row.engine_type
    types_text = ", ".join(f"{count} {name}" for name, count in record.layer_types.items()) or "none"
    if not record.layer_types.get(required):
        raise BuildError(
            f"{record.precision} was asked for, but no layer of the engine computes in {required}; layers found: {types_text}",
            fix=f"build from an ONNX file converted to {record.precision}: the file alone decides a typed network's precision",
        )
    stray = [name for name in record.layer_types if name in NARROW_TYPES - row.engine_types_allowed]
    if stray:
        raise BuildError(
            f"{record.precision} was asked for, but layers of the engine compute in {' and '.join(stray)}; layers found: {types_text}",
            fix=f"build from an ONNX file that has only {record.precision} layers, or label the engine with the precision it has",
        )
    if record.share is not None and not record.share.computing:
        raise BuildError(
            f"{record.precision} was asked for, but none of the engine's {record.share.layers} convolutions and matrix products "
            f"compute in {required}; layers found: {types_text}",
            fix=f"build from an ONNX file whose products are {record.precision}: the file alone decides a typed network's precision",
        )


def _computes_in(layer: EngineLayer) -> Iterable[str]:
    """Return the type one layer computes in, () for a layer without tensors.

    It is that of its first input, or of its first output if it reads nothing. A layer whose only operand of eight or fewer bits
    is that input merely widens it, so it counts as what it writes: INT8 then means an INT8 product. Layers without tensors
    (stream signal and wait) compute nothing.
    """
    if not layer.inputs:
        return layer.outputs[:1]
    first, *others = layer.inputs
    if first in QUANTIZED_TYPES and first not in (*others, *layer.constants, *layer.outputs):
        return layer.outputs[:1]
    return (first,)


def _table_types(part: str, line: str) -> tuple[str, ...]:
    types = _TABLE_TENSOR.findall(part)
    if len(types) != part.count("{ Name: "):
        raise BuildError(f"a tensor in the builder's layer table is not understood: {line[:200]}", fix=_REPORT)
    return tuple(map(type_of_word, types))
