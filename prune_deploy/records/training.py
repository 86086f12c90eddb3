"""Records of a bundle's training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from prune_deploy.specs import FinetuneSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One epoch of a training.

    `loss` is the mean over its images. `top1` is a share on images that were not trained on, before weights are rounded to FP32
    or less. `lr` is the learning rate of its first step, and `seconds` include its validation.
    """

    number: int
    loss: float
    top1: float
    lr: float
    seconds: float

    def __post_init__(self) -> None:
        if not (0 <= self.top1 <= 1 and 0 <= self.lr < math.inf and 0 <= self.seconds < math.inf and math.isfinite(self.loss)):
            raise ValueError(f"no epoch has a loss of {self.loss} and a top-1 of {self.top1}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """Bundle that weights were taken from.

    It has its folder's name, and the hashes of its record and its weights.
    """

    name: str
    key: str
    weights_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Fine-tuning: request, parent and every epoch.

    `top1_before` is the parent's, on the same images as the epochs'. `images` were trained on. Top-1 is of `validated` images,
    and `validation` describes these. `unreadable` images of both took no part. `teacher` names the distillation teacher, if there
    was one. `device` is "cpu" or the GPU's name.
    """

    spec: FinetuneSpec
    parent: Parent
    images: int
    validated: int
    validation: str
    top1_before: float
    epochs: tuple[Epoch, ...]
    device: str
    teacher: str = ""
    unreadable: int = 0

    @property
    def top1_after(self) -> float:
        """Top-1 of the bundle's weights, those of the last epoch."""
        return self.epochs[-1].top1
