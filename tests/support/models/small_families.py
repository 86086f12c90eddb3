"""Families that need channel tracing, as small as their constructors allow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
from timm.models.focalnet import FocalNet
from timm.models.gcvit import GlobalContextVit
from timm.models.mlp_mixer import MlpMixer
from torch import nn

from prune_deploy.pruning.channel_tracing import read_groups
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.pruning.meta_copy import example_input, make_meta_copy

Size = tuple[int, int, int]
SMALL: Size = (3, 32, 32)
MEDIUM: Size = (3, 64, 64)
_CLASSES = 5


def timm_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    """Return a timm network made small by its constructor's arguments."""
    return lambda: timm.create_model(name, num_classes=_CLASSES, **options)


_SMALL_VIT: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2}
FAMILIES: dict[str, tuple[Callable[[], nn.Module], Size]] = {
    "nfnet": (timm_model("test_nfnet"), MEDIUM),
    "beit": (timm_model("beit_base_patch16_224", num_heads=3, **_SMALL_VIT), SMALL),
    "eva02": (timm_model("eva02_tiny_patch14_224", num_heads=3, **_SMALL_VIT), SMALL),
    "cait": (timm_model("cait_xxs24_224", num_heads=4, depth_token_only=1, **_SMALL_VIT), SMALL),
    "swinv2": (
        timm_model(
            "swinv2_tiny_window8_256", img_size=32, patch_size=2, window_size=4, embed_dim=32, depths=(2, 2), num_heads=(2, 4)
        ),
        SMALL,
    ),
    "levit": (timm_model("levit_128s", img_size=64, embed_dim=(32, 48), key_dim=8, depth=(1, 1), num_heads=(2, 3)), MEDIUM),
    "mixer": (lambda: MlpMixer(_CLASSES, 32, patch_size=8, embed_dim=32, num_blocks=2), SMALL),
    "xcit": (timm_model("xcit_nano_12_p16_224", img_size=32, embed_dim=32, depth=2, num_heads=4, cls_attn_layers=1), SMALL),
    "pvt_v2": (timm_model("pvt_v2_b0", depths=(1, 1, 1, 1)), MEDIUM),
    "twins": (
        timm_model("twins_pcpvt_small", img_size=64, embed_dims=(16, 32, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2)),
        MEDIUM,
    ),
    "edgenext": (timm_model("edgenext_xx_small", depths=(1, 2, 2, 1)), MEDIUM),
    "sknet": (timm_model("skresnet18", layers=(1, 1, 1, 1), channels=(32, 32, 64, 64)), MEDIUM),
    "resnest": (timm_model("resnest14d", channels=(16, 32, 32, 32)), MEDIUM),
    "visformer": (timm_model("visformer_tiny", img_size=64, embed_dim=48, depth=(1, 1, 1), num_heads=3), MEDIUM),
    "tiny_vit": (
        timm_model(
            "tiny_vit_5m_224", embed_dims=(16, 32, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), window_sizes=(4, 4, 4, 2)
        ),
        MEDIUM,
    ),
    "gcvit": (
        lambda: GlobalContextVit(
            num_classes=_CLASSES, img_size=64, window_ratio=(16, 16), embed_dim=16, depths=(2, 2), num_heads=(2, 2)
        ),
        MEDIUM,
    ),
    "focalnet": (lambda: FocalNet(num_classes=_CLASSES, embed_dim=16, depths=(1, 1)), MEDIUM),
    "efficientvit": (timm_model("efficientvit_b0"), MEDIUM),
    "ghostnet": (timm_model("ghostnet_050"), SMALL),
}
"""Families that DepGraph analyses wrongly, only in part, or not at all.

Each is as small as its constructor allows.
"""


def own_groups(model: nn.Module, size: Size) -> tuple[ChannelGroup, ...]:
    """Return the groups of a model by channel tracing."""
    return read_groups(make_meta_copy(model), example_input(size))


def inner(groups: tuple[ChannelGroup, ...]) -> list[ChannelGroup]:
    """Return the removable groups except for the classifier's outputs."""
    heads = ("head", "fc", "classifier")
    return [g for g in groups if not g.unusable and not any(n.split(".")[0] in heads and not m_in(g) for n in g.outputs)]


def m_in(group: ChannelGroup) -> bool:
    """Return whether any layer reads the group's channels."""
    return any(not m.is_output for m in group.members)
