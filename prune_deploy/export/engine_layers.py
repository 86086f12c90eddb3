"""Which data types an engine's layers really compute in: read from the finished engine, never from what was asked.

Two sources say the same: the inspector's JSON (TensorRT 10 and 11 write it differently), which needs a GPU, and the layer table
that the builder logs, which TensorRT-RTX writes without one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from prune_deploy.errors import BuildError
from prune_deploy.export.tensorrt_log import LAYER_TABLE_HEAD, SPARSITY_HEAD
from prune_deploy.records import EngineRecord

REQUIRED_TYPES: dict[str, str] = {"fp32": "Float", "tf32": "Float", "fp16": "Half", "bf16": "BFloat16", "int8": "Int8"}
"""Precision → the type at least one layer must compute in. These are the precisions an engine can be labelled with."""

_ALLOWED_REDUCED = {"fp16": {"Half"}, "bf16": {"BFloat16"}, "int8": {"Int8", "Half", "BFloat16"}}
_EIGHT_BITS_OR_LESS = {"Int8", "FP8", "Int4", "FP4"}
_REDUCED = _EIGHT_BITS_OR_LESS | {"Half", "BFloat16"}

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
    r"Name: .*?, LayerType: \w+, Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: "
)
_TABLE_TENSOR = re.compile(r"\{ Name: .*?, Dimensions: \[[^]]*\], .*?Datatype: (\w+), Format: ")

_SPARSE_COUNTS = re.compile(
    re.escape(SPARSITY_HEAD) + r"(?:Found (?P<eligible>\d+) layer\(s\) eligible to|Chose (?P<chosen>\d+) layer\(s\) using)"
)

_REPORT = "report it with the TensorRT version: this package must be taught the new layout"


def types_in_table(table: str) -> dict[str, int]:
    """Count layers by type in the builder's layer table, over all optimisation profiles, the most frequent type first.

    Raises:
        BuildError: the table is not laid out as known, so nothing can be said about the engine.
    """
    body, end, _ = table.removeprefix(LAYER_TABLE_HEAD).partition(_TABLE_END)
    lines = [line for line in body.split("\n") if line]
    if not table.startswith(LAYER_TABLE_HEAD) or not end or not lines:
        raise BuildError("the builder's layer table has no beginning, no end or no layers: layer types are unknown", fix=_REPORT)
    counts: Counter[str] = Counter()
    for line in lines:
        layer = _TABLE_LINE.match(line)
        if layer is None:
            raise BuildError(f"a line of the builder's layer table is not understood: {line[:200]}", fix=_REPORT)
        counts.update(_computes_in(*(_table_types(layer[part], line) for part in ("inputs", "constants", "outputs"))))
    return _checked(counts)


def types_in_inspector(text: str) -> dict[str, int]:
    """Count layers by type in the inspector's JSON, over all optimisation profiles, the most frequent type first.

    A tensor whose type TensorRT does not tell ("N/A due to dynamic shapes") makes its layer "Unknown".

    Raises:
        BuildError: not the JSON of an engine built with DETAILED verbosity.
    """
    try:
        layers = json.loads(text)["Layers"]
        counts: Counter[str] = Counter()
        for layer in layers:
            weights = [layer["Weights"]] if isinstance(layer.get("Weights"), dict) else []
            parts = (layer["Inputs"], [*layer.get("Constants", []), *weights], layer["Outputs"])
            counts.update(_computes_in(*([type_of_tensor(tensor) for tensor in part] for part in parts)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"the inspector's description of the engine is not understood: {error!r}", fix=_REPORT) from None
    return _checked(counts)


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
        BuildError: no layer computes in the precision asked for, or some layers compute in one that the label rules out.
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


def _computes_in(inputs: list[str], constants: list[str], outputs: list[str]) -> Iterable[str]:
    """The type one layer computes in: that of its first input, or of its first output if it reads nothing.

    A layer whose only eight-bit (or smaller) operand is that input merely widens it, so it counts as what it writes: INT8 then
    means an INT8 product, not a lonely dequantisation. Layers without tensors (stream signal and wait) compute nothing.
    """
    if not inputs:
        return outputs[:1]
    first, *others = inputs
    if first in _EIGHT_BITS_OR_LESS and first not in (*others, *constants, *outputs):
        return outputs[:1]
    return (first,)


def _table_types(part: str, line: str) -> list[str]:
    types = _TABLE_TENSOR.findall(part)
    if len(types) != part.count("{ Name: "):
        raise BuildError(f"a tensor in the builder's layer table is not understood: {line[:200]}", fix=_REPORT)
    return [_TYPE_NAMES.get(name.lower(), name) for name in types]


def type_of_tensor(tensor: dict[str, Any]) -> str:
    """TensorRT 10 says {"Format/Datatype": "Row major linear FP16 format"}, 11 {"Datatype": "Half"}, weights {"Type": "Half"}."""
    text = tensor.get("Datatype") or tensor.get("Format/Datatype") or tensor.get("Type") or ""
    word = _TYPE_WORD.search(text)
    return _TYPE_NAMES[word[1].lower()] if word else "Unknown"


def _checked(counts: Counter[str]) -> dict[str, int]:
    if not counts:
        raise BuildError("the engine's description has no layer with a data type: layer types are unknown", fix=_REPORT)
    return dict(counts.most_common())
