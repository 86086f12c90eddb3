"""Origins of an optimised graph's nodes: the module and its weights.

ONNX Runtime and TensorRT fuse, rename and add nodes, and number the new ones, so names differ between a dense and a pruned model.
The names of the exported graph's tensors survive, and its nodes carry their modules.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRODUCTS = frozenset(
    {"Conv", "FusedConv", "ConvTranspose", "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "QLinearConv", "ConvInteger", "QGemm"}
    | {"QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
)
"""Operators that multiply.

Their row is the module that owns the weight.
"""

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Metadata key of an exported node: the modules it runs in.

They are listed from the network inwards, with the node's own name at the end.
"""

_BLOCKED = "_nchwc"
# ONNX Runtime numbers nodes that it makes from Q/DQ nodes and a product, and the quantiser names an eight-bit weight after its source.
_NUMBERED = re.compile(r"_token_\d+$")
_QUANTISED = "_quantized"
_EIGHT_BIT_OR_CHANNELS_LAST = re.compile(r"^(QLinear|Nhwc)")
_MAX_STEPS = 4
_NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"
# The bias that the exporter made when it folded a batch norm. The names of its other constants have no dot.
_FOLDED_BIAS = ".weight_bias"


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of a node.

    `module` is "" for the network. `parameters` are those it reads, and `weight_shape` is the shape of the first as the module
    has it. `owns` is true for the node that does the module's main work, a product or a normalisation, and false for a step
    beside it.
    """

    module: str = ""
    parameters: tuple[str, ...] = ()
    weight_shape: tuple[int, ...] = ()
    owns: bool = False

    def row(self, op: str) -> str:
        """Return the name of its row.

        It is the module's name where the node is the module's main work. Otherwise it is like "layer1.0:Add", the same for every
        form of Add.
        """
        if self.owns:
            return self.module
        plain = plain_operator(op)
        return f"{self.module}:{plain}" if self.module else plain


def plain_operator(op: str) -> str:
    """Return an operator's name without its eight-bit or channels-last form.

    "QLinearAdd" becomes "Add".
    """
    return _EIGHT_BIT_OR_CHANNELS_LAST.sub("", op)


class ExportedGraph:
    """Graph of an ONNX file without its weights, for looking up origins."""

    def __init__(self, graph: Any) -> None:
        self._nodes = {node.name: node for node in graph.node}
        self._makers = {tensor: node for node in graph.node for tensor in node.output}
        self._shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        # A quantised weight is what a DequantizeLinear reads. For the origin of a layer both are the same tensor.
        self._dequantized = {
            node.output[0]: node.input[0]
            for node in graph.node
            if node.op_type == "DequantizeLinear" and node.input[0] in self._shapes
        }

    @classmethod
    def read(cls, path: Path) -> ExportedGraph:
        """Read the graph of a file.

        Raises:
            InputError: the file is no ONNX model.
        """
        from prune_deploy.export.onnx import load_graph

        return cls(load_graph(path).graph)

    def origins(self, optimized: Any) -> dict[str, Origin]:
        """Return the origin of each node of an optimised graph by name."""
        makers = {tensor: node for node in optimized.node for tensor in node.output}
        return {node.name: self._origin(node.op_type, self._exported(node, makers)) for node in optimized.node}

    def origin_of(self, names: Iterable[str]) -> Origin:
        """Return the origin of a layer made of the exported nodes `names`.

        If a product is among them, its origin is that of the layer.
        """
        nodes = [self._nodes[name] for name in names if name in self._nodes]
        products = [node for node in nodes if node.op_type in PRODUCTS]
        node = next(iter([*products, *nodes]), None)
        return self._origin("" if node is None else node.op_type, node)

    def _weight(self, tensor: str) -> str:
        """Return the initializer behind a tensor that is a dequantised weight.

        Other tensors are returned as they are.
        """
        return str(self._dequantized.get(tensor, tensor))

    def _origin(self, op: str, exported: Any) -> Origin:
        if exported is None:
            return Origin()
        module = _module(exported)
        read = [name for name in map(self._weight, exported.input) if self._shapes.get(name)]
        if op in PRODUCTS and exported.op_type in PRODUCTS:
            return self._product(exported, module, read)
        named = [name for name in read if "." in name and not name.endswith(_FOLDED_BIAS)]
        if op.startswith("Reorder") or not named:
            return Origin(module)
        parameters = tuple(_own_name(name, module) for name in named)
        return Origin(module, parameters, self._shapes[named[0]], owns="Normalization" in op)

    def _product(self, exported: Any, module: str, read: list[str]) -> Origin:
        """Return the origin of a product: its weight is its module's.

        The exporter's name of the tensor is only partly reliable. A convolution that absorbed a batch norm carries the norm's
        scope, and its weight's name is right. The weight of a matrix product may have become a transposed constant without a
        name, and equal weights one tensor, so there the module is right.
        """
        if not read:
            return Origin(module)
        weight = read[0].removesuffix(_QUANTISED)
        if "Conv" in exported.op_type and weight.endswith(".weight"):
            module = weight.removesuffix(".weight")
        biases = [_own_name(name, module) for name in read[1:] if name.endswith(".bias")]
        shape = self._shapes[read[0]]
        flipped = exported.op_type == "MatMul" or (exported.op_type == "Gemm" and not _attribute(exported, "transB"))
        return Origin(module, (f"{module}.weight", *biases), shape[::-1] if flipped else shape, owns=True)

    def _exported(self, node: Any, makers: Mapping[str, Any], steps: int = 0) -> Any:
        """Return the exported node that an optimised node was, absorbed or follows."""
        blocked = [node.name.removesuffix(_BLOCKED)] if node.name.endswith(_BLOCKED) else []
        names = (node.name, node.name.partition("/")[0], _NUMBERED.sub("", node.name))
        named = [self._nodes.get(name) for name in names]
        tensors = [*blocked, *node.output, *(node.input if node.op_type.startswith("Reorder") else ())]
        made = [self._makers.get(tensor) for tensor in tensors]
        exported = next((candidate for candidate in (*named, *made) if candidate is not None), None)
        if exported is not None:
            return self._product_before(exported) if node.op_type in PRODUCTS else exported
        before = makers.get(node.input[0]) if node.input else None
        return None if before is None or steps == _MAX_STEPS else self._exported(before, makers, steps + 1)

    def _product_before(self, node: Any) -> Any:
        """Return the product before an activation or a sum.

        A product that absorbed one of those makes their tensor.
        """
        current = node
        for _ in range(_MAX_STEPS):
            if current.op_type in PRODUCTS:
                return current
            before = [self._makers[name] for name in current.input if name in self._makers]
            if not before:
                break
            current = next((maker for maker in before if maker.op_type in PRODUCTS), before[0])
        return node


def _module(node: Any) -> str:
    """Return the innermost module that an exported node runs in."""
    message = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "")
    scopes = ast.literal_eval(message) if message else []
    module = str(scopes[-2]) if len(scopes) > 1 else ""
    return "" if module == _NO_MODULE else module


def _own_name(tensor: str, module: str) -> str:
    """Return a parameter's name within `module`.

    Of equal parameters the exporter keeps one, under the name of the first.
    """
    if tensor.startswith(f"{module}." if module else ""):
        return tensor
    return f"{module}.{tensor.rpartition('.')[2]}"


def _attribute(node: Any, name: str) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)
