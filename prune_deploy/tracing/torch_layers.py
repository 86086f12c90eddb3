"""Layers from torch.profiler's events: inner event's time goes to one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prune_deploy.records import LayerTime
from prune_deploy.tracing.recording import mean_over
from prune_deploy.tracing.torch_modules import Facts, Scope

ATEN = "aten::"


@dataclass(slots=True)
class Spent:
    """Microseconds that a row took, run by run.

    `kernels` shows how they spread over the operators or kernels that did the work.
    """

    op: str
    times_us: list[float]
    kernels: Counter[str] = field(default_factory=Counter)

    def add(self, run: int, operator: Any, on_device: bool) -> None:
        """Add the time of an operator with everything inside it."""
        self.times_us[run] += operator.device_time_total if on_device else operator.cpu_time_total
        for inner in (operator, *descendants(operator)):
            if on_device:
                self.kernels.update({kernel.name: kernel.duration for kernel in inner.kernels})
            else:
                self.kernels[inner.name] += inner.self_cpu_time_total

    @property
    def kernel(self) -> str:
        """The operator or kernel that took most of the time."""
        return max(self.kernels, key=self.kernels.__getitem__, default="")


class Ledger:
    """Time by row, run by run.

    The time between layers has no row here.
    """

    def __init__(self, runs: int, on_device: bool) -> None:
        self._runs, self._on_device = runs, on_device
        self.rows: dict[str, Spent] = {}

    def book(self, run: int, row: str, op: str, operator: Any) -> None:
        """Add an operator to a row."""
        self._row(row, op).add(run, operator, self._on_device)

    def book_kernels(self, run: int, event: Any) -> None:
        """Add the kernels that an event itself launched on a GPU.

        Without an operator around them these are the kernels of a CUDA graph.
        """
        if self._on_device:
            for kernel in event.kernels:
                self._row(kernel.name, "kernel").times_us[run] += kernel.duration

    def _row(self, name: str, op: str) -> Spent:
        return self.rows.setdefault(name, Spent(op, [0.0] * self._runs))

    def layers(self, facts: Mapping[str, Facts], runs: Sequence[int]) -> tuple[LayerTime, ...]:
        """Return the rows as layers, with the known facts about them.

        Times are means over `runs`.
        """
        return tuple(_as_layer(name, spent, runs, facts.get(name)) for name, spent in self.rows.items())


def by_module(roots: Sequence[Any], scopes: Mapping[str, Scope], on_device: bool) -> Ledger:
    """Return the rows of an eager module.

    There is one for each leaf module that calls operators, and for each operator that another module calls itself. `roots` are
    one event per run. `scopes` maps the labels of module events to the modules.
    """
    ledger = Ledger(len(roots), on_device)

    def walk(run: int, event: Any, owner: Scope | None) -> None:
        scope = scopes.get(event.name)
        if scope is None and owner is not None:
            op = event.name.removeprefix(ATEN)
            if owner.is_leaf:
                ledger.book(run, owner.name, type(owner.module).__name__, event)
            else:
                ledger.book(run, owner.row(op), op, event)
            return
        ledger.book_kernels(run, event)
        for child in event.cpu_children:
            walk(run, child, scope)

    for run, root in enumerate(roots):
        walk(run, root, None)
    return ledger


def descendants(event: Any) -> Iterable[Any]:
    """Yield every event within an event."""
    for child in event.cpu_children:
        yield child
        yield from descendants(child)


def _as_layer(name: str, spent: Spent, runs: Sequence[int], facts: Facts | None) -> LayerTime:
    time_us = mean_over(runs, spent.times_us)
    if facts is None:
        return LayerTime(name=name, op=spent.op, time_us=time_us, share=0.0, kernel=spent.kernel)
    return LayerTime(
        name=name,
        op=spent.op,
        time_us=time_us,
        share=0.0,
        shape=facts.shape,
        dtype=facts.dtype,
        parameters=facts.parameters,
        weight_shape=facts.weight_shape,
        macs=facts.macs,
        bytes_moved=facts.bytes_moved,
        kernel=spent.kernel,
    )
