"""Which module of the network a node of an optimised graph comes from, and which weights it reads.

ONNX Runtime and TensorRT fuse, rename and add nodes, and number the new ones, so that names differ between a dense and a pruned
model. The names of the exported graph's tensors survive, and its nodes say which module they were.
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
"""Operators that multiply; their row is the module that owns the weight."""

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Metadata of an exported node: the modules it runs in, from the network inwards, and at the end its own name."""

_BLOCKED = "_nchwc"
# ONNX Runtime numbers nodes that it makes from Q/DQ nodes and a product, and the quantiser names an eight-bit weight after its source.
_NUMBERED = re.compile(r"_token_\d+$")
_QUANTISED = "_quantized"
_EIGHT_BIT_OR_CHANNELS_LAST = re.compile(r"^(QLinear|Nhwc)")
_MAX_STEPS = 4
_NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"
# The bias that the exporter made when it folded a batch norm; the names of its other constants have no dot.
_FOLDED_BIAS = ".weight_bias"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node comes from: a module ("" is the network), the parameters it reads, the shape of the first as the module has it.

    `owns` is whether the node is what its module is for, a product or a normalisation, and not a step beside it.
    """

    module: str = ""
    parameters: tuple[str, ...] = ()
    weight_shape: tuple[int, ...] = ()
    owns: bool = False

    def row(self, op: str) -> str:
        """The name of its row: the module's where it is what the module is for, else "layer1.0:Add", whatever form of Add it is."""
        if self.owns:
            return self.module
        plain = plain_operator(op)
        return f"{self.module}:{plain}" if self.module else plain


def plain_operator(op: str) -> str:
    """What an operator is without its eight-bit or channels-last form: "QLinearAdd" is an "Add"."""
    return _EIGHT_BIT_OR_CHANNELS_LAST.sub("", op)


class ExportedGraph:
    """The graph of an ONNX file, without its weights, to ask where things come from."""

    def __init__(self, graph: Any) -> None:
        self._nodes = {node.name: node for node in graph.node}
        self._makers = {tensor: node for node in graph.node for tensor in node.output}
        self._shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        # A quantised weight is what a DequantizeLinear reads: the same tensor to whoever asks what a layer's weight is.
        self._dequantized = {
            node.output[0]: node.input[0]
            for node in graph.node
            if node.op_type == "DequantizeLinear" and node.input[0] in self._shapes
        }

    @classmethod
    def read(cls, path: Path) -> ExportedGraph:
        """The graph of a file.

        Raises:
            InputError: the file is no ONNX model.
        """
        from prune_deploy.export.onnx import load_graph

        return cls(load_graph(path).graph)

    def origins(self, optimized: Any) -> dict[str, Origin]:
        """Where each node of an optimised graph comes from, by its name."""
        makers = {tensor: node for node in optimized.node for tensor in node.output}
        return {node.name: self._origin(node.op_type, self._exported(node, makers)) for node in optimized.node}

    def origin_of(self, names: Iterable[str]) -> Origin:
        """Where a layer comes from that was made of the exported nodes of these names; a product among them speaks for all."""
        found = [self._nodes[name] for name in names if name in self._nodes]
        products = [node for node in found if node.op_type in PRODUCTS]
        node = next(iter([*products, *found]), None)
        return self._origin("" if node is None else node.op_type, node)

    def _weight(self, tensor: str) -> str:
        """The initializer behind a tensor, if that is a dequantised weight."""
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
        """A product's weight is its module's, whatever the exporter made of the tensor's name.

        A convolution that swallowed a batch norm says that it is that norm, and its weight's name is right. The weight of a matrix
        product may have become a transposed constant without a name, and equal weights one tensor, so there the module is right.
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
        """The exported node that a node of the optimised graph was, or took in, or follows."""
        blocked = [node.name.removesuffix(_BLOCKED)] if node.name.endswith(_BLOCKED) else []
        names = (node.name, node.name.partition("/")[0], _NUMBERED.sub("", node.name))
        named = [self._nodes.get(name) for name in names]
        tensors = [*blocked, *node.output, *(node.input if node.op_type.startswith("Reorder") else ())]
        made = [self._makers.get(tensor) for tensor in tensors]
        found = next((each for each in (*named, *made) if each is not None), None)
        if found is not None:
            return self._product_before(found) if node.op_type in PRODUCTS else found
        before = makers.get(node.input[0]) if node.input else None
        return None if before is None or steps == _MAX_STEPS else self._exported(before, makers, steps + 1)

    def _product_before(self, node: Any) -> Any:
        """A product that took in an activation or a sum makes their tensor: go back to the product itself."""
        found = node
        for _ in range(_MAX_STEPS):
            if found.op_type in PRODUCTS:
                return found
            before = [self._makers[name] for name in found.input if name in self._makers]
            if not before:
                break
            found = next((each for each in before if each.op_type in PRODUCTS), before[0])
        return node


def _module(node: Any) -> str:
    """The innermost module that an exported node runs in."""
    message = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "")
    scopes = ast.literal_eval(message) if message else []
    module = str(scopes[-2]) if len(scopes) > 1 else ""
    return "" if module == _NO_MODULE else module


def _own_name(tensor: str, module: str) -> str:
    """A parameter as `module` calls it: of equal ones the exporter keeps one, under the name of the first."""
    if tensor.startswith(f"{module}." if module else ""):
        return tensor
    return f"{module}.{tensor.rpartition('.')[2]}"


def _attribute(node: Any, name: str) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)
