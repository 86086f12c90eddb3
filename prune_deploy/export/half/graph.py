"""Conversion of a graph to half precision: tensors that change, and casts.

ONNX's own schemas tell what has to stay FP32: an input or output whose types include FP32 but not the half type. So do a few
operators that TensorRT reads in FP32 only. Everything else of type FP32 becomes half, except the model's own inputs and outputs,
so that a caller sees no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, checker, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from prune_deploy.errors import BuildError, InputError, first_line
from prune_deploy.export.half.numbers import HalfType
from prune_deploy.export.half.operator_types import TYPE_ATTRIBUTES, OperatorTypes, constant_tensor, element_code

_FLOAT = TensorProto.FLOAT


@dataclass(slots=True)
class _Scope:
    """Facts about the tensors that a graph sees, by name.

    They cover its own tensors and those of the graphs around it.

    - `codes` has ONNX's numbers of the types in the FP32 model.
    - `wide` has the FP32 tensors that stay so.
    - `held` has the tensors that pinned inputs read.
    - `renamed` has the model's outputs while they are half.
    - `casts` has the tensors that exist in the other type already.
    """

    codes: dict[str, int] = field(default_factory=dict)
    wide: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    casts: dict[str, str] = field(default_factory=dict)

    def inner(self) -> _Scope:
        """Return the scope of a subgraph, whose additions stay its own.

        A subgraph may never run, so the graphs around it cannot use what it adds.
        """
        return _Scope(dict(self.codes), set(self.wide), set(self.held), dict(self.renamed), dict(self.casts))


class HalfConverter:
    """Converter of one model's graph in place.

    Afterwards `kept` has the names of nodes that stayed FP32, and `clipped` and `lifted` count changed constants. `opsets` are
    the model's versions by domain, `folder` is where its external data lies.
    """

    def __init__(self, half: HalfType, opsets: dict[str, int], folder: Path) -> None:
        self.kept: list[str] = []
        self.clipped = 0
        self.lifted = 0
        self._half, self._folder = half, folder
        self._names: set[str] = set()
        self._types = OperatorTypes(half, opsets)

    def convert(self, graph: GraphProto) -> None:
        """Convert the model's main graph, and the graphs inside its nodes.

        Raises:
            BuildError: the type of a tensor is unknown, so nothing can be said about its consumers.
            InputError: the external data is missing or damaged.
        """
        self._names = {name for subgraph in all_graphs(graph) for node in subgraph.node for name in (*node.input, *node.output)}
        scope = _Scope()
        outputs_of_nodes = {name for node in graph.node for name in node.output}
        initialized = {tensor.name for tensor in graph.initializer}
        scope.wide = {tensor.name for tensor in graph.input if tensor.name not in initialized}
        scope.held = {tensor.name for tensor in graph.output if tensor.name not in outputs_of_nodes}
        placed = self._begin(graph, scope, {tensor.name for tensor in graph.output})
        for name, half in scope.renamed.items():
            placed.append(self._cast(half, name, _FLOAT))
        self._end(graph, scope, placed)

    def _subgraph(self, graph: GraphProto, outer: _Scope) -> list[int]:
        """Convert the body of a loop or a branch.

        Returns the types that its outputs had in FP32.
        """
        scope = outer.inner()
        placed = self._begin(graph, scope, set())
        codes = [scope.codes.get(tensor.name, 0) for tensor in graph.output]
        for tensor, code in zip(graph.output, codes, strict=True):
            name = scope.renamed.get(tensor.name, tensor.name)
            tensor.name = self._as(name, scope, placed, wide=False) if code == _FLOAT else name
            self._mend(tensor.type)
        self._end(graph, scope, placed)
        return codes

    def _begin(self, graph: GraphProto, scope: _Scope, outputs: set[str]) -> list[NodeProto]:
        """Convert constants and nodes, and return the nodes with their casts.

        The nodes keep their order. `outputs` are those of the model.
        """
        if graph.sparse_initializer:
            raise BuildError("the graph has sparse constants, which are not converted", fix="write them as dense tensors")
        for tensor in (*graph.input, *graph.value_info, *graph.output):
            scope.codes[tensor.name] = element_code(tensor.type)
        scope.codes |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        scope.held |= {name for subgraph in all_graphs(graph) for node in subgraph.node for name in self._held_by(node)}
        for tensor in graph.initializer:
            self._constant(tensor, tensor.name, scope)
        placed: list[NodeProto] = []
        for node in graph.node:
            self._node(node, scope, placed, outputs)
        return placed

    def _end(self, graph: GraphProto, scope: _Scope, placed: list[NodeProto]) -> None:
        if len(placed) > len(graph.node):
            del graph.node[:]
            graph.node.extend(placed)
        for tensor in (*graph.input, *graph.value_info):
            if tensor.name not in scope.wide:
                self._mend(tensor.type)

    def _node(self, node: NodeProto, scope: _Scope, placed: list[NodeProto], outputs: set[str]) -> None:
        bodies = [self._subgraph(body, scope) for body in _bodies(node)]
        self._learn_outputs(node, scope, bodies[-1] if bodies else [])
        pins = self._types.pins(node.op_type, node.domain)
        floats_in = {index for index, name in enumerate(node.input) if scope.codes.get(name) == _FLOAT}
        floats_out = {index for index, name in enumerate(node.output) if scope.codes.get(name) == _FLOAT}
        pinned_in, pinned_out = pins.of_inputs(floats_in), pins.of_outputs(floats_out)
        for index in sorted(floats_in):
            name = node.input[index]
            node.input[index] = self._as(scope.renamed.get(name, name), scope, placed, wide=index in pinned_in)
        if node.op_type == "Constant":
            self._constant(constant_tensor(node), node.output[0], scope)
        elif floats_out - pinned_out:
            self._set_type(node)
        elif pinned_in or pinned_out:
            self.kept.append(node.name or node.op_type)
        for index in floats_out:
            name = node.output[index]
            if index in pinned_out:
                scope.wide.add(name)
            elif name in outputs and name not in scope.wide:
                scope.renamed[name] = node.output[index] = self._fresh(f"{name}_{self._half.name}")
        placed.append(node)

    def _constant(self, tensor: TensorProto, name: str, scope: _Scope) -> None:
        """Convert a constant, unless a node needs it in FP32.

        `name` is that of the tensor whose value it is.
        """
        if tensor.data_type != _FLOAT or name in scope.held:
            scope.wide |= {name} if tensor.data_type == _FLOAT else set()
            if uses_external_data(tensor):
                with _data_errors(tensor):
                    load_external_data_for_tensor(tensor, str(self._folder))
            return
        with _data_errors(tensor):
            values = numpy_helper.to_array(tensor, str(self._folder))
        rounded = self._half.round(values)
        self.clipped += rounded.clipped
        self.lifted += rounded.lifted
        for part in ("float_data", "external_data", "data_location"):
            tensor.ClearField(part)
        tensor.data_type = self._half.code
        tensor.raw_data = rounded.values.tobytes()

    def _set_type(self, node: NodeProto) -> None:
        """Set the half type where an attribute holds the output's type."""
        for attribute in node.attribute:
            if attribute.name in TYPE_ATTRIBUTES and attribute.type == AttributeProto.INT and attribute.i == _FLOAT:
                attribute.i = self._half.code
        if node.op_type == "ConstantOfShape":
            value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
            if value is None:
                node.attribute.append(helper.make_attribute("value", helper.make_tensor("value", _FLOAT, [1], [0.0])))
                value = node.attribute[-1].t
            self._constant(value, node.output[0], _Scope())

    def _as(self, name: str, scope: _Scope, placed: list[NodeProto], *, wide: bool) -> str:
        """Return the tensor in the requested type, through a cast where needed."""
        if (name in scope.wide) == wide:
            return name
        if name not in scope.casts:
            scope.casts[name] = self._fresh(f"{name}_{'fp32' if wide else self._half.name}")
            placed.append(self._cast(name, scope.casts[name], _FLOAT if wide else self._half.code))
        return scope.casts[name]

    def _cast(self, source: str, destination: str, code: int) -> NodeProto:
        return helper.make_node("Cast", [source], [destination], name=self._fresh(f"cast_{destination}"), to=code)

    def _fresh(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def _mend(self, kind: TypeProto) -> None:
        kind_name = kind.WhichOneof("value")
        if kind_name == "tensor_type" and kind.tensor_type.elem_type == _FLOAT:
            kind.tensor_type.elem_type = self._half.code
        elif kind_name in ("sequence_type", "optional_type"):
            self._mend(getattr(kind, kind_name).elem_type)

    def _learn_outputs(self, node: NodeProto, scope: _Scope, body: list[int]) -> None:
        """Note output types that the model does not state itself."""
        for index, name in enumerate(node.output):
            if name and not scope.codes.get(name):
                scope.codes[name] = self._types.of_output(node, index, scope.codes, body)

    def _held_by(self, node: NodeProto) -> Iterator[str]:
        pinned = self._types.pins(node.op_type, node.domain).of_inputs(range(len(node.input)))
        return (node.input[index] for index in pinned)


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Iterate over the graph and all graphs nested in its nodes."""
    yield graph
    for node in graph.node:
        for body in _bodies(node):
            yield from all_graphs(body)


@contextmanager
def _data_errors(tensor: TensorProto) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, checker.ValidationError) as error:
        raise InputError(
            f"the data of {tensor.name} cannot be read: {first_line(error)}",
            fix="export the file again; a model with external data needs its .data file beside it",
        ) from error


def _bodies(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs
