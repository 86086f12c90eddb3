"""TensorRT's words for data types and for a layer's ONNX nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EngineType:
    """A data type of an engine's tensors.

    `words` are those of TensorRT 10's "Format/Datatype" and TensorRT 11's "Datatype", in lower case. `dtype` is numpy's name.
    `size_bytes` is None for a type that shares bytes. `is_narrow` marks the types of 16 bits and less that products multiply in,
    `is_quantized` those of 8 bits and less among them.
    """

    words: tuple[str, ...]
    dtype: str
    size_bytes: int | None
    is_narrow: bool = False
    is_quantized: bool = False


ENGINE_TYPES: Mapping[str, EngineType] = {
    "Float": EngineType(("float", "fp32"), "float32", 4),
    "Half": EngineType(("half", "fp16"), "float16", 2, is_narrow=True),
    "BFloat16": EngineType(("bfloat16", "bf16"), "bfloat16", 2, is_narrow=True),
    "FP8": EngineType(("fp8",), "float8", 1, is_narrow=True, is_quantized=True),
    "FP4": EngineType(("fp4",), "float4", None, is_narrow=True, is_quantized=True),
    "Int8": EngineType(("int8",), "int8", 1, is_narrow=True, is_quantized=True),
    "Int4": EngineType(("int4",), "int4", None, is_narrow=True, is_quantized=True),
    "UInt8": EngineType(("uint8",), "uint8", 1),
    "Int32": EngineType(("int32",), "int32", 4),
    "Int64": EngineType(("int64",), "int64", 8),
    "Bool": EngineType(("bool",), "bool", 1),
}
"""Data types by the name that this package gives them, in both versions' descriptions alike."""

NARROW_TYPES = frozenset(name for name, each in ENGINE_TYPES.items() if each.is_narrow)
QUANTIZED_TYPES = frozenset(name for name, each in ENGINE_TYPES.items() if each.is_quantized)

_NAMES = {word: name for name, each in ENGINE_TYPES.items() for word in each.words}
_TYPE_WORD = re.compile(r"\b(" + "|".join(_NAMES) + r")\b", re.IGNORECASE)
_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_NAME_SEPARATORS = re.compile(r"[+,()\[\]{} ]+")


def type_of_word(word: str) -> str:
    """Return this package's name of the type that TensorRT calls `word`.

    It is `word` itself where that is unknown.
    """
    return _NAMES.get(word.lower(), word)


def type_of_tensor(tensor: dict[str, Any]) -> str:
    """Return the type of a tensor in the inspector's JSON.

    It is "Unknown" where TensorRT leaves it open. TensorRT 10 writes {"Format/Datatype": "Row major linear FP16 format"}, 11
    {"Datatype": "Half"}, and weights have {"Type": "Half"}.
    """
    text = tensor.get("Datatype") or tensor.get("Format/Datatype") or tensor.get("Type") or ""
    word = _TYPE_WORD.search(text)
    return _NAMES[word[1].lower()] if word else "Unknown"


def onnx_nodes(metadata: str) -> list[str]:
    """Return the ONNX nodes that a layer's metadata names."""
    return _ONNX_LAYER.findall(metadata)


def nodes_of_layer(layer: dict[str, Any]) -> tuple[str, ...]:
    """Return the ONNX nodes that one layer was made of.

    `layer` is one of the inspector's JSON. The nodes are those of its metadata, else the words of its name.
    """
    named = (word for word in _NAME_SEPARATORS.split(str(layer.get("Name", ""))) if word)
    return tuple(onnx_nodes(layer.get("Metadata", "")) or named)
