"""Record of a recovery, by its parts and its layers."""

from __future__ import annotations

from dataclasses import dataclass

from prune_deploy.records.training import Parent


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldRecord:
    """A consumer whose weights were to make up for removed channels.

    The errors are shares of the dense output's power on held-out images. A fold that does not lower the error is not `kept`.
    """

    layer: str
    error_before: float
    error_after: float
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryStep:
    """The network after a part of the recovery, against the dense one.

    - `name` is "pruned", "batch norms" or "fold", where "fold" has the batch norms' new statistics too.
    - `kl` is the mean Kullback-Leibler divergence of the dense network's classes from this one's, in nats.
    - `agreement` is the share of images on which both put the same class first. `top1` is None without labels.
    """

    name: str
    kl: float
    agreement: float
    top1: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Recovery of a network without training.

    `images` were used for the statistics, half of them to decide on folds. The steps were taken on `judged` other images of `data`,
    which chose nothing. `dense_top1` is the dense network's on these. `parent` is the bundle it was made from, None within an export.
    """

    data: str
    images: int
    judged: int
    seconds: float
    steps: tuple[RecoveryStep, ...]
    folds: tuple[FoldRecord, ...] = ()
    batch_norms: int = 0
    dense_top1: float | None = None
    parent: Parent | None = None
    warnings: tuple[str, ...] = ()
