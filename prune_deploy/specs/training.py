"""What is asked of a fine-tuning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from prune_deploy.errors import InputError
from prune_deploy.specs.data import parse_data

Optimizer = Literal["adamw", "sgd"]

DEFAULT_LR: dict[Optimizer, float] = {"adamw": 1e-3, "sgd": 0.05}
"""Learning rates at the start, after warming up, for batches of 64; cosine annealing brings them to zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSpec:
    """How a bundle's weights are trained further: `epochs` over the images of `data` (see `parse_data`) in batches of `batch`.

    `lr` None is the optimizer's default. The rate rises over `warmup_epochs` and falls by cosine annealing (Loshchilov and Hutter, 2017).
    `distill` is the share of the loss that comes from the dense model's answers at `temperature` (Hinton et al., 2015). Automatic mixed
    precision is used on a GPU unless `amp` says no. `samples` bounds the training images, `augment` is random resized crops and flips.
    `val_data` are the images that top-1 is taken on; without it they are the test split of `data`, or a tenth of its folder.
    """

    data: str
    epochs: int = 10
    batch: int = 64
    optimizer: Optimizer = "adamw"
    lr: float | None = None
    weight_decay: float = 0.01
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.0
    distill: float = 0.0
    temperature: float = 2.0
    amp: bool = True
    augment: bool = False
    samples: int | None = None
    val_data: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        parse_data(self.data)
        if self.val_data is not None:
            parse_data(self.val_data)
        if self.optimizer not in get_args(Optimizer):
            raise InputError(f"unknown --optimizer {self.optimizer!r}", fix=f"one of {', '.join(get_args(Optimizer))}")
        # Two images, not one: a batch norm has no statistics of a single one.
        for option, number, least in (
            ("--epochs", self.epochs, 1),
            ("--batch", self.batch, 2),
            ("--samples", self.samples, 2),
            ("--seed", self.seed, 0),
        ):
            if number is not None and number < least:
                raise InputError(
                    f"{option} must be at least {least}, got {number}", fix=f"for example {option} {_EXAMPLES[option]}"
                )
        self._check_reals()

    def _check_reals(self) -> None:
        if self.lr is not None and not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError(f"--lr must be positive, got {self.lr}", fix=f"for example --lr {DEFAULT_LR[self.optimizer]}")
        for option, share in (("--distill", self.distill), ("--label-smoothing", self.label_smoothing)):
            if not (math.isfinite(share) and 0 <= share <= 1):
                raise InputError(f"{option} must be a share from 0 to 1, got {share}", fix=f"for example {option} 0.5")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"--weight-decay must be 0 or more, got {self.weight_decay}", fix="leave --weight-decay out")
        if not (math.isfinite(self.warmup_epochs) and self.warmup_epochs >= 0):
            raise InputError(f"--warmup-epochs must be 0 or more, got {self.warmup_epochs}", fix="leave --warmup-epochs out")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"--temperature must be positive, got {self.temperature}", fix="2 is usual")

    @property
    def start_lr(self) -> float:
        """The learning rate after warming up."""
        return DEFAULT_LR[self.optimizer] if self.lr is None else self.lr


_EXAMPLES = {"--epochs": 10, "--batch": 64, "--samples": 1000, "--seed": 0}
