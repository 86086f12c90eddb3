"""Iterative pruning in stages, each of which starts from the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from prune_deploy.pruning import methods
from prune_deploy.pruning.apply import cut, select
from prune_deploy.pruning.counting import count
from prune_deploy.pruning.find_groups import GroupAnalysis
from prune_deploy.pruning.groups.depgraph import DEFAULT_TIME_LIMIT_S
from prune_deploy.pruning.meta_copy import make_meta_copy
from prune_deploy.pruning.planner import Planner
from prune_deploy.pruning.pruner import Pruned, compose, receipt_of, refuse, scored_plan, wrongly_mapped_groups
from prune_deploy.records import Counts, Selection
from prune_deploy.specs import PruneSpec


class Stages:
    """Model that is pruned in place, stage by stage.

    Ratios refer to the dense widths, and channels are scored anew at each stage. `input_size` is (channels, height, width).
    `limit_s` bounds the building of each stage's dependency graph, in seconds.
    """

    def __init__(self, model: nn.Module, input_size: tuple[int, int, int], *, limit_s: float = DEFAULT_TIME_LIMIT_S) -> None:
        self._model = model
        self._input_size = input_size
        self._limit_s = limit_s
        self._dense: Mapping[str, int] | None = None
        self._before: Counts | None = None
        self._selection: Selection | None = None
        self._analysis: GroupAnalysis | None = None

    def advance(self, spec: PruneSpec) -> Pruned:
        """Prune on to the ratio of `spec`.

        Widths and selection of the result are counted from the dense model.

        Raises:
            PruningError: nothing of the dense model would be gone, or less than asked without `allow_shortfall`.
            InputError: the request does not fit the model.
        """
        planner = Planner(self._model, self._input_size, dense=self._dense, limit_s=self._limit_s, analysis=self._analysis)
        self._analysis = planner.analysis
        if self._dense is None or self._before is None or self._selection is None:
            self._dense, self._before = planner.dense, planner.before
            self._selection = Selection(kept={g.name: tuple(range(g.channels)) for g in planner.groups})
        method = methods.create(spec.method, spec.seed)
        protected = wrongly_mapped_groups(planner, spec, self._model)
        planned, scores = scored_plan(planner, spec, self._model, method, protected=protected)
        plan = planned.plan
        from_dense = replace(plan, groups=tuple(replace(w, channels=self._dense[w.name]) for w in plan.groups))
        receipt = receipt_of(spec, planner, replace(planned, plan=from_dense), self._before)
        refuse(receipt, spec)
        chosen = select(planner.groups, plan, scores)
        cut(self._model, planner.groups, plan, chosen)
        self._selection = compose(self._selection, chosen)
        after = count(make_meta_copy(self._model), self._input_size)
        return Pruned(from_dense, self._selection, replace(receipt, after=after))
