"""Weights from files as they come: wrapped, prefixed, with more than tensors."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn

from prune_deploy.errors import InputError, first_line, setting

_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
"""Keys of a checkpoint that hold a state dict, averaged weights first, as in timm's own loading."""

_COMPILED = "_orig_mod."
_COUNTER = "num_batches_tracked"
_OF_PROFILERS = ("total_ops", "total_params")
_TRIED_NAMES = 5
_REFUSED = re.compile(r"GLOBAL (\S+)|Unsupported class (\S+)")

State = dict[str, torch.Tensor]


def load_weights(module: nn.Module, path: Path) -> str:
    """Load a safetensors file or a checkpoint into `module`, strictly.

    Only tensors, numbers and texts are unpickled. Returns what was done to make it fit, "" if nothing was: the key it was found
    under, and the prefix that its names had.

    Raises:
        InputError: no such file, a damaged one, or one whose tensors do not fit. It names the first mismatching tensor.
    """
    found, key = _state_of(_read(path), path)
    expected = module.state_dict()
    state = {name.replace(_COMPILED, ""): tensor for name, tensor in found.items()}
    prefix = _prefix(state, expected)
    inner = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    inner = {name: each for name, each in inner.items() if name in expected or not name.endswith(_OF_PROFILERS)}
    counters = {name: torch.zeros_like(each) for name, each in expected.items() if name.endswith(_COUNTER) and name not in inner}
    inner |= counters
    _require_fit(inner, expected, path)
    try:
        module.load_state_dict(inner)
    except RuntimeError as error:  # a tensor of the right shape and of a kind that cannot be copied: sparse, quantised
        raise InputError(
            f"{path} does not fit the model: {str(error).strip().splitlines()[-1].strip()[:200]}", fix="save dense float tensors"
        ) from error
    compiled = _COMPILED if any(_COMPILED in name for name in found) else ""
    return _told(key, f"{compiled}{prefix}", len(state) - sum(name.startswith(prefix) for name in state))


def _told(key: str, prefix: str, others: int) -> str:
    """Describe how a checkpoint was read."""
    parts = [f"found under {key!r}" if key else "", f"prefix {prefix!r} dropped" if prefix else ""]
    parts.append(f"{others} other tensors left out" if others else "")
    return ", ".join(part for part in parts if part)


def _prefix(state: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return the prefix with which the state's names are the model's.

    It is the one with which most of the model's names are there, and the shortest of these.
    """
    wanted = [name for name in expected if not name.endswith(_COUNTER)]
    tried = wanted[:_TRIED_NAMES]
    found = {name[: -len(ending)] for ending in tried for name in state if name == ending or name.endswith(f".{ending}")}
    return min(found, key=lambda prefix: (-sum(prefix + name in state for name in wanted), len(prefix)), default="")


def _require_fit(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], path: Path) -> None:
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
    if extra := [name for name in state if name not in expected]:
        raise InputError(f"{path} has a tensor the model does not know: {extra[0]}", fix="use the weights of this model")


def _read(path: Path) -> Any:
    if not path.is_file():
        raise InputError(
            f"{setting('weights', path)}: no such file",
            fix="use random, pretrained, or the path of a safetensors or state-dict file",
            field="weights",
        )
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} is not a whole safetensors file: {error}", fix="fetch or copy the file again") from error
    except Exception as error:  # torch.load raises all kinds of errors for a damaged archive
        refused = _REFUSED.search(str(error))
        reason = f"it holds an object of type {refused[1] or refused[2]}" if refused else first_line(error, 160)
        raise InputError(
            f"{path} cannot be read as a state dict: {reason}",
            fix="save it with torch.save(model.state_dict(), PATH) or as safetensors; whole pickled models are refused",
        ) from error


def _harmless() -> list[Any]:
    """Return types that checkpoints hold beside tensors, and that only hold values.

    They are the arguments that timm's training script keeps, and NumPy's scalars.
    """
    kinds = {type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")}
    scalar: Any = np._core.multiarray.scalar  # type: ignore[attr-defined]
    return [argparse.Namespace, np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar"), *kinds]


def _state_of(loaded: Any, path: Path) -> tuple[State, str]:
    """Return the state dict of a checkpoint, and its key there."""
    if _is_state(loaded):
        return loaded, ""
    if isinstance(loaded, dict):
        named = [key for key in _WRAPPERS if _is_state(loaded.get(key))]
        others = [str(key) for key, value in loaded.items() if _is_state(value)]
        if named or len(others) == 1:
            key = (named or others)[0]
            return loaded[key], key
        if others:
            raise InputError(f"{path} holds several state dicts: {_listed(others)}", fix="save the one that is meant by itself")
    raise InputError(f"{path} holds no state dict", fix="save it with torch.save(model.state_dict(), PATH)")


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items())
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:5])
