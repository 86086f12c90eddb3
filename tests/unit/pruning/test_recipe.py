"""Rebuilding without a pickle: plain attributes and tensors, and nothing that does not fit goes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from prune_deploy.errors import InputError
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.pruner import prune
from prune_deploy.pruning.recipe import changed_attributes, rebuild, tensors_of
from prune_deploy.specs import PruneSpec
from support.models import tiny_models as tiny

Size = tuple[int, int, int]
NETWORKS: list[tuple[Callable[[], nn.Module], Size, dict[str, Any]]] = [
    (tiny.Residual, tiny.SIZE, {}),
    (tiny.Concat, tiny.SIZE, {}),
    (tiny.Flattened, tiny.SIZE, {}),
    (tiny.vit, tiny.VIT_SIZE, {}),
    (tiny.vit, tiny.VIT_SIZE, {"heads": True}),
    (tiny.swin, tiny.SWIN_SIZE, {}),
    (tiny.swin, tiny.SWIN_SIZE, {"heads": True}),
]


def pruned_network(build: Callable[[], nn.Module], size: Size, options: dict[str, Any]) -> nn.Module:
    model = tiny.lively(build())
    prune(model, PruneSpec(ratio=0.5, round_to=4, **options), size)
    return model


def skeleton(build: Callable[[], nn.Module]) -> nn.Module:
    return make_meta_copy(build())


@pytest.mark.parametrize(("build", "size", "options"), NETWORKS)
def test_a_rebuilt_network_computes_the_same_bit_by_bit(
    build: Callable[[], nn.Module], size: Size, options: dict[str, Any]
) -> None:
    model = pruned_network(build, size, options)
    attributes = json.loads(json.dumps(changed_attributes(skeleton(build), model)))  # as it comes back from the file
    tensors, _ = tensors_of(model)
    again = rebuild(skeleton(build), attributes, {name: t.clone() for name, t in tensors.items()})
    assert not again.training
    assert [(n, type(m)) for n, m in again.named_modules()] == [(n, type(m)) for n, m in model.named_modules()]
    with torch.no_grad():
        assert torch.equal(again(tiny.images(size)), model(tiny.images(size)))
    assert dict(again.named_parameters()).keys() == dict(model.named_parameters()).keys()
    assert repr(again) == repr(model), "every printed attribute agrees"


@pytest.mark.parametrize("build", [tiny.Residual, tiny.vit, tiny.swin])
def test_every_tensor_is_named_and_buffers_are_told_apart(build: Callable[[], nn.Module]) -> None:
    model = build()
    tensors, buffers = tensors_of(model)
    assert set(tensors) == {n for n, _ in model.named_parameters()} | {n for n, _ in model.named_buffers()}
    assert set(buffers) == {n for n, _ in model.named_buffers()}
    assert all(t.is_contiguous() and not t.requires_grad for t in tensors.values())


def test_buffers_that_a_state_dict_leaves_out_are_kept() -> None:
    model = tiny.swin()
    tensors, buffers = tensors_of(model)
    left_out = {n for n, _ in model.named_buffers()} - set(model.state_dict())
    assert any(name.endswith("relative_position_index") for name in left_out)
    assert any(name.endswith("attn_mask") for name in left_out)
    assert left_out <= set(tensors)
    assert left_out <= set(buffers)


def test_an_unpruned_network_has_nothing_to_change() -> None:
    assert changed_attributes(skeleton(tiny.Residual), tiny.lively(tiny.Residual())) == {}


def test_only_what_differs_is_written_and_only_plain_values() -> None:
    model = pruned_network(tiny.vit, tiny.VIT_SIZE, {})
    changed = changed_attributes(skeleton(tiny.vit), model)
    assert changed["blocks.0.attn"] == {"attn_dim": 24, "head_dim": 8, "scale": 8**-0.5}
    assert changed["blocks.0.norm1"] == {"normalized_shape": {"tuple": [24]}}
    assert changed["blocks.0.mlp.fc1"] == {"in_features": 24, "out_features": 96}
    assert "blocks.0.mlp.act" not in changed
    assert json.loads(json.dumps(changed)) == changed


class Odd(nn.Module):
    """Attributes of every plain kind, and one that is not."""

    def __init__(self, wide: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.whole, self.real, self.word, self.flag, self.nothing = 3 + wide, 0.5 + wide, f"w{wide}", wide, None if wide else 1
        self.nested = (1, (2.0, ("a", None, wide)))
        self.same = (1, 2)
        self.listed = [wide]
        self._hidden = wide


def test_every_plain_kind_of_attribute_comes_back() -> None:
    changed = changed_attributes(Odd(False), Odd(True))[""]
    assert set(changed) == {"whole", "real", "word", "flag", "nothing", "nested", "listed"}
    again: Any = rebuild(Odd(False), json.loads(json.dumps({"": changed})), {"weight": torch.ones(2)})
    expected = Odd(True)
    for leaf in changed:
        assert getattr(again, leaf) == getattr(expected, leaf)
        assert type(getattr(again, leaf)) is type(getattr(expected, leaf))


def test_training_mode_is_no_change() -> None:
    assert changed_attributes(tiny.Plain().eval(), tiny.Plain().train()) == {}


def refused(attributes: dict[str, dict[str, Any]], tensors: dict[str, torch.Tensor]) -> str:
    """The message of a rebuild that does not fit."""
    with pytest.raises(InputError) as caught:
        rebuild(skeleton(tiny.Plain), attributes, tensors)
    assert caught.value.exit_code == 2
    assert "verify" in caught.value.fix
    return caught.value.message


def test_what_does_not_fit_is_named() -> None:
    tensors, _ = tensors_of(tiny.Plain())
    assert "the recipe changes third.0" in refused({"third.0": {"out_channels": 3}}, tensors)
    without = {name: t for name, t in tensors.items() if name != "second.0.weight"}
    assert refused({}, without) == "the weights lack tensor second.0.weight"
    assert refused({}, tensors | {"third.weight": torch.ones(1)}) == "the weights have an unknown tensor third.weight"


def test_rebuilt_parameters_can_be_trained_and_whole_numbers_cannot() -> None:
    tensors, _ = tensors_of(tiny.lively(tiny.Plain()))
    again = rebuild(skeleton(tiny.Plain), {}, tensors)
    assert all(p.requires_grad for p in again.parameters())
    assert not any(b.requires_grad for b in again.buffers())
    assert not any(t.is_meta for t in (*again.parameters(), *again.buffers()))


@pytest.mark.parametrize(
    "leaf", ["forward", "eval", "named_parameters", "__class__", "__dict__", "_forward_hooks", "weight", "training"]
)
def test_a_recipe_sets_plain_attributes_and_nothing_else(leaf: str) -> None:
    """It may come from anybody. A method that is hidden by a number is found out only when it is called."""
    with pytest.raises(InputError, match=r"first.0\.\S+, which is no plain attribute") as caught:
        rebuild(make_meta_copy(tiny.Plain()), {"first.0": {leaf: 1}}, {})
    assert "prune-deploy verify" in caught.value.fix


@pytest.mark.parametrize("value", [{"x": 1}, {"tuple": 5}, {"tuple": [1], "more": 2}])
def test_values_that_no_recipe_writes_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match="a value that it cannot have"):
        rebuild(make_meta_copy(tiny.Plain()), {"first.0": {"in_channels": value}}, {})
