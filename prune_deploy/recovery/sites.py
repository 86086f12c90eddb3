"""Layers whose weights can make up for missing inputs.

They are the consumers: layers that read what was pruned, or what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from prune_deploy.pruning.apply import removals
from prune_deploy.pruning.groups.channel_group import ChannelGroup
from prune_deploy.records import Selection, WidthPlan

Layer = nn.Linear | nn.Conv2d


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A consumer, with the channels of its dense form that are left.

    `inputs` and `outputs` are numbers of the dense layer's channels, shape (left,).
    """

    name: str
    inputs: torch.Tensor
    outputs: torch.Tensor


def find_sites(dense: nn.Module, groups: Iterable[ChannelGroup], plan: WidthPlan, selection: Selection) -> list[Site]:
    """Find the consumers of a pruned network in its dense form.

    They are in the network's own order. Depthwise and grouped convolutions are none, because they mix no channels.
    """
    gone: dict[tuple[str, bool], set[int]] = {}
    for member, positions in removals(dense, groups, plan, selection):
        gone.setdefault((member.name, member.is_output), set()).update(positions)
    sites = []
    for name, layer in dense.named_modules():
        if isinstance(layer, nn.Linear):
            inputs, outputs = layer.in_features, layer.out_features
        elif isinstance(layer, nn.Conv2d) and layer.groups == 1:
            inputs, outputs = layer.in_channels, layer.out_channels
        else:
            continue
        sites.append(
            Site(name=name, inputs=_left(inputs, gone.get((name, False))), outputs=_left(outputs, gone.get((name, True))))
        )
    return sites


def _left(channels: int, gone: set[int] | None) -> torch.Tensor:
    return torch.tensor([channel for channel in range(channels) if channel not in (gone or ())])
