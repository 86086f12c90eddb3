"""Requests for pruning and masking: amount and rule."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from prune_deploy.errors import InputError, setting
from prune_deploy.specs.checked import checked

Scope = Literal["local", "global", "isomorphic"]

Rounding = Literal["down", "nearest", "up"]

WhenEmpty = Literal["unit", "skip"]

MaskKind = Literal["l1-unstructured", "global-unstructured", "ln-structured", "2:4"]
"""Ways to zero weights and keep shapes, as torch.nn.utils.prune calls them.

2:4 keeps the larger two of each four inputs.
"""

DEFAULT_IGNORE: tuple[str, ...] = ("head",)

IGNORE_WORDS: tuple[str, ...] = ("head", "norm", "attention", "none")

IN_MEMORY = "<memory>"
"""Value of `PruneSpec.plan` for widths that are handed over in memory."""


@checked
@dataclass(frozen=True, slots=True)
class PruneSpec:
    """Request for a pruning: the amount to remove and the rule.

    - Exactly one of `ratio` (share of each group's channels, 0 < ratio < 1), `target_macs`, `target_params` ("0.5x", "2.0G",
      "50M") and `plan` (the path of a WidthPlan file, or `IN_MEMORY`) is given.
    - `group_cap` is the largest share that one group may lose.
    - Kept widths become multiples of `round_to`. Where that would empty a group, `when_empty` keeps one multiple ("unit") or
      leaves the group alone ("skip", as torch-pruning does).
    - `heads` removes whole attention heads instead of narrowing each.
    - `bottleneck` leaves residual streams alone.
    - `seed` seeds the scores of methods that draw random numbers.
    - `steps` > 1 prunes iteratively. Then a ratio of 1 is legal: it asks for the least that can remain of each group.
    """

    ratio: float | None = None
    _: KW_ONLY
    target_macs: str | None = None
    target_params: str | None = None
    plan: str | None = None
    method: str = "l2"
    scope: Scope = "local"
    group_cap: float = 1.0
    round_to: int = 8
    rounding: Rounding = "down"
    when_empty: WhenEmpty = "unit"
    ignore: tuple[str, ...] = DEFAULT_IGNORE
    heads: bool = False
    bottleneck: bool = False
    steps: int = 1
    seed: int = 0
    allow_shortfall: bool = False

    def __post_init__(self) -> None:
        self._check_amount()
        self._check_ratio()
        if not (math.isfinite(self.group_cap) and 0 < self.group_cap <= 1):
            raise InputError(
                f"`group_cap` must be above 0 and at most 1, got {self.group_cap}",
                fix="for example `group_cap=0.9`",
                field="group_cap",
            )
        for name, number, fix in (
            ("round_to", self.round_to, "`round_to=8` aligns widths for FP16"),
            ("steps", self.steps, "`steps=1` prunes at once"),
        ):
            if number < 1:
                raise InputError(f"`{name}` must be at least 1, got {number}", fix=fix, field=name)
        if not self.ignore or ("none" in self.ignore and len(self.ignore) > 1):
            raise InputError(
                f"`ignore` got {','.join(self.ignore) or 'an empty list'}",
                fix="use `ignore=('none',)` alone, or name what to keep, for example `ignore=('head', 'norm')`",
                field="ignore",
            )

    def _check_ratio(self) -> None:
        ratio = self.ratio
        if ratio is None or (math.isfinite(ratio) and 0 < ratio < 1) or (ratio == 1 and self.steps > 1):
            return
        per_cent = f"it is a share, not per cent: {setting('ratio', ratio / 100)}"
        raise InputError(
            f"`ratio` must lie between 0 and 1, both excluded, got {ratio}",
            fix=per_cent if 5 <= ratio < 100 else "for example `ratio=0.5`",
            field="ratio",
        )

    def _check_amount(self) -> None:
        given = [
            name
            for name, value in (
                ("`ratio`", self.ratio),
                ("`target_macs`", self.target_macs),
                ("`target_params`", self.target_params),
                ("`plan`", self.plan),
            )
            if value is not None
        ]
        if len(given) != 1:
            raise InputError(
                "exactly one of `ratio`, `target_macs`, `target_params` and `plan` says how much to remove, "
                f"got {' and '.join(given) or 'none'}",
                fix="for example `ratio=0.5` (or `prune=None` to export the model unpruned)",
            )

    @property
    def narrows_outputs(self) -> bool:
        """True if even the network's outputs may lose channels.

        Only `ignore=("none",)` asks for that.
        """
        return "none" in self.ignore


@checked
@dataclass(frozen=True, slots=True)
class MaskSpec:
    """Weights to set to zero, with all shapes kept.

    No dense runtime gets faster from it. `ratio` is the share of weights (of whole output channels for "ln-structured") that
    become zero. "2:4" is always one half.
    """

    kind: MaskKind
    _: KW_ONLY
    ratio: float = 0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ratio) and 0 < self.ratio < 1):
            raise InputError(
                f"`ratio` must lie between 0 and 1, both excluded, got {self.ratio}", fix="for example `ratio=0.5`", field="ratio"
            )
        if self.kind == "2:4" and self.ratio != 0.5:
            raise InputError(
                f"a 2:4 mask zeroes one half, not {self.ratio}", fix="leave `ratio` out, or ask for another `mask`", field="ratio"
            )


def parse_amount(text: str, dense: int, field: str) -> int:
    """Return the absolute target for an amount, given the dense count.

    Amounts are "0.5x", "2.0G", "50M" or a plain number. `field` is the setting that holds it.

    Raises:
        InputError: the text is not an amount, or is not below the dense count and above zero.
    """
    scales = {"x": dense, "k": 1e3, "m": 1e6, "g": 1e9}
    tail = text[-1:].lower()
    try:
        value = float(text[:-1]) * scales[tail] if tail in scales else float(text)
    except ValueError:
        fix = f"for example {setting(field, '0.5x')}, 2.0G or 50M"
        raise InputError(f"`{field}` got {text!r}, not an amount", fix=fix, field=field) from None
    if not math.isfinite(value) or not 0 < value < dense:
        raise InputError(
            f"{setting(field, text)} asks for {value:,.0f}, but the dense model has {dense:,}",
            fix="ask for less than the dense model has and more than nothing",
            field=field,
        )
    return int(value)
