"""Records of a pruning: widths, channels that stay, counts, receipt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prune_deploy.notebook import HtmlView
from prune_deploy.records.upgrades import SCHEMA_VERSION
from prune_deploy.specs import MaskSpec, PruneSpec

GroupReason = Literal[
    "as-asked", "rounded", "minimum", "capped", "plan", "ignored", "ignored-member", "no-score", "protected", "bottleneck"
]
"""Reason why a group keeps the channels it keeps.

- as-asked: exactly the requested share.
- rounded: moved to the next multiple.
- minimum: rounding would have emptied it, so one unit stays.
- capped: `group_cap` limited the removal.
- plan: the plan file requires it.
- ignored: named by `ignore`.
- ignored-member: shares channels with an ignored layer.
- no-score: the method gives it no scores.
- protected: narrowing it breaks the forward pass.
- bottleneck: residual stream under `bottleneck`.
"""

SHORTFALL_REASONS: frozenset[GroupReason] = frozenset({"no-score", "protected"})
"""Reasons that were not requested.

A group that keeps more because of one of these makes the pruning a shortfall.
"""

NO_DENSE_SPEEDUP = "weights are zero in tensors of the same shape: no dense speed-up expected"
"""Label of every masked model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupWidth:
    """One dependency group of the plan.

    `channels` counts the dense model's, and `kept` those after pruning, both at the group's root. `name` is the first of
    `members` in model order. `blocks` is the number of equal blocks (convolution groups, attention heads) that must keep the same
    positions. So `kept` is a multiple of it, or of `channels // blocks` when whole blocks are removed.
    """

    name: str
    channels: int
    kept: int
    blocks: int = 1
    whole_blocks: bool = False
    asked: int | None = None
    reason: GroupReason = "as-asked"
    detail: str = ""
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthPlan:
    """Numbers of channels that the groups keep.

    Everything downstream of planning takes one of these.
    """

    groups: tuple[GroupWidth, ...]
    model: str
    schema_version: int = SCHEMA_VERSION

    @property
    def removes_nothing(self) -> bool:
        """True if every group keeps all of its channels."""
        return all(group.kept == group.channels for group in self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Channels that stay.

    `kept` maps a group's name to its kept root indices, ascending, in the dense model's numbering.
    """

    kept: dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Size of a network, for one image.

    `macs` is torch-pruning's counter, as in the published tables. `macs_with_attention` counts matrix products inside attention
    too, and efficiency is computed from it.
    """

    params: int
    macs: int
    macs_with_attention: int

    def __post_init__(self) -> None:
        if min(self.params, self.macs, self.macs_with_attention) <= 0:
            raise ValueError("a network has parameters and MACs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(HtmlView):
    """Request and result of a pruning, with the reason of each group.

    A masked model has a `mask` instead of a request and groups. `nonzero_params` then counts its parameters that are not zero.
    """

    request: PruneSpec | None
    before: Counts
    after: Counts
    groups: tuple[GroupWidth, ...]
    warnings: tuple[str, ...] = ()
    mask: MaskSpec | None = None
    nonzero_params: int | None = None

    @property
    def shortfalls(self) -> tuple[GroupWidth, ...]:
        """Groups that keep more than their share and rounding allow.

        Their reason was not requested.
        """
        return tuple(g for g in self.groups if g.reason in SHORTFALL_REASONS and g.asked is not None and g.kept > g.asked)
