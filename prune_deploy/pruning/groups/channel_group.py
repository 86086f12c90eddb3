"""Channel groups in names and dense channel numbers.

They are independent of the analysis that found them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Member:
    """One layer (or bare parameter) of a group.

    `positions[i]` is a channel of this layer that is removed with root channel `roots[i]`, in dense numbering. `handler` is the
    function of torch-pruning that narrows such a layer, and `pruning_dim` is the axis that it narrows. `blocks` is the number of
    equal blocks that must lose the same positions.
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
    """Layers whose channels must be removed together.

    - `channels` are counted at the root, the layer that fixes the numbering.
    - `heads` is the name of the attention module whose head width this group is.
    - `residual` marks a stream that layers add to.
    - `aligned_blocks` tells that each block's width is what the hardware multiplies, as inside attention.
    - `signature` is equal for groups of the same structure (Isomorphic Pruning, ECCV 2024, arXiv 2407.04616).
    - `unusable` is the reason why nothing can be removed, or empty.
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
