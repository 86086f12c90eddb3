"""Which data types an engine's layers really compute in: read from the finished engine, never from what was asked.

Two sources say the same: the inspector's JSON (TensorRT 10 and 11 write it differently), which needs a GPU, and the layer table
that the builder logs, which TensorRT-RTX writes without one.
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
from prune_deploy.records import EngineRecord

REQUIRED_TYPES: dict[str, str] = {"fp32": "Float", "tf32": "Float", "fp16": "Half", "bf16": "BFloat16", "int8": "Int8"}
"""Precision → the type at least one layer must compute in. These are the precisions an engine can be labelled with."""

_ALLOWED_REDUCED = {"fp16": {"Half"}, "bf16": {"BFloat16"}, "int8": {"Int8", "Half", "BFloat16"}}
EIGHT_BITS_OR_LESS = {"Int8", "FP8", "Int4", "FP4"}
_REDUCED = EIGHT_BITS_OR_LESS | {"Half", "BFloat16"}

# The words of TensorRT 10's "Format/Datatype", and the names of TensorRT 11's "Datatype", as one set of names.
_TYPE_NAMES = {
    "float": "Float",
    "fp32": "Float",
    "half": "Half",
    "fp16": "Half",
    "bfloat16": "BFloat16",
    "bf16": "BFloat16",
    "fp8": "FP8",
    "fp4": "FP4",
    "bool": "Bool",
    "int4": "Int4",
    "int8": "Int8",
    "uint8": "UInt8",
    "int32": "Int32",
    "int64": "Int64",
}
_TYPE_WORD = re.compile(r"\b(" + "|".join(_TYPE_NAMES) + r")\b", re.IGNORECASE)

_TABLE_END = "\nI/O Tensors:\n"
_TABLE_LINE = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: (?P<rest>.*)"
)
_TABLE_TENSOR = re.compile(r"\{ Name: .*?, Dimensions: \[[^]]*\], .*?Datatype: (\w+), Format: ")

_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_NAME_SEPARATORS = re.compile(r"[+,()\[\]{} ]+")

_SPARSE_COUNTS = re.compile(
    re.escape(SPARSITY_HEAD) + r"(?:Found (?P<eligible>\d+) layer\(s\) eligible to|Chose (?P<chosen>\d+) layer\(s\) using)"
)

_REPORT = "report it with the TensorRT version: this package must be taught the new layout"


@dataclass(frozen=True, slots=True)
class EngineLayer:
    """One layer of an engine: TensorRT's name and kind, data types of its tensors, and the ONNX nodes that it was made of."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]


def layers_in_table(table: str) -> list[EngineLayer]:
    """The layers of the builder's layer table, those of all optimisation profiles.

    Raises:
        BuildError: the table is not laid out as known, so nothing can be said about the engine.
    """
    body, end, _ = table.removeprefix(LAYER_TABLE_HEAD).partition(_TABLE_END)
    lines = [line for line in body.split("\n") if line]
    if not table.startswith(LAYER_TABLE_HEAD) or not end or not lines:
        raise BuildError("the builder's layer table has no beginning, no end or no layers: layer types are unknown", fix=_REPORT)
    layers = []
    for line in lines:
        found = _TABLE_LINE.match(line)
        if found is None:
            raise BuildError(f"a line of the builder's layer table is not understood: {line[:200]}", fix=_REPORT)
        inputs, constants, outputs = (_table_types(found[part], line) for part in ("inputs", "constants", "outputs"))
        nodes = tuple(_ONNX_LAYER.findall(found["rest"]))
        layers.append(EngineLayer(found["name"], found["kind"], inputs, constants, outputs, nodes))
    return layers


def layers_in_inspector(text: str) -> list[EngineLayer]:
    """The layers in the inspector's JSON, those of all optimisation profiles.

    A tensor whose type TensorRT does not tell ("N/A due to dynamic shapes") is "Unknown".

    Raises:
        BuildError: not the JSON of an engine built with DETAILED verbosity.
    """
    try:
        return [_inspected(layer) for layer in json.loads(text)["Layers"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"the inspector's description of the engine is not understood: {error!r}", fix=_REPORT) from None


def count_types(layers: Iterable[EngineLayer]) -> dict[str, int]:
    """Count layers by the type they compute in, the most frequent type first.

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
    """Count layers by type in the inspector's JSON, as `layers_in_inspector` and `count_types` do.

    Raises:
        BuildError: not the JSON of an engine built with DETAILED verbosity.
    """
    return count_types(layers_in_inspector(text))


def _inspected(layer: dict[str, Any]) -> EngineLayer:
    weights = [layer["Weights"]] if isinstance(layer.get("Weights"), dict) else []
    parts = (layer["Inputs"], [*layer.get("Constants", []), *weights], layer["Outputs"])
    inputs, constants, outputs = (tuple(type_of_tensor(tensor) for tensor in part) for part in parts)
    name = str(layer.get("Name", ""))
    nodes = _ONNX_LAYER.findall(layer.get("Metadata", "")) or [word for word in _NAME_SEPARATORS.split(name) if word]
    return EngineLayer(name, str(layer.get("LayerType", "")), inputs, constants, outputs, tuple(nodes))


def sparse_counts(messages: Iterable[str]) -> tuple[int | None, int | None]:
    """Layers whose weights have the 2:4 pattern, and layers that got a kernel for it; None where the builder does not say.

    TensorRT counts once per round of its choice, and the last round's kernels are the engine's.
    """
    found: dict[str, int] = {}
    for match in filter(None, map(_SPARSE_COUNTS.match, messages)):
        found |= {name: int(number) for name, number in match.groupdict().items() if number is not None}
    return found.get("eligible"), found.get("chosen")


def verify_precision(record: EngineRecord) -> None:
    """Check that the engine is what its label says.

    Raises:
        BuildError: no layer, or no convolution or matrix product, computes in the precision asked for, or some layers compute in one
            that the label rules out.
    """
    required = REQUIRED_TYPES.get(record.precision)
    if required is None:
        raise BuildError(f"unknown engine precision {record.precision!r}", fix=f"one of {', '.join(REQUIRED_TYPES)}")
    found = ", ".join(f"{count} {name}" for name, count in record.layer_types.items()) or "none"
    if not record.layer_types.get(required):
        raise BuildError(
            f"{record.precision} was asked for, but no layer of the engine computes in {required}; layers found: {found}",
            fix=f"build from an ONNX file converted to {record.precision}: the file alone decides a typed network's precision",
        )
    stray = [name for name in record.layer_types if name in _REDUCED - _ALLOWED_REDUCED.get(record.precision, set())]
    if stray:
        raise BuildError(
            f"{record.precision} was asked for, but layers of the engine compute in {' and '.join(stray)}; layers found: {found}",
            fix=f"build from an ONNX file that has only {record.precision} layers, or label the engine with the precision it has",
        )
    if record.share is not None and not record.share.computing:
        raise BuildError(
            f"{record.precision} was asked for, but none of the engine's {record.share.layers} convolutions and matrix products "
            f"compute in {required}; layers found: {found}",
            fix=f"build from an ONNX file whose products are {record.precision}: the file alone decides a typed network's precision",
        )


def _computes_in(layer: EngineLayer) -> Iterable[str]:
    """The type one layer computes in: that of its first input, or of its first output if it reads nothing.

    A layer whose only eight-bit (or smaller) operand is that input merely widens it, so it counts as what it writes: INT8 then
    means an INT8 product, not a lonely dequantisation. Layers without tensors (stream signal and wait) compute nothing.
    """
    if not layer.inputs:
        return layer.outputs[:1]
    first, *others = layer.inputs
    if first in EIGHT_BITS_OR_LESS and first not in (*others, *layer.constants, *layer.outputs):
        return layer.outputs[:1]
    return (first,)


def _table_types(part: str, line: str) -> tuple[str, ...]:
    types = _TABLE_TENSOR.findall(part)
    if len(types) != part.count("{ Name: "):
        raise BuildError(f"a tensor in the builder's layer table is not understood: {line[:200]}", fix=_REPORT)
    return tuple(_TYPE_NAMES.get(name.lower(), name) for name in types)


def type_of_tensor(tensor: dict[str, Any]) -> str:
    """TensorRT 10 says {"Format/Datatype": "Row major linear FP16 format"}, 11 {"Datatype": "Half"}, weights {"Type": "Half"}."""
    text = tensor.get("Datatype") or tensor.get("Format/Datatype") or tensor.get("Type") or ""
    word = _TYPE_WORD.search(text)
    return _TYPE_NAMES[word[1].lower()] if word else "Unknown"
