"""Cost of INT8 in each layer, and layers to keep float."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from prune_deploy.errors import BuildError
from prune_deploy.export.arrays import Array
from prune_deploy.export.int8.draft import Draft
from prune_deploy.export.int8.layers import Layer, quantisable
from prune_deploy.export.int8.qdq_plan import plan
from prune_deploy.export.int8.quality import QualityCheck, cosine, joined
from prune_deploy.export.int8.sessions import open_model
from prune_deploy.export.int8.writer import quantize
from prune_deploy.interfaces import Progress

_FLAGS = "int8_layers"
# Images that costs are measured on: a network runs once for each layer.
_COST_IMAGES = 8


def layer_costs(draft: Draft, layers: Sequence[Layer], quality: QualityCheck, progress: Progress) -> dict[str, float]:
    """Measure the cost of quantising each layer alone.

    A cost is 1 less the cosine of the outputs to those of the network with no layer quantised. One network runs once for each
    layer, with a switch at each layer between its float and its INT8 operands.
    """
    chosen = quantisable(layers)
    batches = _first(quality.few(), _COST_IMAGES)
    costs = {}
    progress.stage("rank layers", f"{len(chosen)} of them")
    with open_model(_switchboard(draft, layers), draft.source) as session:
        name = session.get_inputs()[0].name

        def outputs(flags: Array) -> list[Array]:
            return joined([session.run(None, {name: batch, _FLAGS: flags}) for batch in batches])

        expected = outputs(np.zeros(len(chosen), bool))
        for number, layer in enumerate(chosen):
            costs[layer.name] = max(0.0, 1 - cosine(expected, outputs(np.arange(len(chosen)) == number)))
            progress.advance(number + 1, len(chosen), layer.name)
    return costs


def fewest_kept(costs: dict[str, float], drop: Callable[[Sequence[str]], float], max_drop: float) -> list[str]:
    """Return the fewest of the costliest layers that have to stay float.

    With them in float, `drop` is no more than `max_drop`. They are found by bisection, on the assumption that keeping one more
    layer helps or does no harm.

    Raises:
        BuildError: only a network without INT8 layers would lose so little.
    """
    ranked = costliest(costs)
    least, most = 0, len(ranked) - 1
    if drop(()) <= max_drop:
        return []
    if most < 1 or (last := drop(ranked[:most])) > max_drop:
        detail = "" if most < 1 else f": with one INT8 layer left it is {last:.2%}"
        raise BuildError(
            f"top-1 falls by more than {max_drop:.2%} however many layers stay float{detail}",
            fix="allow a larger `max_drop`, or calibrate on images like those the model was trained on",
        )
    while most - least > 1:
        middle = (least + most) // 2
        if drop(ranked[:middle]) <= max_drop:
            most = middle
        else:
            least = middle
    return ranked[:most]


def costliest(costs: dict[str, float]) -> list[str]:
    """Return the names of layers, the costliest first."""
    return sorted(costs, key=lambda name: -costs[name])


def _first(batches: Sequence[Array], count: int) -> list[Array]:
    return list(_cut(batches, count))


def _cut(batches: Sequence[Array], count: int) -> Iterator[Array]:
    for batch in batches:
        if count > 0:
            yield batch[:count]
        count -= len(batch)


def _switchboard(draft: Draft, layers: Sequence[Layer]) -> onnx.ModelProto:
    """Build the network with a flag for each quantisable layer.

    The flags are one more input, and decide which layers are quantised.
    """
    model, ranges = draft.smoothed()
    chosen = quantisable(layers)
    floats = {layer.name: (layer.source, layer.weight) for layer in chosen}
    graph = model.graph
    names = {weight for _, weight in floats.values()}
    weights = {
        each.name: onnx.TensorProto.FromString(each.SerializeToString()) for each in graph.initializer if each.name in names
    }
    everything = plan("tensorrt", graph, layers)
    quantize(model, replace(everything, inputs=tuple((layer.name, 0) for layer in chosen)), ranges.tensors)
    present = {tensor.name for tensor in graph.initializer}
    nodes = {node.name: node for node in graph.node}
    switches: dict[str, list[onnx.NodeProto]] = {}
    for number, layer in enumerate(chosen):
        node = nodes[layer.name]
        switches[layer.name] = _switches(graph, node, number, floats[layer.name])
        if layer.weight not in present:
            graph.initializer.append(weights[layer.weight])
            present.add(layer.weight)
    ordered = [each for node in graph.node for each in (*switches.get(node.name, ()), node)]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)
    graph.input.append(helper.make_tensor_value_info(_FLAGS, TensorProto.BOOL, [len(chosen)]))
    return model


def _switches(graph: onnx.GraphProto, node: onnx.NodeProto, number: int, floats: tuple[str, str]) -> list[onnx.NodeProto]:
    """Make the nodes by which a flag chooses a layer's operands."""
    index = f"{node.name}_number"
    graph.initializer.append(numpy_helper.from_array(np.array(number), index))
    flag = f"{node.name}_flag"
    nodes = [helper.make_node("Gather", [_FLAGS, index], [flag], flag)]
    for position, name in enumerate(floats):
        output = f"{node.name}_switch_{position}"
        nodes.append(helper.make_node("Where", [flag, node.input[position], name], [output], output))
        node.input[position] = output
    return nodes
