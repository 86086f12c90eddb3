"""Request for a fine-tuning."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

from prune_deploy.errors import InputError, setting
from prune_deploy.specs.checked import checked
from prune_deploy.specs.data import parse_data

Optimizer = Literal["adamw", "sgd"]

DEFAULT_LR: dict[Optimizer, float] = {"adamw": 1e-3, "sgd": 0.05}
"""Learning rates after the warm-up, for batches of 64.

Cosine annealing brings them to zero.
"""


DEFAULT_SMALLEST_CROP = 0.35
"""Smallest random crop as a share of an image's area.

A pruned network has seen its images before, so crops may be easier than when training from scratch.
"""


@checked
@dataclass(frozen=True, slots=True)
class FinetuneSpec:
    """Request to train a bundle's weights further.

    - `epochs` go over the images of `data` (see `parse_data`) in batches of `batch`.
    - `lr` None is the optimizer's default. The rate rises over `warmup_epochs` and falls by cosine annealing (Loshchilov and
      Hutter, 2017).
    - `distill` is the share of the loss that comes from the dense model's outputs at `temperature` (Hinton et al., 2015).
    - `amp` allows automatic mixed precision on a GPU.
    - `samples` bounds the training images. `augment` is flips and random resized crops, of at least `smallest_crop` of an
      image's area.
    - `val_data` are the images that top-1 is taken on. Without it they are the test split of `data`, or a tenth of its folder.
    """

    data: str
    _: KW_ONLY
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
    smallest_crop: float = DEFAULT_SMALLEST_CROP
    samples: int | None = None
    val_data: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        parse_data(self.data)
        if self.val_data is not None:
            parse_data(self.val_data, "val_data")
        if self.optimizer not in get_args(Optimizer):
            raise InputError(
                f"unknown `optimizer` {self.optimizer!r}", fix=f"one of {', '.join(get_args(Optimizer))}", field="optimizer"
            )
        # At least two images, because a batch norm has no statistics of a single one.
        for name, number, least in (
            ("epochs", self.epochs, 1),
            ("batch", self.batch, 2),
            ("samples", self.samples, 2),
            ("seed", self.seed, 0),
        ):
            if number is not None and number < least:
                fix = f"for example {setting(name, _EXAMPLES[name])}"
                raise InputError(f"`{name}` must be at least {least}, got {number}", fix=fix, field=name)
        self._check_reals()

    def _check_reals(self) -> None:
        if self.lr is not None and not (math.isfinite(self.lr) and self.lr > 0):
            fix = f"for example {setting('lr', DEFAULT_LR[self.optimizer])}"
            raise InputError(f"`lr` must be positive, got {self.lr}", fix=fix, field="lr")
        for name, share in (("distill", self.distill), ("label_smoothing", self.label_smoothing)):
            if not (math.isfinite(share) and 0 <= share <= 1):
                fix = f"for example {setting(name, 0.5)}"
                raise InputError(f"`{name}` must be a share from 0 to 1, got {share}", fix=fix, field=name)
        for name, number in (("weight_decay", self.weight_decay), ("warmup_epochs", self.warmup_epochs)):
            if not (math.isfinite(number) and number >= 0):
                raise InputError(f"`{name}` must be 0 or more, got {number}", fix=f"leave `{name}` out", field=name)
        if not 0 < self.smallest_crop <= 1:
            fix = f"for example {setting('smallest_crop', 0.7)}"
            message = f"`smallest_crop` must be a share above 0 and up to 1, got {self.smallest_crop}"
            raise InputError(message, fix=fix, field="smallest_crop")
        if self.smallest_crop != DEFAULT_SMALLEST_CROP and not self.augment:
            message = "`smallest_crop` is the size of random crops, and there are none"
            raise InputError(message, fix=f"add {setting('augment', True)}", field="smallest_crop")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"`temperature` must be positive, got {self.temperature}", fix="2 is usual", field="temperature")

    @property
    def start_lr(self) -> float:
        """The learning rate after the warm-up."""
        return DEFAULT_LR[self.optimizer] if self.lr is None else self.lr


_EXAMPLES = {"epochs": 10, "batch": 64, "samples": 1000, "seed": 0}
