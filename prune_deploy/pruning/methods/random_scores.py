"""Random scores: the control that any criterion has to beat."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from prune_deploy.interfaces import LayerGroup, Method
from prune_deploy.pruning.methods.base import WeightsOnly

if TYPE_CHECKING:
    import torch


class RandomScores(WeightsOnly):
    """Uniform scores that depend on the seed and the group's name alone.

    The order of the groups therefore has no effect.
    """

    name = "random"
    summary = "uniformly random scores, seeded"
    source = "Li et al., Revisiting Random Channel Pruning, CVPR 2022 (arXiv 2205.05676)"

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def scores(self, group: LayerGroup) -> torch.Tensor | None:
        """Return scores of shape (channels,)."""
        import torch  # not at the top: methods are listed without it

        # The seed goes into the hash, because PyTorch's CPU generator uses the low 32 bits only.
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self._seed} {group.name}".encode()))
        return torch.rand(group.channels, generator=generator)


METHODS: dict[str, Callable[[int], Method]] = {"random": RandomScores}
