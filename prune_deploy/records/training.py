"""What was seen while a bundle's weights were trained further."""

from __future__ import annotations

from dataclasses import dataclass

from prune_deploy.specs import FinetuneSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One epoch: mean loss over its images; top-1 as a share on images that were not trained on, before it is rounded to FP32 or less.

    `lr` is the learning rate of its first step, `seconds` what it took with its validation.
    """

    number: int
    loss: float
    top1: float
    lr: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The bundle that weights were taken from: its folder's name, and the hashes of its record and its weights."""

    name: str
    key: str
    weights_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A fine-tuning: request, parent and every epoch. `top1_before` is the parent's, on the same images as the epochs'.

    `images` were trained on; top-1 is of `validated` images, and `validation` says which these are. `unreadable` images of both took no
    part. `teacher` names the dense model whose answers were learnt from, if there was one; `device` is "cpu" or the GPU's name.
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
        """Top-1 of the weights that the bundle holds: those of the last epoch."""
        return self.epochs[-1].top1
