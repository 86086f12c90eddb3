"""Layers of a dense and a pruned model's traces, joined.

Times are scaled to those measured without a profiler.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import fsum

from prune_deploy.records import BETWEEN_LAYERS, LayerTime, Trace

_LAYOUT_OPS = re.compile(
    r"reorder|reformat|transpose|permute|shuffle|contiguous|copy|clone|memcpy|^(de)?quantizelinear$|^cast$", re.IGNORECASE
)
"""Operators that move values or change their type and compute nothing, as ONNX Runtime, PyTorch and TensorRT call them."""

_EIGHT_BIT_OR_CHANNELS_LAST = re.compile(r"^(QLinear|Nhwc)")
# An addition is one whether ONNX Runtime calls it Add or QLinearAdd.


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model's side of a layer: sums over its kernels.

    Values are None where the runtime does not report them.
    """

    time_us: float
    count: int
    macs: int | None
    bytes_moved: int | None
    weight_shape: tuple[int, ...]
    channels: int | None
    kernels: tuple[str, ...]

    @property
    def is_blocked(self) -> bool:
        """Return whether it ran in a kernel of the blocked layout NCHWc."""
        return any("nchwc" in kernel.lower() for kernel in self.kernels)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPair:
    """Layer in both models, or in one of them.

    `is_layout` tells of copies and changes of layout.
    """

    name: str
    op: str
    dense: Side | None
    pruned: Side | None
    is_layout: bool = False

    @property
    def work_ratio(self) -> float | None:
        """Return the share of its work that is left.

        Work is MACs, or bytes for a layer without MACs. The share is 0 if it is in one model only, and None if it is unknown.
        """
        if self.dense is None or self.pruned is None:
            return 0.0
        if self.dense.macs and self.pruned.macs:
            return self.pruned.macs / self.dense.macs
        if self.has_macs or not (self.dense.bytes_moved and self.pruned.bytes_moved):
            return None
        ratio = self.pruned.bytes_moved / self.dense.bytes_moved
        return min(ratio, 1.0) if self.is_layout else ratio  # more copies are no more work asked for

    @property
    def has_macs(self) -> bool:
        """Return whether it multiplies at all."""
        return any(side is not None and bool(side.macs) for side in (self.dense, self.pruned))


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Two traces, joined.

    `outside_us` are microseconds of a run in which no layer runs, (dense, pruned).
    """

    pairs: tuple[LayerPair, ...]
    outside_us: tuple[float, float]


def join(dense: Trace, pruned: Trace, dense_ms: float, pruned_ms: float) -> Joined:
    """Join the layers of two traces.

    They are joined by parameters, then by the first of them, then by name and op. Changes of layout are joined by their op alone, as their
    names mean nothing. `dense_ms` and `pruned_ms` were measured without a profiler. Layers are scaled to them, and the rest of a run lies
    outside.
    """
    scales = _scale(dense, dense_ms), _scale(pruned, pruned_ms)
    rest = _layers(dense), _layers(pruned)
    pairs: list[LayerPair] = []
    for key, takes_all in _KEYS:
        groups = _grouped(rest[0], key), _grouped(rest[1], key)
        names = dict.fromkeys(name for name in [*groups[0], *groups[1]] if takes_all or (name in groups[0] and name in groups[1]))
        pairs += [_pair((groups[0].get(name, []), groups[1].get(name, [])), scales) for name in names]
        rest = [layer for layer in rest[0] if key(layer) not in names], [layer for layer in rest[1] if key(layer) not in names]
    dense_us, pruned_us = 1000 * dense_ms - scales[0] * _sum(dense), 1000 * pruned_ms - scales[1] * _sum(pruned)
    return Joined(pairs=tuple(pairs), outside_us=(max(0.0, dense_us), max(0.0, pruned_us)))


def is_layout(layer: LayerTime) -> bool:
    """Return whether a layer only copies or changes a layout."""
    return not layer.parameters and _LAYOUT_OPS.search(layer.op) is not None


_KEYS: tuple[tuple[Callable[[LayerTime], Hashable], bool], ...] = (
    (lambda layer: ("layout", layer.op) if is_layout(layer) else None, True),
    (lambda layer: layer.parameters or None, False),
    (lambda layer: layer.parameters[:1] or None, False),
    (lambda layer: (layer.name, _EIGHT_BIT_OR_CHANNELS_LAST.sub("", layer.op)), True),
)
"""Keys by which layers find each other, one after the other.

True stands where those that find none are a pair on their own.
"""


def _scale(trace: Trace, measured_ms: float) -> float:
    """Return measured over traced time.

    The profiler's overhead is taken to lie between layers first, and in them where they exceed a run. Layers and `run_ms` are of the same
    runs. Other runs may have been slower for the machine's own reasons, and that is no time outside.
    """
    return measured_ms * 1000 / max(min(trace.run_ms, trace.untraced_ms) * 1000, _sum(trace))


def _sum(trace: Trace) -> float:
    return fsum(layer.time_us for layer in _layers(trace))


def _layers(trace: Trace) -> list[LayerTime]:
    return [layer for layer in trace.layers if layer.name != BETWEEN_LAYERS]


def _grouped(layers: Sequence[LayerTime], key: Callable[[LayerTime], Hashable]) -> dict[Hashable, list[LayerTime]]:
    groups: dict[Hashable, list[LayerTime]] = {}
    for layer in layers:
        if (group_key := key(layer)) is not None:
            groups.setdefault(group_key, []).append(layer)
    return groups


def _pair(members: tuple[list[LayerTime], list[LayerTime]], scales: tuple[float, float]) -> LayerPair:
    first = (members[1] or members[0])[0]
    layout = is_layout(first)
    sides = [_side(layers, scale) if layers else None for layers, scale in zip(members, scales, strict=True)]
    name = f"every {first.op}" if layout else first.name
    return LayerPair(name=name, op=first.op, dense=sides[0], pruned=sides[1], is_layout=layout)


def _side(layers: Sequence[LayerTime], scale: float) -> Side:
    shape = layers[0].shape
    return Side(
        time_us=scale * fsum(layer.time_us for layer in layers),
        count=len(layers),
        macs=_total([layer.macs for layer in layers]),
        bytes_moved=_total([layer.bytes_moved for layer in layers]),
        weight_shape=next((layer.weight_shape for layer in layers if layer.weight_shape), ()),
        channels=shape[1] if len(shape) == 4 else None,  # (batch, channels, height, width)
        kernels=tuple(dict.fromkeys(f"{layer.op} {layer.kernel}".strip() for layer in layers)),
    )


def _total(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
