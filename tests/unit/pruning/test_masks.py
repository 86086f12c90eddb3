"""Masks: which weights become zero, counted here once more with numpy, and what a mask must leave alone."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers import ScaledStdConv2d, StdConv2dSame
from torch import nn
from torch.nn.utils import prune

from prune_deploy.errors import PruningError
from prune_deploy.pruning.masks import count_nonzero_params, mask, set_to_zero
from prune_deploy.records import NO_DENSE_SPEEDUP
from prune_deploy.specs import MaskSpec
from support.models.tiny_models import SIZE, Plain, Residual

UNSTRUCTURED = MaskSpec(kind="l1-unstructured", ratio=0.3)
GLOBAL = MaskSpec(kind="global-unstructured", ratio=0.3)
STRUCTURED = MaskSpec(kind="ln-structured", ratio=0.3)
TWO_OF_FOUR = MaskSpec(kind="2:4")
ALL = [UNSTRUCTURED, GLOBAL, STRUCTURED, TWO_OF_FOUR]


def by_kind(spec: MaskSpec) -> str:
    """The name of a parametrised test."""
    return spec.kind


def weights(model: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    """Copies of all convolutions' and dense layers' weights."""
    return {
        name: module.weight.detach().numpy().copy()
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    }


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def zeros(values: dict[str, np.ndarray[Any, Any]]) -> dict[str, int]:
    return {name: int((value == 0).sum()) for name, value in values.items()}


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Residual().eval()


def test_l1_zeroes_the_smallest_of_every_layer(model: nn.Module) -> None:
    before = weights(model)
    set_to_zero(model, UNSTRUCTURED)
    for name, after in weights(model).items():
        smallest = np.sort(np.abs(before[name]).ravel())[: round(0.3 * before[name].size)]
        expected = np.where(np.abs(before[name]) <= smallest[-1], 0, before[name])
        assert np.array_equal(after, expected), name


def test_global_l1_zeroes_the_smallest_of_all_layers_together(model: nn.Module) -> None:
    before = weights(model)
    set_to_zero(model, GLOBAL)
    everything = np.sort(np.abs(np.concatenate([value.ravel() for value in before.values()])))
    limit = everything[round(0.3 * everything.size) - 1]
    after = weights(model)
    for name, value in before.items():
        assert np.array_equal(after[name], np.where(np.abs(value) <= limit, 0, value)), name
    shares = [(value == 0).mean() for value in after.values()]
    assert max(shares) - min(shares) > 0.1, "layers compete with each other"


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.95])
def test_global_l1_does_what_torch_does(model: nn.Module, ratio: float) -> None:
    other = copy.deepcopy(model)
    layers = [(each, "weight") for each in other.modules() if isinstance(each, (nn.Conv2d, nn.Linear))]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=ratio)
    set_to_zero(model, MaskSpec(kind="global-unstructured", ratio=ratio))
    for name, value in weights(other).items():
        assert np.array_equal(weights(model)[name], value), name


@pytest.mark.parametrize(("ratio", "expected"), [(0.25, [8, 0]), (0.5, [8, 8]), (0.6, [11, 8]), (0.9, [16, 13])])
def test_of_weights_of_one_size_exactly_as_many_go_as_asked(ratio: float, expected: list[int]) -> None:
    layers = [nn.Linear(4, 4), nn.Linear(4, 4)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(torch.tensor([1.0, -1.0, 2.0, 2.0]).repeat(4, 1))
    model = nn.Sequential(*layers)
    set_to_zero(model, MaskSpec(kind="global-unstructured", ratio=ratio))
    assert list(zeros(weights(model)).values()) == expected


def test_structured_zeroes_whole_output_channels_of_least_norm(model: nn.Module) -> None:
    before = weights(model)
    set_to_zero(model, STRUCTURED)
    for name, after in weights(model).items():
        channels = before[name].reshape(len(before[name]), -1)
        order = np.argsort(np.linalg.norm(channels, axis=1))[: round(0.3 * len(channels))]
        expected = channels.copy()
        expected[order] = 0
        assert np.array_equal(after.reshape(len(after), -1), expected), name


def test_two_of_every_four_inputs_stay(model: nn.Module) -> None:
    before = weights(model)
    zeroed = set_to_zero(model, TWO_OF_FOUR)
    after = weights(model)
    masked = {name for name, value in before.items() if value.shape[1] % 4 == 0}
    assert set(zeroed.covered) == masked
    assert masked == {"reduce.0", "grouped.0", "restore.0", "expand.0", "squeeze", "excite", "project.0", "head"}
    for name in masked:
        old, new = (np.moveaxis(value, 1, -1).reshape(-1, 4) for value in (before[name], after[name]))
        assert ((new == 0).sum(axis=1) == 2).all()
        assert np.array_equal(np.sort(np.abs(new), axis=1)[:, 2:], np.sort(np.abs(old), axis=1)[:, 2:])
        assert np.array_equal(new[new != 0], old[new != 0])
    for name in set(before) - masked:
        assert np.array_equal(before[name], after[name])
    assert sorted(next(iter(zeroed.left_alone.values()))) == ["depthwise.0", "stem.0"]


@pytest.mark.parametrize("spec", ALL, ids=by_kind)
def test_the_receipt_counts_what_is_there(model: nn.Module, spec: MaskSpec) -> None:
    dense_params = sum(parameter.numel() for parameter in model.parameters())
    already = sum(int((parameter == 0).sum()) for parameter in model.parameters())
    receipt = mask(model, spec, SIZE)
    found = sum(zeros(weights(model)).values())
    assert receipt.mask == spec
    assert receipt.request is None
    assert receipt.before == receipt.after
    assert receipt.before.params == dense_params
    assert receipt.nonzero_params == dense_params - found - already
    assert f"{found:,} of " in receipt.warnings[0]
    assert NO_DENSE_SPEEDUP in receipt.warnings[0]


@pytest.mark.parametrize("spec", ALL, ids=by_kind)
def test_only_weights_change_and_no_trace_of_the_mask_stays(model: nn.Module, spec: MaskSpec) -> None:
    before, names = tensors(model), set(weights(model))
    set_to_zero(model, spec)
    after = tensors(model)
    assert set(after) == set(before)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= {f"{name}.weight" for name in names}
    assert changed
    for module in model.modules():
        assert not module._forward_pre_hooks
        assert not isinstance(module, (nn.Conv2d, nn.Linear)) or isinstance(module.weight, nn.Parameter)
        assert "weight" not in module.__dict__


@pytest.mark.parametrize("spec", ALL, ids=by_kind)
def test_zeros_are_positive_zeros(model: nn.Module, spec: MaskSpec) -> None:
    set_to_zero(model, spec)
    for name, value in weights(model).items():
        assert not np.signbit(value[value == 0]).any(), name


@pytest.mark.parametrize("spec", ALL, ids=by_kind)
def test_the_same_mask_a_second_time_changes_nothing(model: nn.Module, spec: MaskSpec) -> None:
    first = set_to_zero(model, spec)
    after = tensors(model)
    second = set_to_zero(model, spec)
    assert first == second
    assert all(torch.equal(after[name], tensor) for name, tensor in tensors(model).items())


def test_a_higher_ratio_goes_on_from_a_lower_one(model: nn.Module) -> None:
    set_to_zero(model, UNSTRUCTURED)
    lower = weights(model)
    set_to_zero(model, MaskSpec(kind="l1-unstructured", ratio=0.7))
    for name, value in weights(model).items():
        assert int((value == 0).sum()) == round(0.7 * value.size)
        assert (value[lower[name] == 0] == 0).all()


class Tied(nn.Module):
    """Two dense layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(8, 8), nn.Linear(8, 8)
        self.decode.weight = self.encode.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.decode(self.encode(x))
        return result


@pytest.mark.parametrize("spec", ALL, ids=by_kind)
def test_a_shared_weight_is_masked_once_and_stays_shared(spec: MaskSpec) -> None:
    model = Tied()
    zeroed = set_to_zero(model, spec)
    assert list(zeroed.sizes) == ["encode"]
    assert model.decode.weight is model.encode.weight
    expected = {"2:4": 32, "ln-structured": 16}.get(spec.kind, round(0.3 * 64))
    assert int((model.decode.weight == 0).sum()) == expected
    assert count_nonzero_params(model) == 64 - expected + 16


@pytest.mark.parametrize("layer", [StdConv2dSame(8, 8, 3), ScaledStdConv2d(8, 8, 3)])
@pytest.mark.parametrize("spec", ALL, ids=by_kind)
def test_weights_that_are_standardised_in_each_run_are_left_alone(layer: nn.Module, spec: MaskSpec) -> None:
    before = tensors(layer)
    zeroed = set_to_zero(nn.Sequential(layer, nn.Conv2d(8, 8, 1)), spec)
    assert list(zeroed.covered) == ["1"]
    assert list(zeroed.left_alone.values()) == [["0"]]
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(layer).items())


def test_a_weight_that_is_a_product_is_left_alone() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 8))
    assert list(set_to_zero(model, UNSTRUCTURED).left_alone.values()) == [["0"]]


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (nn.Sequential(nn.Linear(1, 1)), UNSTRUCTURED),
        (nn.Sequential(nn.Linear(1, 1)), GLOBAL),
        (nn.Sequential(nn.Linear(8, 1)), STRUCTURED),
        (nn.Sequential(nn.Linear(6, 8), nn.Conv2d(3, 8, 3)), TWO_OF_FOUR),
        (nn.Sequential(nn.ReLU()), GLOBAL),
    ],
)
def test_a_mask_that_zeroes_nothing_is_an_error(model: nn.Module, spec: MaskSpec) -> None:
    before = tensors(model)
    with pytest.raises(PruningError, match="sets no weight") as caught:
        mask(model, spec, SIZE)
    assert caught.value.fix
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(model).items())


def test_layers_left_alone_and_layers_emptied_are_named_in_the_notes() -> None:
    receipt = mask(Plain(), TWO_OF_FOUR, SIZE)
    assert "their inputs are no multiple of four: first.0" in receipt.warnings[1]
    assert len(receipt.warnings) == 2
    emptied = mask(Plain(), MaskSpec(kind="ln-structured", ratio=0.95), SIZE)
    assert re.search(r"without any weight left.*: head$", emptied.warnings[-1])
