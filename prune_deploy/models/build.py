"""Modules of resolved models, with random, pretrained or given weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.data import resolve_data_config
from timm.layers import PatchEmbed
from timm.models import get_pretrained_cfg
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from prune_deploy.data import synthetic_images
from prune_deploy.errors import CannotRunError, InputError, first_line
from prune_deploy.models.checkpoints import load_weights
from prune_deploy.models.names import require_registered, resolve
from prune_deploy.models.pretrained import pretrained_file
from prune_deploy.records import Preprocessing, WeightsSource
from prune_deploy.specs import ModelSpec, ResolvedModel, as_model_spec, weights_path
from prune_deploy.store import file_sha256

_STATISTICS_IMAGES = 4


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Module in eval mode, with everything that a bundle records about it."""

    module: nn.Module
    resolved: ResolvedModel
    weights: WeightsSource
    preprocessing: Preprocessing


def create_model(spec: ModelSpec | str) -> LoadedModel:
    """Build the model and load or draw its weights.

    A name alone is a `ModelSpec` with everything else left open.

    Raises:
        InputError: unknown model, an input size it refuses, or a weights file that does not fit.
        CannotRunError: pretrained weights cannot be fetched.
    """
    resolved = resolve(as_model_spec(spec))
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
        note = load_weights(module, path)
        source = WeightsSource(kind="file", path=path.name, sha256=file_sha256(path), note=note)
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


def _build(model: ResolvedModel, **pretrained: Any) -> nn.Module:
    """Build the module.

    `pretrained` is what timm needs to load weights, nothing for fresh ones.
    """
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
        module: nn.Module = timm.create_model(model.name, num_classes=model.num_classes, **pretrained, **kwargs)
    return module


def _pretrained(model: ResolvedModel) -> tuple[nn.Module, WeightsSource]:
    file = pretrained_file(model.name, get_pretrained_cfg(model.name))
    try:
        module = _build(model, pretrained=True, pretrained_cfg_overlay={} if file is None else {"file": str(file)})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CannotRunError(
            f"pretrained weights of {model.name} cannot be loaded: {first_line(error)}",
            fix="check the internet connection, or use `weights=PATH` or `weights='random'`"
            if file is None
            else f"delete {file}, so that it is fetched again, or use `weights=PATH` or `weights='random'`",
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
