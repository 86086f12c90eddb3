"""What share of labelled images an artifact names right."""

from __future__ import annotations

from dataclasses import dataclass

NAMES_KEPT = 10
"""So many unreadable images are named; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Shares of `images` whose class an artifact puts first (`top1`) or among its first five, run at `batch`.

    `low` and `high` bound `top1` at `confidence` (Wilson); there is none where the images' classes are not the network's, and then only
    the agreement says something. `top5` is None where there are five classes or fewer, of which it could only
    be 1. `data` is the set as it was asked for; `unreadable` images of it took no part, and `unreadable_names` are the first of them.
    `random_weights` says that nobody has trained the network. `agreement` is the share of the images whose first class is that of the
    bundle's FP32 module, None where it was not asked for. `notes` are what must be said beside these figures.
    """

    data: str
    images: int
    classes: int
    batch: int
    top1: float | None
    low: float | None
    high: float | None
    confidence: float
    top5: float | None = None
    unreadable: int = 0
    unreadable_names: tuple[str, ...] = ()
    random_weights: bool = False
    agreement: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """`notes`, and what untrained weights mean."""
        chance = f"weights are random: chance level, {100 / self.classes:.3g} %, is expected"
        return (*self.notes, *([chance] if self.random_weights else []))
