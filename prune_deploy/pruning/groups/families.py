"""Rules for timm's architectures that torch-pruning cannot infer, with reasons.

There are three kinds:

- Layers that torch-pruning must treat as one (`CUSTOM_LAYERS`).
- Parameters whose axes are not channels (`NOT_CHANNELS`).
- Attributes that a module computes once and reads again in `forward` (`repair_attributes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.models.swin_transformer import PatchMerging
from torch import nn
from torch_pruning.pruner import function

# Swin's bias table is (positions, heads) and Swin-V2's scale is one number per head: narrowing heads must not touch their last axis.
NOT_CHANNELS: frozenset[str] = frozenset({"relative_position_bias_table", "logit_scale"})

# With whole heads removed, these parameters of the attention module lose the removed heads along the given axis.
PER_HEAD: dict[str, int] = {"relative_position_bias_table": 1, "logit_scale": 0}


@dataclass(frozen=True, slots=True)
class AttentionLayout:
    """Self-attention module with a fused projection.

    `qkv` holds query, key and value in `heads` equal blocks each.
    """

    name: str
    module: nn.Module
    qkv: nn.Linear
    heads: int


class PatchMergingPruner(function.BasePruningFunc):  # type: ignore[misc]
    """Pruner of Swin's patch merging as a single layer.

    The layer has C inputs and `out_dim` outputs. Inside, four neighbouring pixels are concatenated. Input channel i feeds
    positions i, i + C, i + 2C and i + 3C of the norm and of the reduction. torch-pruning's graph loses that mapping in the
    reshape (timm/models/swin_transformer.py, PatchMerging).
    """

    TARGET_MODULES = PatchMerging
    NEIGHBOURS = 4

    def prune_in_channels(self, layer: Any, idxs: list[int]) -> Any:
        channels = self.get_in_channels(layer)
        spread = [i + offset * channels for offset in range(self.NEIGHBOURS) for i in idxs]
        narrow_layer_norm(layer.norm, spread)
        function.prune_linear_in_channels(layer.reduction, spread)
        layer.dim = channels - len(idxs)
        return layer

    def prune_out_channels(self, layer: Any, idxs: list[int]) -> Any:
        function.prune_linear_out_channels(layer.reduction, idxs)
        layer.out_dim = layer.reduction.out_features
        return layer

    def get_in_channels(self, layer: Any) -> int:
        return int(layer.norm.normalized_shape[0]) // self.NEIGHBOURS

    def get_out_channels(self, layer: Any) -> int:
        return int(layer.reduction.out_features)


def custom_layers() -> dict[type[nn.Module], Any]:
    """Return the layer types that the graph treats as one node.

    Each comes with a fresh pruner.
    """
    return {PatchMerging: PatchMergingPruner()}


def attention_layouts(model: nn.Module) -> Iterator[AttentionLayout]:
    """Yield every attention module of `model` with a fused qkv projection."""
    for name, module in model.named_modules():
        qkv, heads = getattr(module, "qkv", None), getattr(module, "num_heads", None)
        if isinstance(qkv, nn.Linear) and isinstance(heads, int) and qkv.out_features % (3 * heads) == 0:
            yield AttentionLayout(name, module, qkv, heads)


def is_attention(module: nn.Module) -> bool:
    """Return whether the word attention of `ignore` means this module."""
    return "attention" in type(module).__name__.lower() or (hasattr(module, "qkv") and hasattr(module, "num_heads"))


def parameters_without_channels(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters whose axes must not follow the channels around them."""
    return [p for name, p in model.named_parameters() if name.rpartition(".")[2] in NOT_CHANNELS]


def remove_heads(attention: nn.Module, removed: list[int]) -> None:
    """Remove whole heads from an attention module.

    This updates its head count and its per-head parameters.
    """
    heads = int(attention.num_heads)  # type: ignore[arg-type]
    kept = torch.tensor([head for head in range(heads) if head not in set(removed)])
    for leaf, axis in PER_HEAD.items():
        parameter = getattr(attention, leaf, None)
        if isinstance(parameter, nn.Parameter):
            narrowed = parameter.detach().index_select(axis, kept.to(parameter.device))
            setattr(attention, leaf, nn.Parameter(narrowed, requires_grad=parameter.requires_grad))
    attention.num_heads = len(kept)  # type: ignore[assignment]


def is_shared_by_heads(layer: nn.Module, positions: Sequence[int]) -> bool:
    """Return whether all heads use this norm in turn (timm's qk_norm).

    The graph contains it once per head. It narrows with the head's width and stays unchanged when a whole head is removed.
    """
    return isinstance(layer, nn.LayerNorm) and layer.normalized_shape[-1] < len(positions)


def narrow_layer_norm(norm: nn.LayerNorm, removed: list[int], axis: int = -1) -> None:
    """Remove channels from a layer norm, in place.

    torch-pruning 1.6.1 keeps them in the order of a Python set. With few channels left a norm's scales then belong to other
    channels than before (torch_pruning/pruner/function.py, LayernormPruner: it sorts a tensor and drops the result).
    """
    if len(norm.normalized_shape) < -axis:
        return
    shape, gone = list(norm.normalized_shape), set(removed)
    kept = torch.tensor([channel for channel in range(shape[axis]) if channel not in gone], dtype=torch.long)
    shape[axis] = len(kept)
    norm.normalized_shape = tuple(shape)
    for leaf in ("weight", "bias"):
        parameter = getattr(norm, leaf)
        if parameter is not None:
            narrowed = parameter.detach().index_select(axis, kept.to(parameter.device))
            setattr(norm, leaf, nn.Parameter(narrowed, requires_grad=parameter.requires_grad))


def repair_attributes(model: nn.Module) -> None:
    """Update attributes that modules computed from their dense widths.

    timm's attention reshapes by `head_dim` and `attn_dim` and scales by `scale`. The fused kernel scales by the real head width.
    So `scale` must follow it, or the fused and the exported path would compute different things (timm/layers/attention.py).
    """
    for layout in attention_layouts(model):
        head_dim = layout.qkv.out_features // (3 * layout.heads)
        computed: dict[str, int | float] = {"head_dim": head_dim, "attn_dim": head_dim * layout.heads, "scale": head_dim**-0.5}
        for leaf, value in computed.items():
            current = layout.module.__dict__.get(leaf)
            if isinstance(current, (int, float)) and current != value:
                setattr(layout.module, leaf, value)
