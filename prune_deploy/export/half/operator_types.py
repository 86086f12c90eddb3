"""Types that ONNX's operators take and give, read from its schemas.

They tell which tensors can be half precision, and what type a node makes.
"""

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
"""Attributes that hold the type of a node's output.

`stash_type` is not among them: it is the type that the node computes in, and stays FP32.
"""

_NORMALIZATION = "LayerNormalization"
"""All its outputs but the first have the type that `stash_type` names, which stays FP32, whatever else the schema allows."""


class Pins(NamedTuple):
    """Flags of an operator's inputs and outputs that stay FP32.

    They matter only for floating-point tensors. The last flag stands for all that follow.
    """

    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]

    def of_inputs(self, positions: Iterable[int]) -> set[int]:
        """Return those of `positions` that stay FP32."""
        return {index for index in positions if self.inputs[min(index, len(self.inputs) - 1)]}

    def of_outputs(self, positions: Iterable[int]) -> set[int]:
        """Return those of `positions` that stay FP32."""
        return {index for index in positions if self.outputs[min(index, len(self.outputs) - 1)]}


class OperatorTypes:
    """Types by operator, for a model whose versions by domain are `opsets`."""

    def __init__(self, half: HalfType, opsets: Mapping[str, int]) -> None:
        self._half = half
        self._opsets = {_OWN.get(domain, domain): version for domain, version in opsets.items()}
        self.pins = functools.cache(self._pins)

    def _pins(self, op: str, domain: str) -> Pins:
        """Find the inputs and outputs of an operator that stay FP32."""
        schema = self._schema(op, domain)
        # An operator that ONNX does not know may not support half precision.
        if schema is None or op in PRECISIONS[self._half.name].fp32_in_tensorrt:
            return Pins((True,), (True,))
        inputs, outputs = (
            tuple("tensor(float)" in formal.types and self._half.schema not in formal.types for formal in formals)
            for formals in (schema.inputs, schema.outputs)
        )
        return Pins(inputs, (outputs[0], True) if op == _NORMALIZATION else outputs)

    def of_output(self, node: NodeProto, index: int, codes: Mapping[str, int], body: Sequence[int]) -> int:
        """Return ONNX's number of the type of one output.

        It is 0 where only this is certain: the type is not FP32. `codes` has the types of tensors by name. `body` has those of
        the outputs of the graph inside the node, if there is one.

        Raises:
            BuildError: the type is unknown.
        """
        if body:
            # A loop's body gives its condition first. Other bodies give the node's own outputs.
            return body[index + len(body) - len(node.output)]
        if node.op_type == "Constant":
            return constant_tensor(node).data_type
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "ConstantOfShape":
            return attributes["value"].t.data_type if "value" in attributes else _FLOAT
        for attribute in TYPE_ATTRIBUTES & attributes.keys():
            return int(attributes[attribute].i)
        if node.op_type == _NORMALIZATION and index:
            return int(attributes["stash_type"].i) if "stash_type" in attributes else _FLOAT
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
    """Return the number of a value's element type, 0 without one.

    The value may be a tensor, a sequence of tensors or an optional one.
    """
    kind_name = kind.WhichOneof("value")
    if kind_name == "tensor_type":
        return kind.tensor_type.elem_type
    return element_code(getattr(kind, kind_name).elem_type) if kind_name in ("sequence_type", "optional_type") else 0


def constant_tensor(node: NodeProto) -> TensorProto:
    """Return the value of a Constant node as a tensor.

    A float number or list is replaced by a tensor, since it has no other type.
    """
    for attribute in node.attribute:
        if attribute.name in ("value_float", "value_floats"):
            one = attribute.name == "value_float"
            tensor = helper.make_tensor(
                "", _FLOAT, [] if one else [len(attribute.floats)], [attribute.f] if one else attribute.floats
            )
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", tensor))
    return next((attribute.t for attribute in node.attribute if attribute.name == "value"), TensorProto())
