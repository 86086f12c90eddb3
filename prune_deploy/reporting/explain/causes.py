"""Causes of a layer's time after pruning, each with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from prune_deploy.records import Cause
from prune_deploy.reporting.explain.alignment import Alignment
from prune_deploy.reporting.explain.layer_pairs import LayerPair, Side
from prune_deploy.reporting.figures.sentence import Sentence, sentence

TOLERANCE = 0.10
"""Largest relative difference of measured and predicted time that counts as predicted.

Times per layer repeat to about this.
"""

_FASTER = 0.5
"""Largest share of the predicted time that is no longer taken for the effect of fewer MACs."""

_NEGLIGIBLE_RUN = 0.0005
_MOST = 0.5
_LITTLE_WORK = 0.25
_FLOOR_FACTOR = 3.0
_FLOOR_LAYERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """Roofline that layers are compared with.

    It holds the machine's bandwidth, the rule of the runtime's kernels, and facts of both traces. `macs_per_us` is the best rate that any
    layer reaches. `floors_us` are the times of the smallest layers of each op ("" for all ops). `run_us` is the pruned model's whole
    run, and `macs_ratio` is dense MACs over pruned ones. `same_network` tells of one network in two precisions.
    """

    bandwidth_gb_s: float
    alignment: Alignment | None
    macs_per_us: float
    floors_us: dict[str, float]
    run_us: float
    macs_ratio: float
    same_network: bool = False

    def bytes_us(self, side: Side) -> float:
        """Microseconds that its bytes need at the measured bandwidth."""
        return (side.bytes_moved or 0) / (1000 * self.bandwidth_gb_s)

    def work_us(self, side: Side) -> float:
        """Microseconds that its work needs at the best rates seen (the roofline)."""
        return max(self.bytes_us(side), (side.macs or 0) / self.macs_per_us if self.macs_per_us else 0.0)


Finding = tuple[Cause, Sentence]
"""A cause and its evidence."""


def find_cause(pair: LayerPair, predicted_us: float, by: Roofline) -> Finding:
    """Find the cause of a layer's time, and the evidence."""
    if pair.is_layout and (added_layout := _added_layout(pair, predicted_us)) is not None:
        return added_layout
    if pair.dense is None or pair.pruned is None:
        return _one_sided(pair, by)
    ratio, time_us = pair.work_ratio, pair.pruned.time_us
    as_fast = time_us <= predicted_us * (1 + TOLERANCE) + by.run_us * _NEGLIGIBLE_RUN
    if ratio is None:
        evidence = sentence("unknown-work", times=time_us / pair.dense.time_us, macs_left=1 / by.macs_ratio)
        return ("as-predicted" if as_fast else "other"), evidence
    if by.same_network:
        return _other_precision(pair, pair.dense, pair.pruned, as_fast)
    if as_fast:
        return _as_predicted(pair, ratio, by)
    return _slower(pair, pair.dense, pair.pruned, predicted_us, by)


def roofline(
    pairs: Sequence[LayerPair],
    *,
    bandwidth_gb_s: float,
    alignment: Alignment | None,
    run_us: float,
    macs_ratio: float,
    same_network: bool = False,
) -> Roofline:
    """Return the roofline of a joined pair of traces."""
    sides = [(pair.op, side) for pair in pairs for side in (pair.dense, pair.pruned) if side is not None and side.time_us > 0]
    total_us = sum(side.time_us for _, side in sides)
    # Layers that hardly count are measured too badly to be the best.
    rates = [side.macs / side.time_us for _, side in sides if side.macs and side.time_us > 0.005 * total_us]
    rough = Roofline(
        bandwidth_gb_s=bandwidth_gb_s,
        alignment=alignment,
        macs_per_us=max(rates, default=0.0),
        floors_us={},
        run_us=run_us,
        macs_ratio=macs_ratio,
        same_network=same_network,
    )
    idle = [(op, side.time_us / side.count) for op, side in sides if rough.work_us(side) < _LITTLE_WORK * side.time_us]
    by_op = {op: _floor([time_us for other, time_us in idle if other == op]) for op, _ in idle}
    return replace(rough, floors_us={"": _floor([time_us for _, time_us in idle]), **by_op})


def _floor(times_us: Sequence[float]) -> float:
    """Return the median time of the smallest fifth.

    It is 0 where there are too few to tell.
    """
    smallest = sorted(times_us)[: max(_FLOOR_LAYERS, len(times_us) // 5)]
    return median(smallest) if len(smallest) >= _FLOOR_LAYERS else 0.0


def _added_layout(pair: LayerPair, predicted_us: float) -> Finding | None:
    """Judge a copy or a change of layout.

    It counts where the dense model has none, or fewer.
    """
    before, after = pair.dense, pair.pruned
    counts = sentence("copies", count=after.count if after else 0, dense_count=before.count if before else 0)
    if before is None or after is None or after.count > before.count:
        return "reformat", counts
    is_slower = after.time_us > predicted_us * (1 + TOLERANCE) and after.count == before.count
    return ("reformat", counts) if is_slower else None


def _one_sided(pair: LayerPair, by: Roofline) -> Finding:
    """Judge a layer that only one of the two graphs has."""
    side, rule = pair.pruned, by.alignment
    if side is None:
        return "other", sentence("dense-only")
    if rule is not None and rule.has_blocked and side.channels is not None and not rule.fits(side.channels) and not pair.has_macs:
        return "misaligned", sentence("not-fused", channels=side.channels, multiple=rule.block)
    return "other", sentence("pruned-only")


def _other_precision(pair: LayerPair, before: Side, after: Side, as_fast: bool) -> Finding:
    """Judge a layer that does the same work in another precision."""
    work, times = "MACs" if pair.has_macs else "work", after.time_us / before.time_us
    if as_fast or after.kernels == before.kernels:
        return ("as-predicted" if as_fast else "kernel"), sentence("same-work", work=work, times=times)
    return "kernel", sentence("other-kernel", work=work, times=times, kernel=after.kernels[0], dense_kernel=before.kernels[0])


def _as_predicted(pair: LayerPair, ratio: float, by: Roofline) -> Finding:
    """Judge a layer that is at least as fast as predicted."""
    assert pair.dense is not None, "one-sided layers are looked at before"
    assert pair.pruned is not None, "one-sided layers are looked at before"
    work, times = _work(pair), pair.pruned.time_us / pair.dense.time_us
    if ratio >= 1:
        return "not-pruned", sentence("kept-size", work=work, times=times)
    if not pair.has_macs and by.bytes_us(pair.pruned) >= _MOST * pair.pruned.time_us:
        return "memory-bound", sentence("only-bytes", **_rate(pair.pruned, by), left=ratio, times=times)
    if not pair.has_macs and (floor_us := _near_floor(pair, by)):
        return "overhead-bound", sentence("no-work", floor_us=floor_us, time_us=pair.pruned.time_us)
    if pair.pruned.time_us < _FASTER * ratio * pair.dense.time_us:
        before, after = ((side.kernels or ("",))[0] for side in (pair.dense, pair.pruned))
        if after and after != before:
            return "faster", sentence("faster-kernel", left=ratio, work=work, times=times, kernel=after, dense_kernel=before)
        return "faster", sentence("faster", left=ratio, work=work, times=times)
    return "as-predicted", sentence("as-predicted", left=ratio, work=work, times=times)


def _slower(pair: LayerPair, dense: Side, pruned: Side, predicted_us: float, by: Roofline) -> Finding:
    """Judge a layer that is slower than its own work predicts."""
    if (evidence := _lost_kernel(dense, pruned, by.alignment)) is not None:
        return "misaligned", evidence
    if floor_us := _near_floor(pair, by):
        return "overhead-bound", sentence("little-work", work_us=by.work_us(pruned), time_us=pruned.time_us, floor_us=floor_us)
    excess_us = pruned.time_us - predicted_us
    if (waste := _padding_waste(dense, pruned, by.alignment)) > 0 and predicted_us * waste >= _MOST * excess_us:
        assert by.alignment is not None, "nothing is known to be padded without a rule"
        return "misaligned", sentence("padded", widths=pruned.weight_shape[:2], multiple=by.alignment.block, waste=waste)
    left, work = pair.work_ratio, _work(pair)
    if (used := by.bytes_us(pruned) / pruned.time_us) >= _MOST:
        return "memory-bound", sentence("many-bytes", **_rate(pruned, by), left=left, work=work)
    times = pruned.time_us / dense.time_us
    return "other", sentence("unexplained", times=times, left=left, work=work, memory_share=used, padding_share=waste)


def _work(pair: LayerPair) -> str:
    """Return the unit in which its work is counted."""
    return "MACs" if pair.has_macs else "bytes"


def _lost_kernel(dense: Side, pruned: Side, rule: Alignment | None) -> Sentence | None:
    """State that a layer lost its blocked kernel to its channels.

    The result is None if it did not.
    """
    if rule is None or not rule.has_blocked or not dense.is_blocked or pruned.is_blocked:
        return None
    if len(pruned.weight_shape) > 1:
        # The trace does not say if the convolution is grouped. Where plain channels would fit, it must be.
        why = rule.misfit(pruned.weight_shape) or rule.misfit(pruned.weight_shape, grouped=True)
    else:
        misfits = pruned.channels is not None and not rule.fits(pruned.channels)
        why = sentence("channels", count=pruned.channels, multiple=rule.block) if misfits else None
    if why is None:
        return None
    return sentence("lost-kernel", why=why, kernel=pruned.kernels[0], dense_kernel=dense.kernels[0])


def _padding_waste(dense: Side, pruned: Side, rule: Alignment | None) -> float:
    """Return the share of MACs that padding adds by pruning.

    Padding that the dense layer had too does not count.
    """
    return 0.0 if rule is None else max(0.0, rule.padding(pruned.weight_shape) / rule.padding(dense.weight_shape) - 1)


def _near_floor(pair: LayerPair, by: Roofline) -> float:
    """Return the time of the smallest layers, if this is one.

    Such a layer does next to nothing and takes hardly more than they. For any other the result is 0.
    """
    side = pair.pruned
    if side is None or by.work_us(side) >= _LITTLE_WORK * side.time_us:
        return 0.0
    floor_us = max(by.floors_us.get("", 0.0), by.floors_us.get(pair.op, 0.0))
    return floor_us if side.time_us / side.count <= _FLOOR_FACTOR * floor_us else 0.0


def _rate(side: Side, by: Roofline) -> dict[str, float]:
    """Return how fast it moves its bytes.

    Through caches this may exceed the memory's bandwidth.
    """
    moved = side.bytes_moved or 0
    return {"moved_bytes": moved, "gb_s": moved / 1000 / side.time_us, "memory_gb_s": by.bandwidth_gb_s}
