"""Gates: verdicts as exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prune_deploy.errors import InputError
from prune_deploy.records import Estimate

Outcome = Literal["passed", "slower", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """One comparison under a gate, with the sentence that explains it."""

    outcome: Outcome
    sentence: str


def parse_share(text: str, option: str) -> float:
    """Parse "3%" or "0.03" as 0.03.

    Raises:
        InputError: not a share from 0 to below 1.
    """
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise InputError(f"{option} got {text!r}", fix=f"give a share of time, for example {option} 3%")
    return share


def gate_slower(name: str, ratio: Estimate | None, allowed: float, margin: float = 0.0) -> Gated:
    """Judge old time over new time by the share `allowed`.

    Slower also means slower by more than `margin`, which the old model showed against its own copy.
    """
    if ratio is None or ratio.low is None or ratio.high is None:
        return Gated(outcome="undecided", sentence=f"{name}: no ratio with an interval")
    floor = 1 / (1 + allowed)
    slower_low, slower_high = 1 / ratio.high - 1, 1 / ratio.low - 1
    span = f"its time is {1 / ratio.value - 1:+.1%} [{slower_low:+.1%}, {slower_high:+.1%}] of the old one's"
    if ratio.high < 1 / (1 + max(allowed, margin)):
        return Gated(outcome="slower", sentence=f"{name}: slower than {allowed:.1%} allows: {span}")
    if ratio.low >= floor:
        return Gated(outcome="passed", sentence=f"{name}: not slower than {allowed:.1%} allows: {span}")
    return Gated(outcome="undecided", sentence=f"{name}: the interval reaches over the limit of {allowed:.1%}: {span}")


def worst(gated: Sequence[Gated]) -> Outcome:
    """Return the outcome of several gates.

    One that is slower decides, then one that is undecided.
    """
    outcomes = {each.outcome for each in gated}
    return "slower" if "slower" in outcomes else ("undecided" if "undecided" in outcomes or not gated else "passed")
