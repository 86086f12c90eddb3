"""Waterfall from predicted to measured time, made from two traces.

A layer's part of the gap has two summands. One is its time beyond the prediction of its own MACs. The other arises where its MACs cost
more time than the average and it lost fewer of them than the average. Let d and p be its dense and pruned time, m its dense MACs, and r
the share of them that is left. Let R be the network's MACs ratio and e the dense model's time per MAC. The part is
(p - d r) + (d - e m) (r - 1/R). Summed over all layers e cancels, and the sum is the gap. Layers without MACs go by the bytes they move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum

from prune_deploy.records import BETWEEN_LAYERS, Cause, Estimate, Explanation, LayerVerdict, Trace, WaterfallStep
from prune_deploy.reporting.explain.advice import advise, tell
from prune_deploy.reporting.explain.alignment import Alignment
from prune_deploy.reporting.explain.causes import Roofline, find_cause, roofline
from prune_deploy.reporting.explain.layer_pairs import Joined, LayerPair, join
from prune_deploy.reporting.explain.wording import in_words
from prune_deploy.reporting.figures.sentence import Sentence, sentence

_NS_PER_MS = 1_000_000
_IDLE_SHARE = 0.10
"""From this share of a run on, time without a layer is the cost of starting layers.

Below, it belongs to the unexplained part.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Medians of both models, measured without a profiler.

    `macs_ratio` is dense MACs over pruned ones, attention included.
    """

    dense_ms: float
    measured_ms: float
    macs_ratio: float
    speedup: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Machine of a measurement: memory bandwidth and the rule for channels.

    Read and written bytes count once each.
    """

    bandwidth_gb_s: float
    alignment: Alignment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Findings of two traces, before they are put into words.

    `figures` is the explanation without sentences and advice. `evidence` has a statement for each layer, by its name.
    """

    figures: Explanation
    evidence: Mapping[str, Sentence]
    sentences: tuple[Sentence, ...]
    advice: tuple[Sentence, ...]

    def explanation(self) -> Explanation:
        """The record, with its texts."""
        return replace(self.figures, sentences=tuple(map(in_words, self.sentences)), advice=tuple(map(in_words, self.advice)))


def explain(dense: Trace, pruned: Trace, timing: Timing, machine: Machine) -> Explanation:
    """Explain the pruned model's time.

    The steps add up to the measured time to the nanosecond. With two traces of one bundle in two
    precisions, the first is what the second is compared with.
    """
    return find(dense, pruned, timing, machine).explanation()


def find(dense: Trace, pruned: Trace, timing: Timing, machine: Machine) -> Findings:
    """Find causes, evidence and advice, as `explain` does, as keys with values."""
    joined = join(dense, pruned, timing.dense_ms, timing.measured_ms)
    against = dense.case.precision if dense.label == pruned.label and dense.case.precision != pruned.case.precision else ""
    by = roofline(
        joined.pairs,
        bandwidth_gb_s=machine.bandwidth_gb_s,
        alignment=machine.alignment,
        run_us=1000 * timing.measured_ms,
        macs_ratio=timing.macs_ratio,
        same_network=bool(against),
    )
    us_per_mac = _us_per_mac(joined.pairs)
    judged = [*(_judge(pair, by, us_per_mac) for pair in joined.pairs), _outside(joined, by)]
    layers = sorted((layer for layer, _ in judged), key=lambda layer: -abs(layer.delta_ms))
    predicted_ms = _rounded(timing.dense_ms / timing.macs_ratio)
    measured_ms = _rounded(timing.measured_ms)
    figures = Explanation(
        case=pruned.case,
        label=pruned.label,
        dense_ms=timing.dense_ms,
        predicted_ms=predicted_ms,
        measured_ms=measured_ms,
        macs_ratio=timing.macs_ratio,
        speedup=timing.speedup,
        bandwidth_gb_s=machine.bandwidth_gb_s,
        steps=_steps(layers, predicted_ms, measured_ms),
        layers=tuple(layers),
        sentences=(),
        advice=(),
        against=against,
    )
    return Findings(
        figures=figures,
        evidence={layer.name: statement for layer, statement in judged},
        sentences=tell(figures, machine.alignment, _unknown_share(joined.pairs)),
        advice=advise(figures, machine.alignment),
    )


Judged = tuple[LayerVerdict, Sentence]
"""A layer's verdict, and its evidence before it is put into words."""


def _judge(pair: LayerPair, by: Roofline, us_per_mac: float) -> Judged:
    """Judge one layer: predicted time, cause, and its part of the gap."""
    dense_us = pair.dense.time_us if pair.dense is not None else 0.0
    pruned_us = pair.pruned.time_us if pair.pruned is not None else 0.0
    macs = (pair.dense.macs or 0) if pair.dense is not None else 0
    ratio = pair.work_ratio
    # Nothing known of its work: it is compared with the whole network's ratio. In another precision the work is all there, in fewer bytes.
    left = 1 / by.macs_ratio if ratio is None or by.same_network else ratio
    predicted_us = dense_us * left
    cause, evidence = find_cause(pair, predicted_us, by)
    delta_us = (pruned_us - predicted_us) + (dense_us - us_per_mac * macs) * (left - 1 / by.macs_ratio)
    verdict = LayerVerdict(
        name=pair.name,
        op=pair.op,
        dense_us=dense_us,
        pruned_us=pruned_us,
        predicted_us=predicted_us,
        cause=cause,
        evidence=in_words(evidence),
        delta_ms=_rounded(delta_us / 1000),
    )
    return verdict, evidence


def _outside(joined: Joined, by: Roofline) -> Judged:
    """Judge the time between layers, as a row of its own."""
    dense_us, pruned_us = joined.outside_us
    predicted_us = dense_us / by.macs_ratio
    idle = pruned_us / by.run_us
    cause: Cause = "overhead-bound" if idle >= _IDLE_SHARE else "other"
    evidence = sentence("idle", idle_share=idle)
    verdict = LayerVerdict(
        name=BETWEEN_LAYERS,
        op="",
        dense_us=dense_us,
        pruned_us=pruned_us,
        predicted_us=predicted_us,
        cause=cause,
        evidence=in_words(evidence),
        delta_ms=_rounded((pruned_us - predicted_us) / 1000),
    )
    return verdict, evidence


def _us_per_mac(pairs: Sequence[LayerPair]) -> float:
    """The dense model's microseconds per MAC, over the layers that have any."""
    sides = [pair.dense for pair in pairs if pair.dense is not None and pair.dense.macs]
    macs = sum(side.macs or 0 for side in sides)
    return fsum(side.time_us for side in sides) / macs if macs else 0.0


def _steps(layers: Sequence[LayerVerdict], predicted_ms: float, measured_ms: float) -> tuple[WaterfallStep, ...]:
    """Return one step per cause, computed in whole nanoseconds.

    The largest comes first, and "other" last, which takes the rest.
    """
    deltas_ns: dict[Cause, int] = {}
    counts: dict[Cause, int] = {}
    for layer in layers:
        deltas_ns[layer.cause] = deltas_ns.get(layer.cause, 0) + _ns(layer.delta_ms)
        counts[layer.cause] = counts.get(layer.cause, 0) + (layer.name != BETWEEN_LAYERS)
    explained_ns = sum(delta_ns for cause, delta_ns in deltas_ns.items() if cause != "other")
    deltas_ns["other"] = _ns(measured_ms) - _ns(predicted_ms) - explained_ns
    ordered = sorted(deltas_ns, key=lambda cause: (cause == "other", -abs(deltas_ns[cause])))
    return tuple(
        WaterfallStep(cause=cause, delta_ms=deltas_ns[cause] / _NS_PER_MS, layers=counts.get(cause, 0)) for cause in ordered
    )


def _unknown_share(pairs: Sequence[LayerPair]) -> float:
    """Return the share of the pruned model's time in unknown kernels.

    These are without a counterpart in the dense model, or of unknown work.
    """
    pruned = [pair for pair in pairs if pair.pruned is not None and not pair.is_layout]
    unknown = [pair for pair in pruned if pair.dense is None or pair.work_ratio is None]
    total_us = _pruned_us(pruned)
    return _pruned_us(unknown) / total_us if total_us else 0.0


def _pruned_us(pairs: Sequence[LayerPair]) -> float:
    return fsum(pair.pruned.time_us for pair in pairs if pair.pruned is not None)


def _ns(value_ms: float) -> int:
    return round(value_ms * _NS_PER_MS)


def _rounded(value_ms: float) -> float:
    """To whole nanoseconds, so that sums are exact."""
    return _ns(value_ms) / _NS_PER_MS
