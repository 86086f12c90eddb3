"""Record of an artifact's accuracy on labelled images."""

from __future__ import annotations

from dataclasses import dataclass

NAMES_KEPT = 10
"""Number of unreadable images that are named.

All of them are counted.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Shares of `images` that an artifact classifies correctly.

    - `top1` counts images whose class it puts first, and `top5` those whose class is among its first five. `top5` is None where
      there are five classes or fewer, of which it could only be 1.
    - `batch` is the batch size of its runs.
    - `low` and `high` bound `top1` at `confidence` (Wilson). There is no `top1` where the images' classes are not the network's.
      Then only the agreement is meaningful.
    - `data` is the set as it was requested. `unreadable` images of it took no part, and `unreadable_names` are the first of them.
    - `random_weights` is true for a network that was never trained.
    - `agreement` is the share of images whose first class is that of the bundle's FP32 module, None where it was not requested.
    - `warnings` are warnings that belong beside these figures.
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
    warnings: tuple[str, ...] = ()

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """The `warnings`, with a warning about untrained weights."""
        chance = f"weights are random: chance level, {100 / self.classes:.3g} %, is expected"
        return (*self.warnings, *([chance] if self.random_weights else []))
