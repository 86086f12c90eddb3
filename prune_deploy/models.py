"""Models by short code or timm name, with recorded weights."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import timm
import torch
from timm.data import resolve_data_config
from timm.layers import PatchEmbed
from timm.models import get_pretrained_cfg, is_model, split_model_name_tag
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from prune_deploy.data import synthetic_images
from prune_deploy.errors import CannotRunError, InputError, first_line, setting
from prune_deploy.records import Preprocessing, WeightsSource
from prune_deploy.specs import SHORT_CODES, ModelSpec, ResolvedModel, weights_path
from prune_deploy.store import file_sha256

SHORT_CODE_CLASSES = 10
_STATISTICS_IMAGES = 4
_SHOWN = 100
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Module in eval mode, with everything that a bundle records about it."""

    module: nn.Module
    resolved: ResolvedModel
    weights: WeightsSource
    preprocessing: Preprocessing


def resolve(spec: ModelSpec) -> ResolvedModel:
    """Decide everything that a request leaves open.

    Short codes become timm's names.

    Raises:
        InputError: timm knows no such model, or no such weights of it.
    """
    name = SHORT_CODES.get(spec.name, spec.name)
    require_registered(name)
    config = get_pretrained_cfg(name)
    classes = spec.num_classes
    if classes is None:
        reference = spec.name in SHORT_CODES and spec.weights == "random"
        classes = SHORT_CODE_CLASSES if reference else int(getattr(config, "num_classes", None) or 1000)
    size = spec.input_size or tuple(getattr(config, "input_size", None) or (3, 224, 224))
    return ResolvedModel(
        name=name,
        num_classes=classes,
        input_size=(int(size[0]), int(size[1]), int(size[2])),
        weights=spec.weights,
        seed=spec.seed,
    )


def require_registered(name: str) -> None:
    """Refuse what timm's registry does not hold.

    timm itself would look for other names on a hub or in a folder ("hf-hub:…", "local-dir:…"), and build what it is told there.

    Raises:
        InputError: there is no such architecture, or no such weights of it.
    """
    architecture, tag = split_model_name_tag(name)
    if not is_model(architecture):
        near = difflib.get_close_matches(architecture, [*timm.list_models(), *SHORT_CODES.values()], n=3, cutoff=0.5)
        raise InputError(
            f"unknown model {name[:_SHOWN]!r}",
            fix=f"did you mean {', '.join(near)}?" if near else "see: prune-deploy models --filter '*resnet*'",
        )
    if not tag:
        return
    tags = [split_model_name_tag(each)[1] for each in timm.list_pretrained(f"{architecture}.*")]
    if tag not in tags:
        listed = ", ".join(tags) or "none"
        raise InputError(f"{architecture} has no weights {tag[:_SHOWN]!r}", fix=f"one of its tags: {listed}; or leave it out")


def create_model(spec: ModelSpec) -> LoadedModel:
    """Build the model and load or draw its weights.

    Raises:
        InputError: unknown model, an input size it refuses, or a weights file that does not fit.
        CannotRunError: pretrained weights cannot be fetched.
    """
    resolved = resolve(spec)
    skeleton(resolved)  # refuses bad sizes before any weight is drawn
    path = weights_path(resolved.weights)
    if resolved.weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(resolved.seed)
            module = _build(resolved)
            randomize_init(module, resolved.input_size)
        source = WeightsSource(kind="random", seed=resolved.seed)
    elif path is None:
        module, source = _pretrained(resolved)
    else:
        module = _build(resolved)
        load_weights(module, path)
        source = WeightsSource(kind="file", path=path.name, sha256=file_sha256(path))
    return LoadedModel(module.eval(), resolved, source, preprocessing_of(module, resolved.input_size))


def skeleton(model: ResolvedModel) -> nn.Module:
    """Return the model on the meta device, in eval mode.

    Raises:
        InputError: the model refuses the input size.
    """
    size = model.input_size
    try:
        with torch.device("meta"), torch.no_grad():
            module = _build(model).eval()
            _require_whole_patches(module, size)
            module(torch.empty(1, *size))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        shape = "x".join(map(str, size))
        raise InputError(
            f"{model.name} refuses an input of {shape}: {first_line(error)}",
            fix="leave `input_size` out for the model's own size, or choose a larger one, a multiple of its patch and window",
        ) from error
    return module


def _require_whole_patches(module: nn.Module, size: tuple[int, int, int]) -> None:
    """Raise ValueError where the last rows or columns would be left out.

    timm cuts them off silently.
    """
    embedding = getattr(module, "patch_embed", None)
    if isinstance(embedding, PatchEmbed) and not embedding.dynamic_img_pad:
        height, width = embedding.patch_size
        if size[1] % height or size[2] % width:
            raise ValueError(f"patches of {height}x{width} do not divide it")


def _build(model: ResolvedModel, *, pretrained: bool = False) -> nn.Module:
    require_registered(model.name)
    config = get_pretrained_cfg(model.name)
    own = tuple(getattr(config, "input_size", None) or (3, 224, 224))
    size = model.input_size
    kwargs: dict[str, Any] = {}
    if size[0] != own[0]:
        kwargs["in_chans"] = size[0]
    if tuple(size[1:]) != tuple(own[1:]) and getattr(config, "fixed_input_size", False):
        kwargs["img_size"] = tuple(size[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the meta device, initialisers say that they do nothing
        module: nn.Module = timm.create_model(model.name, pretrained=pretrained, num_classes=model.num_classes, **kwargs)
    return module


def _pretrained(model: ResolvedModel) -> tuple[nn.Module, WeightsSource]:
    try:
        module = _build(model, pretrained=True)
    except (OSError, RuntimeError) as error:
        raise CannotRunError(
            f"pretrained weights of {model.name} cannot be fetched: {first_line(error)}",
            fix="check the internet connection, or use `weights=PATH` or `weights='random'`",
        ) from error
    config = module.pretrained_cfg
    tag = config.get("tag") if isinstance(config, dict) else None
    return module, WeightsSource(kind="pretrained", tag=f"timm {tag or model.name}")


def randomize_init(module: nn.Module, input_size: tuple[int, int, int]) -> None:
    """Make a freshly initialised network respond differently to different images.

    It draws from the global generator. A fresh network hides mistakes, for three reasons. Batch norms are the identity. Residual
    branches start at zero (timm's zero_init_last, layer scale 1e-6). Where activations fade from layer to layer, every image gets
    the same logits. A file that computes something else would then pass for equal.

    So values that are equal for every channel become random around themselves, and residual branches get a small scale. Batch
    norms take their statistics from a few synthetic images, as they would from training.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.numel() < 2 or parameter.dim() > 1 or not bool((parameter == parameter[0]).all()):
                continue
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.02)
            elif abs(float(parameter[0])) < 0.5:
                parameter.uniform_(0.1, 0.3)
            else:
                parameter.mul_(torch.empty_like(parameter).uniform_(0.8, 1.25))
    _take_batch_statistics(module, input_size)


def _take_batch_statistics(module: nn.Module, input_size: tuple[int, int, int]) -> None:
    norms = [m for m in module.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    if not norms:
        return
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # the running statistics become this batch's
    module.train()
    with torch.inference_mode():
        module(synthetic_images(_STATISTICS_IMAGES, input_size, generator))
    module.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file or a state-dict checkpoint into `module`, strictly.

    Only tensors are unpickled.

    Raises:
        InputError: no such file, a damaged one, or one whose tensors do not fit. It names the first mismatching tensor.
    """
    state = _read_state(path)
    expected = module.state_dict()
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    for name, tensor in expected.items():
        if name not in state:
            raise InputError(
                f"{path} lacks the tensor {name} of shape {tuple(tensor.shape)}", fix="use the weights of this model"
            )
        if state[name].shape != tensor.shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(state[name].shape)}, the model needs {tuple(tensor.shape)}",
                fix="set `num_classes` and `input_size` as the weights were trained, or use the weights of this model",
            )
    extra = [name for name in state if name not in expected]
    if extra:
        raise InputError(f"{path} has a tensor the model does not know: {extra[0]}", fix="use the weights of this model")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:  # a tensor of the right shape and of a kind that cannot be copied: sparse, quantised
        raise InputError(
            f"{path} does not fit the model: {str(error).strip().splitlines()[-1].strip()[:200]}", fix="save dense float tensors"
        ) from error


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise InputError(
            f"{setting('weights', path)}: no such file",
            fix="use random, pretrained, or the path of a safetensors or state-dict file",
            field="weights",
        )
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} is not a whole safetensors file: {error}", fix="fetch or copy the file again") from error
    except Exception as error:  # torch.load raises all kinds of errors for a damaged archive
        raise InputError(
            f"{path} cannot be read as a state dict: {first_line(error, 160)}",
            fix="save it with torch.save(model.state_dict(), PATH) or as safetensors; whole pickled models are refused",
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, dict) or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in loaded.items()):
        raise InputError(f"{path} holds no state dict", fix="save it with torch.save(model.state_dict(), PATH)")
    return loaded


def preprocessing_of(module: nn.Module, input_size: tuple[int, int, int]) -> Preprocessing:
    """Return the model's preprocessing, from timm's configuration of its weights."""
    config = resolve_data_config({"input_size": input_size}, model=module)
    return Preprocessing(
        input_size=input_size,
        interpolation=str(config["interpolation"]),
        crop_pct=float(config["crop_pct"]),
        crop_mode=str(config["crop_mode"]),
        mean=_per_channel(config["mean"], input_size[0]),
        std=_per_channel(config["std"], input_size[0]),
    )


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return one value per channel.

    These are timm's three colours, or their mean where the input has other channels.
    """
    numbers = tuple(float(value) for value in values)
    return numbers if len(numbers) == channels else (sum(numbers) / len(numbers),) * channels
