"""Why a layer takes the time it takes after pruning: each cause with its evidence in numbers, none without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from prune_deploy.records import Cause
from prune_deploy.reporting.explain.alignment import Alignment
from prune_deploy.reporting.explain.layer_pairs import LayerPair, Side
from prune_deploy.reporting.figures.formatting import share

TOLERANCE = 0.10
"""How far a layer's time may be from what its MACs predict and still count as predicted; per-layer times repeat to about this."""

_NEGLIGIBLE_RUN = 0.0005
_MOST = 0.5
_LITTLE_WORK = 0.25
_FLOOR_FACTOR = 3.0
_FLOOR_LAYERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """What layers are measured against: the machine's bandwidth and the runtime's kernels, and what both traces show.

    `macs_per_us` is the best rate that any layer reaches, `floors_us` what the smallest layers of each op take ("" for all ops), `run_us`
    the pruned model's whole run, `macs_ratio` dense MACs over pruned ones. `same_network` tells of one network in two precisions.
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


Finding = tuple[Cause, str]
"""A cause and its evidence."""


def find_cause(pair: LayerPair, predicted_us: float, by: Yardstick) -> Finding:
    """The cause of a layer's time, and the evidence."""
    if pair.is_layout and (found := _added_layout(pair, predicted_us)) is not None:
        return found
    if pair.dense is None or pair.pruned is None:
        return _one_sided(pair, by)
    ratio, time_us = pair.work_ratio, pair.pruned.time_us
    as_fast = time_us <= predicted_us * (1 + TOLERANCE) + by.run_us * _NEGLIGIBLE_RUN
    if ratio is None:
        times = f"×{time_us / pair.dense.time_us:.2f} of the time"
        message = f"{times}; its own work is not known, the network has ×{1 / by.macs_ratio:.2f} of the MACs"
        return ("as-predicted" if as_fast else "other"), message
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
) -> Yardstick:
    """The yardstick of a joined pair of traces."""
    sides = [(pair.op, side) for pair in pairs for side in (pair.dense, pair.pruned) if side is not None and side.time_us > 0]
    total_us = sum(side.time_us for _, side in sides)
    # Layers that hardly count are measured too badly to be the best.
    rates = [side.macs / side.time_us for _, side in sides if side.macs and side.time_us > 0.005 * total_us]
    rough = Yardstick(
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
    """What the smallest fifth takes; 0 where there are too few to tell."""
    smallest = sorted(times_us)[: max(_FLOOR_LAYERS, len(times_us) // 5)]
    return median(smallest) if len(smallest) >= _FLOOR_LAYERS else 0.0


def _added_layout(pair: LayerPair, predicted_us: float) -> Finding | None:
    """A copy or a change of layout that the dense model has not, or fewer of."""
    before, after = pair.dense, pair.pruned
    if before is None or after is None:
        counts = f"{after.count if after else 0} of them, the dense model has {before.count if before else 0}"
        return "reformat", f"moves or converts values and computes nothing; {counts}"
    if after.count > before.count or (after.time_us > predicted_us * (1 + TOLERANCE) and after.count == before.count):
        return (
            "reformat",
            f"moves or converts values and computes nothing; {after.count} of them, the dense model has {before.count}",
        )
    return None


def _one_sided(pair: LayerPair, by: Yardstick) -> Finding:
    """A layer that only one of the two graphs has."""
    side, rule = pair.pruned, by.alignment
    if side is None:
        return "other", "only in the dense model's graph: fused or dropped in the pruned one"
    if rule is not None and rule.has_blocked and side.channels is not None and not rule.fits(side.channels) and not pair.has_macs:
        return "misaligned", f"runs on its own: {side.channels} channels are no multiple of {rule.block}, so it is not fused"
    return "other", "only in the pruned model's graph: the runtime fused the two graphs differently"


def _other_precision(pair: LayerPair, before: Side, after: Side, as_fast: bool) -> Finding:
    """A layer that does the same work in another precision."""
    work = "MACs" if pair.has_macs else "work"
    times = f"the same {work} in ×{after.time_us / before.time_us:.2f} of the time"
    if as_fast:
        return "as-predicted", times
    changed = f"; it runs in {after.kernels[0]} instead of {before.kernels[0]}" if after.kernels != before.kernels else ""
    return "kernel", f"{times}{changed}"


def _as_predicted(pair: LayerPair, ratio: float, by: Yardstick) -> Finding:
    """A layer that is as fast as its own work says, or faster."""
    assert pair.dense is not None, "one-sided layers are looked at before"
    assert pair.pruned is not None, "one-sided layers are looked at before"
    work = "MACs" if pair.has_macs else "bytes"
    times = f"×{pair.pruned.time_us / pair.dense.time_us:.2f} of the time"
    if ratio >= 1:
        return "not-pruned", f"the same {work} as before, {times}"
    if not pair.has_macs and by.bytes_us(pair.pruned) >= _MOST * pair.pruned.time_us:
        return (
            "memory-bound",
            f"no MACs; {_rate(pair.pruned, by)}; ×{ratio:.2f} of the bytes, {times}",
        )
    if not pair.has_macs and (floor_us := _near_floor(pair, by)):
        return (
            "overhead-bound",
            f"next to no work; the smallest of its kind take {floor_us:.1f} µs, it {pair.pruned.time_us:.1f} µs",
        )
    return "as-predicted", f"×{ratio:.2f} of the {work}, {times}"


def _slower(pair: LayerPair, dense: Side, pruned: Side, predicted_us: float, by: Yardstick) -> Finding:
    """A layer that is slower than its own work says."""
    if (left := _left_blocked(dense, pruned, by.alignment)) is not None:
        return "misaligned", left
    if floor_us := _near_floor(pair, by):
        return "overhead-bound", (
            f"its work needs {by.work_us(pruned):.1f} µs, it takes {pruned.time_us:.1f}; the smallest of its kind take {floor_us:.1f} µs"
        )
    excess_us = pruned.time_us - predicted_us
    if (waste := _padding_waste(dense, pruned, by.alignment)) > 0 and predicted_us * waste >= _MOST * excess_us:
        assert by.alignment is not None, "nothing is known to be padded without a rule"
        widths = " × ".join(str(width) for width in pruned.weight_shape[:2])
        return (
            "misaligned",
            f"{widths} channels are padded to multiples of {by.alignment.block}: {share(waste)} more MACs than needed",
        )
    if (used := by.bytes_us(pruned) / pruned.time_us) >= _MOST:
        return "memory-bound", f"{_rate(pruned, by)}; ×{pair.work_ratio:.2f} of the {'MACs' if pair.has_macs else 'bytes'}"
    ratio = pair.work_ratio
    return "other", (
        f"×{pruned.time_us / dense.time_us:.2f} of the time for ×{ratio:.2f} of the {'MACs' if pair.has_macs else 'bytes'}; "
        f"memory is {share(used)} of it, padding {share(waste)}"
    )


def _left_blocked(dense: Side, pruned: Side, rule: Alignment | None) -> str | None:
    """What says that a layer lost its blocked kernel to its number of channels; None if it did not."""
    if rule is None or not rule.has_blocked or not dense.is_blocked or pruned.is_blocked:
        return None
    if len(pruned.weight_shape) > 1:
        # Whether it is grouped the trace does not say; where plain channels would fit, it must be.
        why = rule.misfit(pruned.weight_shape) or rule.misfit(pruned.weight_shape, grouped=True)
    else:
        misfits = pruned.channels is not None and not rule.fits(pruned.channels)
        why = f"{pruned.channels} channels are no multiple of {rule.block}" if misfits else ""
    return f"{why}: it runs in {pruned.kernels[0]} instead of {dense.kernels[0]}" if why else None


def _padding_waste(dense: Side, pruned: Side, rule: Alignment | None) -> float:
    """The share of MACs that padding adds to the pruned layer beyond what it added to the dense one."""
    return 0.0 if rule is None else max(0.0, rule.padding(pruned.weight_shape) / rule.padding(dense.weight_shape) - 1)


def _near_floor(pair: LayerPair, by: Yardstick) -> float:
    """What the smallest layers take, if this one does next to nothing and takes hardly more than they; else 0."""
    side = pair.pruned
    if side is None or by.work_us(side) >= _LITTLE_WORK * side.time_us:
        return 0.0
    floor_us = max(by.floors_us.get("", 0.0), by.floors_us.get(pair.op, 0.0))
    return floor_us if side.time_us / side.count <= _FLOOR_FACTOR * floor_us else 0.0


def _rate(side: Side, by: Yardstick) -> str:
    """How fast it moves its bytes; faster than memory is what caches make of it."""
    moved = side.bytes_moved or 0
    size = f"{moved / 1e6:.1f} MB" if moved >= 1e5 else f"{moved / 1e3:.1f} kB"
    return f"moves {size} at {moved / 1000 / side.time_us:.3g} GB/s, and memory gives {by.bandwidth_gb_s:.3g}"
