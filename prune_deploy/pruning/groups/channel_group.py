"""Channel groups: what belongs together, in names and dense channel numbers, whoever has read it from a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Member:
    """One layer (or bare parameter) of a group.

    `positions[i]` is a channel of this layer that goes when root channel `roots[i]` goes, in dense numbering. `handler` is
    torch-pruning's function that narrows such a layer, `pruning_dim` the axis it is told to narrow. `blocks` is the number of equal
    blocks that must lose the same positions.
    """

    name: str
    handler: Callable[..., Any]
    is_output: bool
    is_parameter: bool
    pruning_dim: int
    blocks: int
    positions: tuple[int, ...]
    roots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Layers whose channels must be removed together. `channels` are counted at the root, the layer that fixes the numbering.

    `heads` is the name of the attention module whose head width this group is; `residual` marks a stream that layers add to;
    `aligned_blocks` says that each block's width is what the hardware multiplies, as inside attention;
    `signature` is equal for groups of the same structure (Isomorphic Pruning, ECCV 2024, arXiv 2407.04616).
    """

    name: str
    channels: int
    members: tuple[Member, ...]
    blocks: int = 1
    heads: str | None = None
    residual: bool = False
    aligned_blocks: bool = False
    signature: str = ""
    unusable: str = ""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the layers that lose output channels."""
        return tuple(m.name for m in self.members if m.is_output)
