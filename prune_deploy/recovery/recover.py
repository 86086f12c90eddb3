"""Recovery of a pruned network, consumer by consumer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from prune_deploy.recovery.batchnorm import batch_norms, batch_statistics, recalibrate
from prune_deploy.recovery.fold import Fold, fold
from prune_deploy.recovery.moments import Moments, samples_of
from prune_deploy.recovery.sites import Layer, Site

BATCH = 64


def recover_linear(
    dense: nn.Module, pruned: nn.Module, sites: Sequence[Site], images: torch.Tensor, *, limit_s: float = 60.0
) -> dict[str, Fold]:
    """Fold what is missing into every consumer of `pruned`, in place.

    `images` have shape (images, channels, height, width). Every second one is held out, and a fold that does not lower the error on
    those is left out. Consumers are taken in the order in which they run, each behind those that are already folded. Where one pass
    for each would take longer than `limit_s`, several share a pass.
    """
    order = _order(dense, sites, images)
    halves = images[0::2], images[1::2]
    folds: dict[str, Fold] = {}
    position, started_s = 0, time.monotonic()
    passes_left = len(order)
    while position < len(order):
        wave = order[position : position + math.ceil((len(order) - position) / passes_left)]
        began_s = time.monotonic()
        fitted, held_out = (_moments(dense, pruned, wave, half) for half in halves)
        for site in wave:
            layer: Layer = dense.get_submodule(site.name)  # type: ignore[assignment]
            found = fold(layer, site, fitted[site.name], held_out[site.name], before_norm=_is_before_norm(layer, pruned))
            folds[site.name] = found
            if found.helps:
                _put(pruned.get_submodule(site.name), found)
        position += len(wave)
        now_s = time.monotonic()
        affordable = max(1, int((limit_s - (now_s - started_s)) / (now_s - began_s)))
        passes_left = max(1, min(len(order) - position, affordable))
    return folds


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

    Those that do not run are left out.
    """
    ran: list[str] = []
    with _watching(dense, sites, lambda site, _layer, _inputs: ran.append(site.name)), torch.no_grad():
        dense(images[:1])
    by_name = {site.name: site for site in sites}
    return [by_name[name] for name in dict.fromkeys(ran)]


def _moments(dense: nn.Module, pruned: nn.Module, sites: Sequence[Site], images: torch.Tensor) -> dict[str, Moments]:
    moments = {site.name: Moments() for site in sites}
    for batch in images.split(BATCH):  # type: ignore[no-untyped-call]
        seen: dict[str, list[torch.Tensor]] = {site.name: [] for site in sites}

        def keep(site: Site, layer: Layer, inputs: torch.Tensor, seen: dict[str, list[torch.Tensor]] = seen) -> None:
            seen[site.name].append(samples_of(layer, inputs))

        def add(site: Site, layer: Layer, inputs: torch.Tensor, seen: dict[str, list[torch.Tensor]] = seen) -> None:
            moments[site.name].add(seen[site.name].pop(0), samples_of(layer, inputs))

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
            layer = model.get_submodule(site.name)

            def hook(layer: nn.Module, arguments: tuple[torch.Tensor, ...], site: Site = site) -> None:
                watch(site, layer, arguments[0])  # type: ignore[arg-type]

            handle = layer.register_forward_pre_hook(hook)
            stack.callback(handle.remove)
        yield


__all__ = ["BATCH", "recalibrate", "recover_linear"]
