"""Masks: weights set to zero in tensors that keep their shapes.

The masked layers are those of PyTorch-Pruning's vision benchmark (experiments/vision/pytorch_pruning.py): the weights of every
convolution and every linear layer, the classifier included. Biases stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import prune

from prune_deploy.errors import PruningError
from prune_deploy.pruning.counting import count
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.records import NO_DENSE_SPEEDUP, Receipt
from prune_deploy.specs import MaskSpec

Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True, slots=True, kw_only=True)
class Zeroed:
    """Counts of masked weights by layer.

    `covered` counts the weights under a layer's mask, `sizes` all of its weights. `left_alone` maps reasons to the layers without a
    mask.
    """

    covered: Mapping[str, int]
    sizes: Mapping[str, int]
    left_alone: Mapping[str, Sequence[str]]


def mask(model: nn.Module, spec: MaskSpec, input_size: tuple[int, int, int]) -> Receipt:
    """Set weights of `model` to zero in place, as `spec` asks.

    `input_size` is (channels, height, width).

    Raises:
        PruningError: nothing would become zero, and the model is as it was.
    """
    zeroed = set_to_zero(model, spec)
    counts = count(make_meta_copy(model), input_size)
    return Receipt(
        request=None,
        before=counts,
        after=counts,
        groups=(),
        warnings=_notes(zeroed),
        mask=spec,
        nonzero_params=count_nonzero_params(model),
    )


@torch.no_grad()
def set_to_zero(model: nn.Module, spec: MaskSpec) -> Zeroed:
    """Mask the weights of `model` in place.

    Masks and hooks are gone afterwards, and the zeros stay.

    Raises:
        PruningError: nothing would become zero, and the model is as it was.
    """
    layers, left_alone = _layers(model, spec)
    masks = _global_masks(layers, spec.ratio) if layers and spec.kind == "global-unstructured" else {}
    covered = {}
    for name, layer in layers.items():
        if name in masks:
            prune.custom_from_mask(layer, "weight", masks[name])  # type: ignore[no-untyped-call]
        else:
            _mask_layer(layer, spec)
        covered[name] = int((layer.get_buffer("weight_mask") == 0).sum())
        prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
        # A mask makes negative weights -0.0, which a library that looks at bits need not take for zero.
        layer.weight.add_(0.0)
    if not sum(covered.values()):
        raise PruningError(
            f"a {spec.kind} mask of ratio {spec.ratio} sets no weight of this model to zero",
            fix="ask for a higher `ratio` or another `mask`: layers round to whole weights or channels, and 2:4 needs inputs in fours",
        )
    return Zeroed(covered=covered, sizes={name: layer.weight.numel() for name, layer in layers.items()}, left_alone=left_alone)


def count_nonzero_params(model: nn.Module) -> int:
    """Number of parameters that are not zero, shared ones once."""
    return sum(int(parameter.count_nonzero()) for parameter in model.parameters())


class TwoOfFour(prune.BasePruningMethod):
    """Mask that keeps the two larger magnitudes of every four inputs.

    The four are inputs in a row, for each output and each place of the kernel. Weights have shape (outputs, inputs, ...). It is
    the pattern of sparse tensor cores, and for convolutions along the inputs C of KCRS as TensorRT wants it (TensorRT
    documentation, "Structured Sparsity").
    """

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: torch.Tensor, default_mask: torch.Tensor) -> torch.Tensor:
        """Compute the mask of `t`, of the same shape.

        Zeros of `default_mask` are included.
        """
        magnitudes = t.abs().movedim(1, -1)
        fours = magnitudes.reshape(*magnitudes.shape[:-1], -1, 4)
        kept = torch.zeros_like(fours).scatter_(-1, fours.topk(2).indices, 1.0)
        return default_mask * kept.flatten(-2).movedim(-1, 1)


def _global_masks(layers: Mapping[str, Layer], ratio: float) -> dict[str, torch.Tensor]:
    """False at the smallest weights of all layers together, by layer.

    They are those that torch.nn.utils.prune.global_unstructured finds, which needs 15 GB and a minute for the weights of ViT-L.
    """
    magnitudes = torch.cat([layer.weight.flatten() for layer in layers.values()]).abs_().numpy()
    number = round(ratio * magnitudes.size)
    if number:
        magnitudes.partition(number - 1)
    limit = float(magnitudes[number - 1]) if number else -1.0
    # Float32 has few values to draw from: among weights of just this size the first ones go.
    left = number - int((magnitudes[:number] < limit).sum())
    masks = {}
    for name, layer in layers.items():
        magnitude = layer.weight.abs()
        tied = (magnitude == limit).flatten().nonzero()[:, 0]
        masks[name] = magnitude > limit
        masks[name].view(-1)[tied[left:]] = True
        left = max(left - len(tied), 0)
    return masks


def _mask_layer(layer: Layer, spec: MaskSpec) -> None:
    if spec.kind == "2:4":
        TwoOfFour.apply(layer, "weight")  # type: ignore[no-untyped-call]
    elif spec.kind == "ln-structured":
        prune.ln_structured(layer, "weight", amount=spec.ratio, n=2, dim=0)  # type: ignore[no-untyped-call]
    else:
        prune.l1_unstructured(layer, "weight", amount=spec.ratio)  # type: ignore[no-untyped-call]


def _layers(model: nn.Module, spec: MaskSpec) -> tuple[dict[str, Layer], dict[str, list[str]]]:
    """The layers to mask by name, and those left alone by reason.

    Each weight occurs once.
    """
    from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame

    standardised = (ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame)
    layers: dict[str, Layer] = {}
    left_alone: dict[str, list[str]] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        weight = dict(module.named_parameters(recurse=False)).get("weight")
        if weight is None or isinstance(module, standardised):
            left_alone.setdefault("their weights are computed anew in every run, so zeros would not stay", []).append(name)
        elif spec.kind == "2:4" and weight.shape[1] % 4:
            left_alone.setdefault("their inputs are no multiple of four", []).append(name)
        elif id(weight) not in seen:
            seen.add(id(weight))
            layers[name] = module
    return layers, left_alone


def _notes(zeroed: Zeroed) -> tuple[str, ...]:
    covered, size = sum(zeroed.covered.values()), sum(zeroed.sizes.values())
    notes = [f"{covered:,} of {size:,} weights set to zero, masked layers: {len(zeroed.sizes)}; {NO_DENSE_SPEEDUP}"]
    notes += [f"left alone, because {reason}: {', '.join(names)}" for reason, names in zeroed.left_alone.items()]
    emptied = [name for name, count in zeroed.covered.items() if count == zeroed.sizes[name]]
    if emptied:
        notes.append(f"layers without any weight left, whose output is their bias alone: {', '.join(emptied)}")
    return tuple(notes)
