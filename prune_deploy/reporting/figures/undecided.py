"""Reasons of undecided verdicts, and what would decide them."""

from __future__ import annotations

from prune_deploy.measure.verdicts import CONTROL_LIMIT
from prune_deploy.reporting.figures.formatting import share
from prune_deploy.reporting.figures.rows import Row
from prune_deploy.reporting.figures.sentence import Sentence, Texts, render, sentence

_CLEARS_BY = 1.0


def why_undecided(row: Row) -> Sentence:
    """State why the verdict on a row is INCONCLUSIVE.

    The checks are those of `measure.verdicts`, in their order.
    """
    low, high, margin = row.speedup_low, row.speedup_high, row.margin or 0.0
    if low is None or high is None:
        return sentence("too-few")
    excludes_one = low > 1 or high < 1
    clears = low > 1 + margin or high < 1 / (1 + margin)
    if excludes_one and not clears:
        return sentence("noise", margin=margin)
    if clears:
        return sentence("one-launch" if row.interval_unit == "round" else "clock")
    if margin > CONTROL_LIMIT:
        return sentence("noise", margin=margin)
    return sentence("wide", low=low, high=high)


def in_words(statement: Sentence) -> str:
    """Write a reason as text, with what would decide."""
    return render(statement, TEXTS)


def _noise(margin: float) -> str:
    differed = f"by {share(margin)}" if margin <= _CLEARS_BY else "by more than 100%"
    return f"the dense model may differ from its own copy {differed} here. A quieter machine or a larger `budget_s` would decide"


TEXTS: Texts = {
    "too-few": "too few rounds for an interval. A larger `budget_s` would decide",
    "noise": _noise,
    "one-launch": "within one launch an effect has to be three times as large. `rigor='full'` would decide",
    "clock": "the processor's clock differed between the models. `lock_clocks=True` or a quieter machine would decide",
    "wide": "the interval reaches across 1. A larger `budget_s` would decide",
}
"""Every reason."""
