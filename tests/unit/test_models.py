"""Names to networks, and weights whose origin is on record; every file that does not fit says which tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from prune_deploy.data import synthetic_images
from prune_deploy.errors import InputError
from prune_deploy.models import create_model, load_weights, resolve, skeleton
from prune_deploy.specs import SHORT_CODES, ModelSpec, ResolvedModel

SMALL = (3, 64, 64)


def spec(name: str = "test_resnet", **options: Any) -> ModelSpec:
    """timm's own test networks: real blocks, a fraction of a megabyte."""
    settings: dict[str, Any] = {"num_classes": 7, "input_size": SMALL}
    return ModelSpec(name=name, **(settings | options))


def tiny_net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


# --- names -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "name"), SHORT_CODES.items())
def test_short_codes_have_ten_classes_while_their_weights_are_random(code: str, name: str) -> None:
    resolved = resolve(ModelSpec(name=code))
    assert (resolved.name, resolved.num_classes) == (name, 10)
    assert resolve(ModelSpec(name=code, weights="pretrained")).num_classes == 1000
    assert resolve(ModelSpec(name=code, num_classes=3)).num_classes == 3
    assert resolve(ModelSpec(name=name)).num_classes == 1000


def test_a_resolved_model_leaves_nothing_to_a_default_and_resolves_to_itself() -> None:
    resolved = resolve(ModelSpec(name="vit_tiny_patch16_224", weights="pretrained", seed=3))
    assert (resolved.num_classes, resolved.input_size) == (1000, (3, 224, 224))
    assert (resolved.weights, resolved.seed) == ("pretrained", 3)
    assert resolve(resolved.spec) == resolved
    assert resolve(ModelSpec(name="resnet50.a1_in1k")).name == "resnet50.a1_in1k"


@pytest.mark.parametrize(("typed", "meant"), [("resnet5O", "resnet50"), ("vit_larg_patch16_224", "vit_large_patch16_224")])
def test_a_misspelled_model_is_bad_input_with_the_nearest_names(typed: str, meant: str) -> None:
    with pytest.raises(InputError, match="unknown model") as caught:
        resolve(ModelSpec(name=typed))
    assert caught.value.exit_code == 2
    assert meant in caught.value.fix


def test_a_name_like_no_other_is_bad_input_with_the_way_to_the_list() -> None:
    with pytest.raises(InputError, match="unknown model 'qqqqqq'") as caught:
        resolve(ModelSpec(name="qqqqqq"))
    assert "prune-deploy models" in caught.value.fix


# --- building --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_classes_and_input_size_are_as_asked(name: str) -> None:
    loaded = create_model(spec(name))
    assert not loaded.module.training
    with torch.no_grad():
        assert loaded.module(torch.zeros(2, *SMALL)).shape == (2, 7)
    assert loaded.preprocessing.input_size == SMALL
    assert loaded.weights.label == "random, seed 0"


def test_other_channels_than_three_are_taken() -> None:
    loaded = create_model(spec(input_size=(1, 64, 64)))
    assert loaded.module(torch.zeros(1, 1, 64, 64)).shape == (1, 7)
    assert len(loaded.preprocessing.mean) == len(loaded.preprocessing.std) == 1


def test_an_input_size_that_the_model_refuses_is_bad_input() -> None:
    with pytest.raises(InputError, match="test_vit refuses an input of 3x61x61") as caught:
        create_model(spec("test_vit", input_size=(3, 61, 61)))
    assert caught.value.exit_code == 2
    assert "`input_size`" in caught.value.fix


def test_a_skeleton_has_the_shapes_and_no_data() -> None:
    resolved = resolve(spec("test_vit"))
    shapes = {name: t.shape for name, t in create_model(resolved.spec).module.state_dict().items()}
    bare = skeleton(resolved)
    assert {name: t.shape for name, t in bare.state_dict().items()} == shapes
    assert all(t.is_meta for t in bare.state_dict().values())


# --- random weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_the_seed_decides_random_weights_and_nothing_else_does(name: str) -> None:
    first = create_model(spec(name, seed=3)).module.state_dict()
    torch.rand(5)
    again, other = create_model(spec(name, seed=3)).module.state_dict(), create_model(spec(name, seed=4)).module.state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_drawing_weights_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    create_model(spec())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_a_random_network_answers_different_images_differently(name: str) -> None:
    module = create_model(spec(name)).module
    with torch.no_grad():
        logits = module(synthetic_images(8, SMALL, torch.Generator().manual_seed(0)))
    between_images, between_classes = logits.std(0).mean(), logits.std(1).mean()
    assert float(between_images) > 0.1 * float(between_classes)
    assert bool(logits.isfinite().all())


def test_no_residual_branch_of_a_random_network_is_switched_off() -> None:
    module = create_model(spec("test_convnext")).module
    for name, parameter in module.requires_grad_(False).named_parameters():
        assert float(parameter.abs().max()) > 1e-3, name
        if parameter.dim() == 1 and parameter.numel() > 1:
            assert float(parameter.std()) > 0, f"{name} is the same for every channel"


def test_batch_norms_of_a_random_network_expect_what_they_see() -> None:
    module = create_model(spec()).module
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    seen: dict[nn.Module, torch.Tensor] = {}
    for norm in norms:
        norm.register_forward_hook(lambda m, args, _: seen.__setitem__(m, args[0]))
    with torch.no_grad():
        module(synthetic_images(16, SMALL, torch.Generator().manual_seed(1)))
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.momentum == 0.1
        assert not norm.training
        spread = seen[norm].var((0, 2, 3))
        assert 0.3 < float((spread / norm.running_var).median()) < 3
        assert float(((seen[norm].mean((0, 2, 3)) - norm.running_mean) / spread.sqrt()).abs().median()) < 0.5


def test_made_images_differ_and_are_scaled_like_normalised_ones() -> None:
    images = synthetic_images(64, (3, 32, 32), torch.Generator().manual_seed(0))
    assert images.shape == (64, 3, 32, 32)
    assert float(images.mean()) == pytest.approx(0, abs=0.15)
    assert 0.6 < float(images.std()) < 1.5
    assert float(images.mean((1, 2, 3)).std()) > 0.1, "they differ in more than noise"
    assert torch.equal(images, synthetic_images(64, (3, 32, 32), torch.Generator().manual_seed(0)))


# --- weights from a file ---------------------------------------------------------------------------------------------------------


def saved(state: dict[str, Any], path: Path) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_are_loaded_from_a_file_with_its_hash_on_record(suffix: str, tmp_path: Path) -> None:
    source = create_model(spec(seed=9)).module
    path = saved(source.state_dict(), tmp_path / f"w{suffix}")
    loaded = create_model(spec(weights=str(path)))
    theirs = loaded.module.state_dict()
    assert all(torch.equal(theirs[name], t) for name, t in source.state_dict().items())
    assert (loaded.weights.kind, loaded.weights.path) == ("file", path.name)
    assert loaded.weights.sha256 is not None
    assert len(loaded.weights.sha256) == 64


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "state_dict_ema", "model_ema"])
def test_checkpoints_that_wrap_their_state_are_unwrapped(wrapper: str, tmp_path: Path) -> None:
    net = tiny_net()
    state = {f"module.{name}": t + 1 for name, t in net.state_dict().items()}  # as DistributedDataParallel names them
    load_weights(net, saved({wrapper: state, "epoch": 3}, tmp_path / "c.pt"))
    assert all(torch.equal(state[f"module.{name}"], t) for name, t in net.state_dict().items())


def refusal(path: Path) -> InputError:
    """The error of loading this file into the tiny net, which must stay as it was."""
    net = tiny_net()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_weights(net, path)
    assert caught.value.exit_code == 2
    assert caught.value.fix
    assert path.name in caught.value.message
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    return caught.value


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_the_first_tensor_that_does_not_fit_is_named(suffix: str, tmp_path: Path) -> None:
    state = tiny_net().state_dict()
    wrong = saved(state | {"0.bias": torch.zeros(5), "1.weight": torch.zeros(6)}, tmp_path / f"wrong{suffix}")
    assert "0.bias has shape (5,), the model needs (4,)" in refusal(wrong).message
    lacking = saved({name: t for name, t in state.items() if name != "1.weight"}, tmp_path / f"lacking{suffix}")
    assert "lacks the tensor 1.weight of shape (4,)" in refusal(lacking).message
    surplus = saved(state | {"2.weight": torch.zeros(1)}, tmp_path / f"surplus{suffix}")
    assert "a tensor the model does not know: 2.weight" in refusal(surplus).message


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_file_is_bad_input(keep: int, suffix: str, tmp_path: Path) -> None:
    path = saved(tiny_net().state_dict(), tmp_path / f"w{suffix}")
    path.write_bytes(path.read_bytes()[:keep])
    refusal(path)


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "gone.pt").message
    assert "no such file" in refusal(tmp_path).message


def test_a_file_of_something_else_is_bad_input(tmp_path: Path) -> None:
    for name, content in {"list.pt": [1, 2], "numbers.pt": {"a": 1}, "text.pt": "hello"}.items():
        torch.save(content, tmp_path / name)
        assert "holds no state dict" in refusal(tmp_path / name).message
    (tmp_path / "text.safetensors").write_text("no tensors here")
    refusal(tmp_path / "text.safetensors")


class Bomb:
    """What a pickle could do: it runs when it is loaded."""

    exploded = False

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return (_explode, ("boom",))


def _explode(_: str) -> None:
    Bomb.exploded = True


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pt")
    assert "cannot be read as a state dict" in refusal(tmp_path / "bomb.pt").message
    assert not Bomb.exploded


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(tiny_net(), tmp_path / "model.pt")
    assert "whole pickled models are refused" in refusal(tmp_path / "model.pt").fix


def test_the_wrong_number_of_classes_names_the_classifier(tmp_path: Path) -> None:
    path = saved(create_model(spec()).module.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"fc\.weight has shape \(7, \d+\), the model needs \(9, \d+\)") as caught:
        create_model(spec(num_classes=9, weights=str(path)))
    assert "`num_classes`" in caught.value.fix


@pytest.mark.parametrize("name", ["hf-hub:evil/x", "hf_hub:evil/x", "local-dir:/etc", "https://example.org/x"])
def test_a_bundle_cannot_make_timm_look_elsewhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.create_model", lambda *_, **__: pytest.fail("timm was asked"))
    resolved = ResolvedModel(name=name, num_classes=10, input_size=SMALL, weights="random", seed=0)
    with pytest.raises(InputError, match="unknown model"):
        skeleton(resolved)


def test_a_mistyped_tag_is_answered_with_those_that_exist() -> None:
    with pytest.raises(InputError, match="resnet50 has no weights 'nosuch_tag'") as caught:
        resolve(ModelSpec(name="resnet50.nosuch_tag"))
    assert "a1_in1k" in caught.value.fix
