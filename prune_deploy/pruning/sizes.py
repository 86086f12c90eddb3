"""Sizes of a sweep's variants, counted on meta copies.

Large models cost seconds. Local widths follow from ratios alone. Scores only say which groups a method cannot score, and that shows
without weights too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from prune_deploy.errors import PruningError, setting
from prune_deploy.models import resolve, skeleton
from prune_deploy.pruning import methods
from prune_deploy.pruning.checks.trial import cut_copy
from prune_deploy.pruning.counting import count
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.planner import Planner, plan_stages
from prune_deploy.pruning.pruner import receipt_of, refuse, scored_plan
from prune_deploy.records import Counts, WidthPlan
from prune_deploy.specs import ModelSpec, PruneSpec, SweepSpec, Variant

Stages = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Size of a variant.

    `counts` is None where making the variant would fail, or where its size depends on weights. Then `reason` says why.
    """

    counts: Counts | None
    reason: str = ""


def sizes(spec: SweepSpec) -> Iterator[tuple[Variant, Size]]:
    """Yield every variant of a sweep with its size.

    They come model by model, the dense one first. A masked model is as large as the dense one.

    Raises:
        InputError: an unknown model or method, or two variants of one name.
    """
    stages = spec.stages()
    for model, variants in spec.models():
        network = _Network(model, stages)
        for variant in variants:
            yield variant, network.size(variant)


class _Network:
    """Meta copy of one model, whose groups are found once."""

    def __init__(self, spec: ModelSpec, stages: Mapping[str, Stages]) -> None:
        resolved = resolve(spec)
        self._input_size = resolved.input_size
        self._model = skeleton(resolved)
        self._dense = count(make_meta_copy(self._model), self._input_size)
        self._stages = stages
        self._counted: dict[WidthPlan, Counts] = {}
        self._staged: dict[tuple[PruneSpec, Stages], Counts] = {}

    def size(self, variant: Variant) -> Size:
        """The size of one of the model's variants."""
        prune = variant.prune
        if prune is None:
            return Size(counts=self._dense)
        if prune.scope != "local":
            return Size(counts=None, reason=f"with {setting('scope', prune.scope)} widths depend on the weights")
        if variant.name in self._stages:
            return Size(counts=self._at_stage(prune, self._stages[variant.name]))
        try:
            return Size(counts=self._pruned(prune))
        except PruningError as error:
            return Size(counts=None, reason=error.message)

    def _pruned(self, spec: PruneSpec) -> Counts:
        planner = self._planner
        planned, _ = scored_plan(planner, spec, planner.meta_copy, methods.create(spec.method, spec.seed))
        refuse(receipt_of(spec, planner, planned, planner.before), spec)
        if planned.plan not in self._counted:
            self._counted[planned.plan] = count(cut_copy(planner.meta_copy, planner.groups, planned.plan), self._input_size)
        return self._counted[planned.plan]

    @cached_property
    def _planner(self) -> Planner:
        """The planner, built for the first variant that needs it.

        A sweep of stages needs none.
        """
        return Planner(self._model, self._input_size)

    def _at_stage(self, spec: PruneSpec, ratios_so_far: Stages) -> Counts:
        """The size at the last of the stages.

        The longest pruning that begins with these stages is planned once.
        """
        settings = _settings(spec)
        if (settings, ratios_so_far) not in self._staged:
            ratios = max((each for each in self._stages.values() if each[: len(ratios_so_far)] == ratios_so_far), key=len)
            for number, (_, counts) in enumerate(plan_stages(self._model, settings, self._input_size, ratios), start=1):
                self._staged[settings, ratios[:number]] = counts
        return self._staged[settings, ratios_so_far]


def _settings(spec: PruneSpec) -> PruneSpec:
    """All that the widths of a stage depend on beside its ratio."""
    return replace(spec, method="l2", ratio=0.5 if spec.ratio is not None else None, steps=1, seed=0)
