"""The stages of one iterative pruning as bundles, one after the other.

The process keeps the model between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prune_deploy.pipeline import Network
from prune_deploy.records import to_json
from prune_deploy.specs import ExportSpec


class StagedModel:
    """A model at some stage of an iterative pruning.

    `request` is that of any of its stages.
    """

    def __init__(self, request: ExportSpec) -> None:
        from prune_deploy import models
        from prune_deploy.pruning.stages import Stages

        self._identity = _identity(request)
        self._loaded = models.create_model(request.model)
        self._stages = Stages(self._loaded.module, self._loaded.resolved.input_size)
        self._done: list[float] = []

    def can_reach(self, request: ExportSpec, ratios: Sequence[float]) -> bool:
        """Return whether its stages are the first of `ratios` of one pruning."""
        return (
            self._identity == _identity(request)
            and self._done == list(ratios)[: len(self._done)]
            and len(ratios) > len(self._done)
        )

    def go_to(self, request: ExportSpec, ratios: Sequence[float]) -> Network:
        """Prune on to the last of `ratios`, the one of `request`.

        Raises:
            PruningError, InputError: as each stage documents.
        """
        assert request.prune is not None
        for ratio in ratios[len(self._done) :]:
            pruned = self._stages.advance(replace(request.prune, ratio=ratio, steps=max(request.prune.steps, 2)))
            self._done.append(ratio)
        return Network(self._loaded, pruned, replace(pruned.receipt, request=request.prune))


def _identity(request: ExportSpec) -> str:
    """Return what the stages of one pruning share."""
    assert request.prune is not None
    return to_json([request.model, replace(request.prune, ratio=0.5, steps=1)])
