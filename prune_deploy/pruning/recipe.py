"""Recipe that rebuilds a pruned module without a pickle.

It holds plain attributes and tensors. The dense skeleton is built without weights, the attributes that pruning changed are set, and
the saved tensors are put in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from prune_deploy.errors import InputError
from prune_deploy.pruning.meta_copy import parameter_owner

_PLAIN = (bool, int, float, str, type(None))


def changed_attributes(dense: nn.Module, pruned: nn.Module) -> dict[str, dict[str, Any]]:
    """Collect the plain attributes of modules that pruning changed.

    They are JSON values: tuples become {"tuple": [...]}, and lists stay.
    """
    reference = dict(dense.named_modules())
    result: dict[str, dict[str, Any]] = {}
    for name, module in pruned.named_modules():
        before = reference[name].__dict__
        changed = {
            leaf: _encode(value)
            for leaf, value in module.__dict__.items()
            if not leaf.startswith("_") and leaf != "training" and _is_plain(value) and before.get(leaf, module) != value
        }
        if changed:
            result[name] = changed
    return result


def tensors_of(module: nn.Module) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Collect the tensors of a module, and the names of its buffers.

    Buffers that a state dict leaves out (Swin's masks and indices) are among them: the skeleton has them without data.
    """
    tensors = {name: parameter.detach() for name, parameter in module.named_parameters()}
    buffers = {name: buffer.detach() for name, buffer in module.named_buffers()}
    return {name: t.contiguous() for name, t in (tensors | buffers).items()}, tuple(sorted(buffers))


def rebuild(skeleton: nn.Module, attributes: Mapping[str, Mapping[str, Any]], tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """Turn a weightless dense skeleton into the pruned module, in place.

    Raises:
        InputError: the recipe or the weights name something the skeleton does not have, or leave something out.
    """
    modules = dict(skeleton.named_modules())
    for name, changed in attributes.items():
        if name not in modules:
            raise _mismatch(f"the recipe changes {name}, which the model does not have")
        for leaf, value in changed.items():
            _require_plain(modules[name], name, leaf)
            setattr(modules[name], leaf, _decode(value))
    parameters = {name for name, _ in skeleton.named_parameters()}
    expected = parameters | {name for name, _ in skeleton.named_buffers()}
    if different := expected.symmetric_difference(tensors):
        name = sorted(different)[0]
        raise _mismatch(f"the weights {'lack' if name in expected else 'have an unknown'} tensor {name}")
    for name, tensor in tensors.items():
        owner, leaf = parameter_owner(skeleton, name)
        if name in parameters:
            owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=tensor.is_floating_point())
        else:
            owner._buffers[leaf] = tensor
    return skeleton.eval()


def _require_plain(module: nn.Module, name: str, leaf: str) -> None:
    """Refuse to set anything but a plain attribute.

    A method, a hook or a submodule is none. Recipes come from unknown sources.
    """
    own = leaf in module.__dict__
    if leaf.startswith("_") or leaf == "training" or (not own and hasattr(module, leaf)):
        raise _mismatch(f"the recipe sets {name or 'the network'}.{leaf}, which is no plain attribute")
    if own and not _is_plain(module.__dict__[leaf]):
        raise _mismatch(f"the recipe sets {name or 'the network'}.{leaf}, which is no plain attribute")


def _mismatch(message: str) -> InputError:
    return InputError(
        message, fix="the bundle was made with another timm release (see its bundle.json), or is damaged: run prune-deploy verify"
    )


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, (tuple, list)) and all(_is_plain(item) for item in value))


def _encode(value: Any) -> Any:
    if isinstance(value, list):
        return [_encode(item) for item in value]
    return {"tuple": [_encode(item) for item in value]} if isinstance(value, tuple) else value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {"tuple"} or not isinstance(value["tuple"], list):
        raise _mismatch(f"the recipe has a value that it cannot have: {str(value)[:100]}")
    return tuple(_decode(item) for item in value["tuple"])
