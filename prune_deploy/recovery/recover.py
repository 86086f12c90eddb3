"""Recovery of a pruned network: batch norms, and folds consumer by consumer."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from prune_deploy.errors import InputError
from prune_deploy.interfaces import Progress
from prune_deploy.records import FoldRecord, Recovery
from prune_deploy.recovery.batchnorm import batch_norms, batch_statistics, recalibrate
from prune_deploy.recovery.fold import Fold, fold
from prune_deploy.recovery.judge import Judge
from prune_deploy.recovery.moments import Moments, samples_of
from prune_deploy.recovery.sites import Layer, Site
from prune_deploy.specs import Recover

BATCH = 64
LIMIT_S = 60.0
"""Seconds after which consumers share passes over the images."""

_MOST_BYTES = 2 << 30  # of moments at a time


@dataclass(frozen=True, slots=True)
class Images:
    """Images of a recovery: those that it learns from, and those that judge it.

    Both have shape (images, channels, height, width). `labels` are those of the judging ones, None without any.
    """

    data: str
    learned: torch.Tensor
    judging: torch.Tensor
    labels: torch.Tensor | None


def recover(
    dense: nn.Module, pruned: nn.Module, sites: Sequence[Site], images: Images, kind: Recover, progress: Progress
) -> Recovery:
    """Recover `pruned` in place, from what `dense` does on the same images.

    Raises:
        InputError: a network gives values that are no numbers, or is no classifier.
    """
    began_s = time.monotonic()
    judge = Judge.of(dense, images.judging, images.labels)
    steps = [judge.step("pruned", pruned)]
    norms = batch_norms(pruned)
    folds: dict[str, Fold] = {}
    if norms:
        renewed = copy.deepcopy(pruned) if kind == "linear" else pruned
        recalibrate(renewed, torch.split(images.learned, BATCH))
        steps.append(judge.step("batch norms", renewed))
    if kind == "linear":
        folds = fold_all(dense, pruned, sites, images.learned, progress)
        recalibrate(pruned, torch.split(images.learned, BATCH))
        steps.append(judge.step("fold", pruned))
    return Recovery(
        data=images.data,
        images=len(images.learned),
        judged=len(images.judging),
        seconds=time.monotonic() - began_s,
        steps=tuple(steps),
        folds=tuple(
            FoldRecord(layer=name, error_before=each.error_before, error_after=each.error_after, kept=each.helps)
            for name, each in folds.items()
        ),
        batch_norms=len(norms),
        dense_top1=judge.dense_top1,
        warnings=tuple(_warnings(kind, folds, len(norms))),
    )


def _warnings(kind: Recover, folds: dict[str, Fold], norms: int) -> Iterator[str]:
    if kind == "bn" and not norms:
        yield "the network has no batch norm, so nothing was recovered"
    if folds and not any(each.helps for each in folds.values()):
        yield "no fold lowered the error on held-out images: they may be unlike each other, or too few"


def fold_all(
    dense: nn.Module,
    pruned: nn.Module,
    sites: Sequence[Site],
    images: torch.Tensor,
    progress: Progress,
    *,
    limit_s: float = LIMIT_S,
) -> dict[str, Fold]:
    """Fold what is missing into every consumer of `pruned`, in place.

    `images` have shape (images, channels, height, width). Every second one is held out, and a fold that does not lower the error on
    those is left out. Consumers are taken in the order in which they run, each behind those that are already folded. Where one pass
    for each would take longer than `limit_s`, several share a pass.

    Raises:
        InputError: an activation is no number.
    """
    order = _order(dense, sites, images)
    folds: dict[str, Fold] = {}
    started_s, passes_left = time.monotonic(), len(order)
    while len(folds) < len(order):
        progress.advance(len(folds), len(order), f"folding into {order[len(folds)].name}")
        began_s = time.monotonic()
        wave = _wave(order[len(folds) :], passes_left)
        fitted, held_out = (_moments(dense, pruned, wave, half) for half in (images[0::2], images[1::2]))
        for site in wave:
            layer: Layer = dense.get_submodule(site.name)  # type: ignore[assignment]
            _require_numbers(site, fitted[site.name], held_out[site.name])
            found = fold(layer, site, fitted[site.name], held_out[site.name], before_norm=_is_before_norm(layer, pruned))
            folds[site.name] = found
            if found.helps:
                _put(pruned.get_submodule(site.name), found)
        now_s = time.monotonic()
        affordable = int((limit_s - (now_s - started_s)) / (now_s - began_s))
        passes_left = max(1, min(len(order) - len(folds), affordable))
    return folds


def _wave(sites: Sequence[Site], passes: int) -> Sequence[Site]:
    """Return the next sites that share a pass, as many as memory allows."""
    wanted = sites[: -(-len(sites) // passes)]
    used, count = 0, 0
    for site in wanted:
        used += 3 * 8 * 2 * int(site.inputs.max() + 1) ** 2
        if count and used > _MOST_BYTES:
            break
        count += 1
    return wanted[:count]


def _require_numbers(site: Site, *moments: Moments) -> None:
    if not all(bool(torch.isfinite(each.dense).all() and torch.isfinite(each.pruned).all()) for each in moments):
        raise InputError(
            f"the inputs of {site.name} are no numbers on these images",
            fix="check the weights, or name other images with `calibration`",
        )


def _is_before_norm(layer: nn.Module, model: nn.Module) -> bool:
    # Convolutions without a bias are those that a norm follows.
    return isinstance(layer, nn.Conv2d) and layer.bias is None and bool(batch_norms(model))


def _put(layer: nn.Module, found: Fold) -> None:
    with torch.no_grad():
        layer.weight.copy_(found.weight)  # type: ignore[operator]
        if found.bias is not None:
            layer.bias.copy_(found.bias)  # type: ignore[operator]


def _order(dense: nn.Module, sites: Sequence[Site], images: torch.Tensor) -> list[Site]:
    """Return the sites in the order in which they run.

    Those that do not run, or that run several times, are left out.
    """
    ran: list[str] = []
    with _watching(dense, sites, lambda site, _layer, _inputs: ran.append(site.name)), torch.no_grad():
        dense(images[:1])
    by_name = {site.name: site for site in sites}
    return [by_name[name] for name in dict.fromkeys(ran) if ran.count(name) == 1]


def _moments(dense: nn.Module, pruned: nn.Module, sites: Sequence[Site], images: torch.Tensor) -> dict[str, Moments]:
    moments = {site.name: Moments() for site in sites}
    seen: dict[str, torch.Tensor] = {}

    def keep(site: Site, layer: Layer, inputs: torch.Tensor) -> None:
        seen[site.name] = samples_of(layer, inputs)

    def add(site: Site, layer: Layer, inputs: torch.Tensor) -> None:
        moments[site.name].add(seen.pop(site.name), samples_of(layer, inputs))

    for batch in torch.split(images, BATCH):
        with torch.no_grad():
            with _watching(dense, sites, keep):
                dense(batch)
            with _watching(pruned, sites, add), batch_statistics(pruned):
                pruned(batch)
    return moments


Watch = Callable[[Site, Layer, torch.Tensor], None]


@contextmanager
def _watching(model: nn.Module, sites: Sequence[Site], watch: Watch) -> Iterator[None]:
    """Hand every input of the sites to `watch`."""
    with ExitStack() as stack:
        for site in sites:

            def hook(layer: nn.Module, arguments: tuple[torch.Tensor, ...], site: Site = site) -> None:
                watch(site, layer, arguments[0])  # type: ignore[arg-type]

            handle = model.get_submodule(site.name).register_forward_pre_hook(hook)
            stack.callback(handle.remove)
        yield
