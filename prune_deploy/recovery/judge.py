"""How near a network's answers come to those of the dense one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from prune_deploy.errors import InputError
from prune_deploy.records import RecoveryStep
from prune_deploy.tensors import output_tensors

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Judge:
    """Images on which networks are compared with the dense one.

    `images` have shape (images, channels, height, width), and `answers` are the dense network's logits of shape (images, classes).
    `labels` have shape (images,), and are None where there are none.
    """

    images: torch.Tensor
    answers: torch.Tensor
    labels: torch.Tensor | None

    @classmethod
    def of(cls, dense: nn.Module, images: torch.Tensor, labels: torch.Tensor | None) -> Judge:
        """Return the judge with the dense network's answers.

        Raises:
            InputError: the network is no classifier, or its answers are no numbers.
        """
        answers = _logits(dense, images)
        if labels is not None and (answers.shape[1] <= int(labels.max()) or int(labels.min()) < 0):
            labels = None
        return cls(images, answers, labels)

    @property
    def dense_top1(self) -> float | None:
        """The share of images that the dense network classifies correctly."""
        return _top1(self.answers, self.labels)

    def step(self, name: str, model: nn.Module) -> RecoveryStep:
        """Compare a network with the dense one."""
        logits = _logits(model, self.images)
        expected, got = self.answers.log_softmax(1), logits.log_softmax(1)
        return RecoveryStep(
            name=name,
            kl=float(functional.kl_div(got, expected, reduction="batchmean", log_target=True)),
            agreement=float((logits.argmax(1) == self.answers.argmax(1)).double().mean()),
            top1=_top1(logits, self.labels),
        )


def _logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        outputs = [next(iter(output_tensors(model(batch)).values())) for batch in torch.split(images, _BATCH)]
    logits = torch.cat(outputs).double()
    if logits.dim() != 2:
        raise InputError(
            f"recovery judges classifiers, and this network's first output has shape {tuple(logits.shape)}",
            fix="export it without `recover`",
        )
    if not bool(torch.isfinite(logits).all()):
        raise InputError(
            "the network's answers to these images are no numbers",
            fix="check the weights, or name other images with `calibration`",
        )
    return logits


def _top1(logits: torch.Tensor, labels: torch.Tensor | None) -> float | None:
    return None if labels is None else float((logits.argmax(1) == labels).double().mean())
