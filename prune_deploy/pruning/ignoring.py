"""Groups that a request leaves alone, with reasons.

They are those of `ignore` and `bottleneck`, and those that the analysis could not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from prune_deploy.errors import InputError, setting
from prune_deploy.pruning.groups import families
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.widths import KeepReason
from prune_deploy.specs import IGNORE_WORDS, PruneSpec

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.Embedding)


def left_alone(model: nn.Module, groups: Sequence[ChannelGroup], spec: PruneSpec) -> dict[str, KeepReason]:
    """Groups that keep all their channels, by name.

    Raises:
        InputError: a name in `ignore` matches nothing.
    """
    ignored = ignored_names(model, spec.ignore)
    result: dict[str, KeepReason] = {}
    for group in groups:
        hit = next((name for name in group.outputs if name in ignored), None)
        if group.name in ignored:
            result[group.name] = KeepReason("ignored", _ignored_by(ignored[group.name]))
        elif hit is not None:
            result[group.name] = KeepReason("ignored-member", f"shares channels with {hit} ({_ignored_by(ignored[hit])})")
        elif group.unusable:
            result[group.name] = KeepReason("protected", group.unusable)
        elif spec.heads and group.aligned_blocks and group.heads is None:
            result[group.name] = KeepReason("protected", "whole heads cannot be taken from this attention: leave `heads` out")
        elif spec.bottleneck and group.residual:
            result[group.name] = KeepReason("bottleneck", "residual stream")
    return result


def _ignored_by(word: str) -> str:
    return setting("ignore", (word,))


def ignored_names(model: nn.Module, ignore: Sequence[str]) -> dict[str, str]:
    """Map ignored modules and parameters to the word that ignores them.

    All that is inside an ignored module is included.

    Raises:
        InputError: a pattern matches no module and no parameter.
    """
    result: dict[str, str] = {}
    for word in ignore:
        modules = _matching_modules(model, word)
        names = [name for name, _ in model.named_parameters() if fnmatchcase(name, word)] if word not in IGNORE_WORDS else []
        if not modules and not names and word not in IGNORE_WORDS:
            raise InputError(
                f"{_ignored_by(word)} matches no module and no parameter of {type(model).__name__}",
                fix=f"use {', '.join(IGNORE_WORDS)} or a pattern over names such as {_example_name(model)}",
                field="ignore",
            )
        names += [f"{name}.{inner}".rstrip(".") for name, module in modules for inner, _ in module.named_modules()]
        names += [f"{name}.{inner}" for name, module in modules for inner, _ in module.named_parameters()]
        for name in names:
            result.setdefault(name, word)
    return result


def _matching_modules(model: nn.Module, word: str) -> list[tuple[str, nn.Module]]:
    named = [(name, module) for name, module in model.named_modules() if name]
    if word == "none":
        return []
    if word == "head":
        heads = classifiers(model)
        return [(name, module) for name, module in named if any(module is head for head in heads)]
    if word == "norm":
        return [(name, module) for name, module in named if isinstance(module, _NORMS)]
    if word == "attention":
        return [(name, module) for name, module in named if families.is_attention(module)]
    return [(name, module) for name, module in named if fnmatchcase(name, word)]


def classifiers(model: nn.Module) -> tuple[nn.Module, ...]:
    """Return what timm's `get_classifier` returns.

    A model without that function has no layer that is its head by name. What reaches its outputs is found by trial runs.
    """
    get_classifier: Any = getattr(model, "get_classifier", None)
    found = () if get_classifier is None else get_classifier()
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def _example_name(model: nn.Module) -> str:
    names = [name for name, module in model.named_modules() if not list(module.children())]
    return names[len(names) // 2] if names else "layer1.0.conv1"
