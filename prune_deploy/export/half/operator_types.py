"""Which types ONNX's operators take and give, read from its schemas: what can be half precision, and what a node makes."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from onnx import NodeProto, TensorProto, TypeProto, defs, helper

from prune_deploy.errors import BuildError
from prune_deploy.export.half.numbers import HalfType
from prune_deploy.specs import PRECISIONS

_FLOAT = TensorProto.FLOAT
_OWN = {"ai.onnx": ""}
"""The other name of ONNX's own domain."""

TYPE_ATTRIBUTES = frozenset({"to", "dtype"})
"""Attributes that hold the type of a node's output. `stash_type` is not among them: it is what the node computes in, and stays FP32."""

_NORMALIZATION = "LayerNormalization"
"""Its outputs but the first have the type that `stash_type` says, which stays FP32, whatever else the schema allows."""


class Pins(NamedTuple):
    """Which inputs and outputs of an operator stay FP32, if they are floating point at all. The last stands for all that follow."""

    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]

    def of_inputs(self, positions: Iterable[int]) -> set[int]:
        """Those of `positions` that stay FP32."""
        return {index for index in positions if self.inputs[min(index, len(self.inputs) - 1)]}

    def of_outputs(self, positions: Iterable[int]) -> set[int]:
        """Those of `positions` that stay FP32."""
        return {index for index in positions if self.outputs[min(index, len(self.outputs) - 1)]}


class OperatorTypes:
    """Types by operator, for a model whose versions by domain are `opsets`."""

    def __init__(self, half: HalfType, opsets: Mapping[str, int]) -> None:
        self._half = half
        self._opsets = {_OWN.get(domain, domain): version for domain, version in opsets.items()}
        self.pins = functools.cache(self._pins)

    def _pins(self, op: str, domain: str) -> Pins:
        """What of an operator stays FP32."""
        schema = self._schema(op, domain)
        # An operator that ONNX does not know may know nothing of half precision.
        if schema is None or op in PRECISIONS[self._half.name].fp32_in_tensorrt:
            return Pins((True,), (True,))
        inputs, outputs = (
            tuple("tensor(float)" in formal.types and self._half.schema not in formal.types for formal in formals)
            for formals in (schema.inputs, schema.outputs)
        )
        return Pins(inputs, (outputs[0], True) if op == _NORMALIZATION else outputs)

    def of_output(self, node: NodeProto, index: int, codes: Mapping[str, int], body: Sequence[int]) -> int:
        """ONNX's number of the type of one output, 0 where it is certain only that it is not FP32. `codes` has the types of tensors by
        name, `body` those of the outputs of the graph inside the node, if there is one.

        Raises:
            BuildError: it cannot be told.
        """
        if body:
            # A loop's body gives its condition first; other bodies give the node's own outputs.
            return body[index + len(body) - len(node.output)]
        if node.op_type == "Constant":
            return constant_tensor(node).data_type
        message = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "ConstantOfShape":
            return message["value"].t.data_type if "value" in message else _FLOAT
        for attribute in TYPE_ATTRIBUTES & message.keys():
            return int(message[attribute].i)
        if node.op_type == _NORMALIZATION and index:
            return int(message["stash_type"].i) if "stash_type" in message else _FLOAT
        schema = self._schema(node.op_type, node.domain)
        formal = schema.outputs[min(index, len(schema.outputs) - 1)] if schema else None
        if schema is not None and formal is not None:
            for position, name in enumerate(node.input):
                if schema.inputs[min(position, len(schema.inputs) - 1)].type_str == formal.type_str and codes.get(name):
                    return codes[name]
            if "tensor(float)" not in formal.types:
                return TensorProto.UNDEFINED
        raise BuildError(
            f"the type of {node.output[index]}, which {node.op_type} makes, cannot be told",
            fix="run onnx.shape_inference on the file first; the file then names every tensor's type",
        )

    def _schema(self, op: str, domain: str) -> defs.OpSchema | None:
        domain = _OWN.get(domain, domain)
        version = self._opsets.get(domain, 0)
        return defs.get_schema(op, version, domain) if version and defs.has(op, version, domain) else None


def element_code(kind: TypeProto) -> int:
    """The number of the type that tensors have, on their own, in a sequence or as an option; 0 where there is none."""
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        return kind.tensor_type.elem_type
    return element_code(getattr(kind, which).elem_type) if which in ("sequence_type", "optional_type") else 0


def constant_tensor(node: NodeProto) -> TensorProto:
    """The value of a Constant node. A float number or list becomes a tensor, since those have no other type."""
    for attribute in node.attribute:
        if attribute.name in ("value_float", "value_floats"):
            one = attribute.name == "value_float"
            tensor = helper.make_tensor(
                "", _FLOAT, [] if one else [len(attribute.floats)], [attribute.f] if one else attribute.floats
            )
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", tensor))
    return next((attribute.t for attribute in node.attribute if attribute.name == "value"), TensorProto())
