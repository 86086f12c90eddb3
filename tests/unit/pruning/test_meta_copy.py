"""The meta copy: same modules, same shapes, no data, and nothing shared with the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from prune_deploy.pruning.meta_copy import example_input, make_meta_copy, parameter_owner
from support.models import tiny_models as tiny


@pytest.mark.parametrize(("build", "size"), [(tiny.Residual, tiny.SIZE), (tiny.vit, tiny.VIT_SIZE), (tiny.swin, tiny.SWIN_SIZE)])
def test_a_twin_has_the_models_shapes_and_none_of_its_data(build: Callable[[], nn.Module], size: tuple[int, int, int]) -> None:
    model = tiny.lively(build())
    meta_copy = make_meta_copy(model)
    assert [(n, type(m)) for n, m in meta_copy.named_modules()] == [(n, type(m)) for n, m in model.named_modules()]
    for ours, theirs in (
        (meta_copy.named_parameters(), model.named_parameters()),
        (meta_copy.named_buffers(), model.named_buffers()),
    ):
        tensors = dict(theirs)
        for name, tensor in ours:
            assert tensor.is_meta, name
            assert (tensor.shape, tensor.dtype) == (tensors[name].shape, tensors[name].dtype)
    assert meta_copy(example_input(size, 3)).shape == model(tiny.images(size, 3)).shape


def test_the_model_is_left_alone() -> None:
    model = tiny.lively(tiny.Residual()).train().requires_grad_(False)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    meta_copy = make_meta_copy(model)
    assert model.training
    assert not meta_copy.training
    assert not any(p.requires_grad for p in model.parameters())
    assert all(p.requires_grad for p in meta_copy.parameters()), "the graph is traced through gradients"
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_copying_costs_no_memory_for_weights() -> None:
    with torch.device("meta"):
        model = nn.Linear(1_000_000, 1_000_000)  # four terabytes, had they to be allocated
    assert make_meta_copy(model).weight.is_meta


def test_tensors_used_twice_stay_one() -> None:
    first = nn.Linear(4, 4)
    second = nn.Linear(4, 4)
    second.weight = first.weight
    meta_copy = make_meta_copy(nn.Sequential(first, second))
    assert meta_copy.get_submodule("0").weight is meta_copy.get_submodule("1").weight


def test_whole_number_buffers_want_no_gradient() -> None:
    model = nn.BatchNorm2d(3)
    model.register_parameter("index", nn.Parameter(torch.arange(3), requires_grad=False))
    meta_copy = make_meta_copy(model)
    assert not meta_copy.index.requires_grad
    assert meta_copy.weight.requires_grad


class Caching(nn.Module):
    """Keeps a tensor with a gradient history between calls, as timm's TinyViT does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.cache: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.cache["last"] = self.layer(x)
        return self.cache["last"]


def test_a_model_that_keeps_results_between_calls_can_be_copied() -> None:
    model = Caching()
    model(torch.ones(1, 3))
    assert model.cache["last"].requires_grad
    assert make_meta_copy(model).get_parameter("layer.weight").is_meta


def test_examples_have_no_data() -> None:
    example = example_input((3, 5, 7), 4)
    assert example.shape == (4, 3, 5, 7)
    assert example.is_meta


def test_the_owner_of_a_parameter_is_the_module_that_holds_it() -> None:
    model = tiny.Residual()
    assert parameter_owner(model, "stem.0.weight") == (model.stem[0], "weight")
    bare = tiny.vit()
    assert parameter_owner(bare, "cls_token") == (bare, "cls_token")
