"""What hooks and events say of layers: multiplications, bytes, parameters, and whose time it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from prune_deploy.pruning.flops import flop_counter
from prune_deploy.tracing.torch_kernels import by_kernel
from prune_deploy.tracing.torch_layers import by_module
from prune_deploy.tracing.torch_modules import Facts, Network, Scope, observe
from support.models import tiny_models


class Twice(nn.Module):
    """A layer that runs twice, then something that only looks at the result in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Linear(4, 4)
        self.flat = nn.Flatten()
        self.head = nn.Linear(8, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.flat(self.same(self.same(x))))
        return result


@pytest.mark.parametrize("model", [tiny_models.Residual(), tiny_models.vit(), tiny_models.swin()], ids=["conv", "vit", "swin"])
def test_multiplications_add_up_to_those_of_the_whole_network(model: nn.Module) -> None:
    model.eval()
    inputs = tiny_models.images(tiny_models.SIZE if isinstance(model, tiny_models.Pooled) else tiny_models.VIT_SIZE, batch=3)
    with flop_counter() as counter, torch.no_grad():
        model(inputs)
    seen = observe(model, (inputs,))
    assert sum(facts.macs for facts in seen.facts.values()) == counter.get_total_flops() // 2
    assert all(facts.macs for row, facts in seen.facts.items() if row in seen.multiplied)


def test_a_layer_is_described_by_what_it_reads_and_writes() -> None:
    seen = observe(tiny_models.Plain().eval(), (tiny_models.images(tiny_models.SIZE, batch=2),)).facts
    conv = seen["second.0"]
    assert (conv.op, conv.shape, conv.dtype, conv.weight_shape) == ("Conv2d", (2, 24, 16, 16), "float32", (24, 16, 3, 3))
    assert conv.parameters == ("second.0.weight",)
    assert conv.macs == 2 * 16 * 16 * 24 * 16 * 9
    assert conv.bytes_moved == 4 * (2 * 16 * 16 * 16 + 24 * 16 * 9 + 2 * 24 * 16 * 16)
    assert seen["head"].parameters == ("head.weight", "head.bias")
    assert seen["mean"].shape == (2, 24), "an operator of the network's own forward"


def test_operators_outside_of_layers_have_rows_of_their_own() -> None:
    seen = observe(tiny_models.vit().eval(), (tiny_models.images(tiny_models.VIT_SIZE),)).facts
    attention = seen["blocks.0.attn:scaled_dot_product_attention"]
    assert attention.macs == 2 * 3 * 17 * 17 * 16 * 2
    assert seen["add"].parameters == ("pos_embed",)
    assert seen["blocks.0:add"].bytes_moved == 2 * 3 * 4 * 2 * 17 * 48, "two sums of three tensors"


def test_a_layer_that_runs_twice_counts_twice_and_a_view_moves_nothing() -> None:
    seen = observe(Twice().eval(), (torch.zeros(5, 2, 4),))
    assert seen.facts["same"].macs == 2 * 5 * 2 * 4 * 4
    assert seen.facts["same"].bytes_moved == 2 * 4 * (40 + 16 + 4 + 40)
    assert seen.facts["flat"].bytes_moved == 0
    assert seen.multiplied == ["same", "same", "head"]


def test_observing_leaves_no_hooks_behind() -> None:
    model = tiny_models.Plain().eval()
    observe(model, (tiny_models.images(tiny_models.SIZE),))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@dataclass
class Kernel:
    """A kernel on a GPU."""

    name: str
    duration: float


@dataclass
class Event:
    """An event as torch.profiler gives it: `cpu_time_total` is what its children and itself took, in microseconds."""

    name: str
    cpu_time_total: float = 0.0
    cpu_children: list[Event] = field(default_factory=list)
    kernels: list[Kernel] = field(default_factory=list)
    input_shapes: list[list[int]] = field(default_factory=list)

    @property
    def self_cpu_time_total(self) -> float:
        return self.cpu_time_total - sum(child.cpu_time_total for child in self.cpu_children)

    @property
    def device_time_total(self) -> float:
        return sum(kernel.duration for kernel in self.kernels) + sum(child.device_time_total for child in self.cpu_children)


def eager_run(slow: float = 1.0) -> Event:
    """A run of 100 µs: a convolution (40, a kernel of 30 in it) and a sum (20) inside the network (90)."""
    kernel = Event("aten::mkldnn_convolution", 30 * slow, kernels=[Kernel("winograd", 25.0)])
    conv = Event("conv (Conv2d)", 45 * slow, [Event("aten::conv2d", 40 * slow, [kernel])])
    total = Event("aten::add", 20 * slow, kernels=[Kernel("elementwise", 5.0)])
    return Event("run", 100 * slow, [Event("network (Net)", 90 * slow, [conv, total])])


def scopes() -> dict[str, Scope]:
    network = nn.Sequential()
    leaf = nn.Conv2d(1, 1, 1)
    network.add_module("conv", leaf)
    return {"network (Net)": Scope("", network), "conv (Conv2d)": Scope("conv", leaf)}


def test_time_goes_to_the_layer_or_the_operator() -> None:
    rows = by_module([eager_run(), eager_run(), eager_run(slow=10)], scopes(), on_device=False).rows
    assert {name: row.times_us for name, row in rows.items()} == {
        "conv": [40.0, 40.0, 400.0],
        "add": [20.0, 20.0, 200.0],
    }
    assert rows["conv"].kernel == "aten::mkldnn_convolution"
    layers = {
        each.name: each for each in by_module([eager_run(), eager_run(), eager_run(slow=10)], scopes(), False).layers({}, (0, 2))
    }
    assert layers["conv"].time_us == 220.0, "the mean of the runs that were chosen"


def test_on_a_gpu_time_is_that_of_the_kernels_that_a_layer_launched() -> None:
    rows = by_module([eager_run()], scopes(), on_device=True).rows
    assert {name: row.times_us for name, row in rows.items()} == {"conv": [25.0], "add": [5.0]}
    assert rows["conv"].kernel == "winograd"


def network() -> Network:
    facts = {
        "a": Facts("Linear", weight_shape=(8, 4)),
        "attn:scaled_dot_product_attention": Facts("scaled_dot_product_attention"),
        "b": Facts("Linear", weight_shape=(8, 4)),
    }
    return Network(facts, list(facts))


def compiled_run() -> Event:
    """Two products of the same shape with attention, a fused kernel and something unknown between them."""
    shapes = [[8], [2, 4], [4, 8]]
    calls = [
        Event("graph_0_cpp_fused__unsafe_view_add_relu_3", 7.0),
        Event("aten::addmm", 10.0, input_shapes=shapes),
        Event("aten::_scaled_dot_product_flash_attention_for_cpu", 5.0, input_shapes=[[1, 2, 2, 2]] * 3),
        Event("graph_0_cpp_fused__unsafe_view_add_relu_3", 3.0),
        Event("aten::addmm", 20.0, input_shapes=shapes),
        Event("aten::sort", 2.0, input_shapes=[[9]]),
    ]
    return Event("run", 60.0, [Event("Torch-Compiled Region: 0/0", 50.0, calls)])


def test_products_of_a_compiled_module_find_their_layers() -> None:
    rows = by_kernel([compiled_run()], network(), on_device=False).rows
    assert {name: row.times_us for name, row in rows.items()} == {
        "cpp_fused__unsafe_view_add_relu_3": [10.0],
        "a": [10.0],
        "attn:scaled_dot_product_attention": [5.0],
        "b": [20.0],
        "sort": [2.0],
    }
    assert rows["cpp_fused__unsafe_view_add_relu_3"].op == "unsafe_view_add_relu"
    assert sum(row.times_us[0] for row in rows.values()) == 60.0 - 13.0, "all but the run's own and the region's own time"


def test_kernels_that_a_cuda_graph_launches_are_rows_by_name() -> None:
    launch = Event(
        "cudaGraphLaunch", 1.0, kernels=[Kernel("gemm", 4.0), Kernel("gemm", 6.0), Kernel("triton_poi_fused_add_0", 2.0)]
    )
    rows = by_kernel([Event("run", 9.0, [launch])], network(), on_device=True).rows
    assert {name: row.times_us for name, row in rows.items()} == {"gemm": [10.0], "triton_poi_fused_add_0": [2.0]}
