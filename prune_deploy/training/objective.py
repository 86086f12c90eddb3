"""Objective and learning rate of a training."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from prune_deploy.specs import FinetuneSpec


def loss_of(logits: torch.Tensor, labels: torch.Tensor, answers: torch.Tensor | None, spec: FinetuneSpec) -> torch.Tensor:
    """Return the mean loss of a batch.

    Logits and the distillation teacher's `answers` have shape (images, classes), and labels have shape (images,). The loss is
    cross-entropy with label smoothing. With answers, a share of it is the Kullback-Leibler divergence from the teacher's softened
    probabilities, times the squared temperature, which keeps its gradients as large (Hinton, Vinyals and Dean, 2015).
    """
    logits = logits.float()
    own = functional.cross_entropy(logits, labels, label_smoothing=spec.label_smoothing)
    if answers is None:
        return own
    student, teacher = ((scores / spec.temperature).log_softmax(dim=1) for scores in (logits, answers.float()))
    distilled = functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * spec.temperature**2
    return (1 - spec.distill) * own + spec.distill * distilled


def learning_rate(spec: FinetuneSpec, step: int, steps: int) -> float:
    """Return the rate of step number `step` of `steps`, from 0.

    It rises linearly over the warm-up, then falls by a half cosine. A warm-up that is longer than the training is cut to half of
    it.
    """
    warmup = min(round(spec.warmup_epochs * steps / spec.epochs), steps // 2)
    if step < warmup:
        return spec.start_lr * (step + 1) / (warmup + 1)
    return spec.start_lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
