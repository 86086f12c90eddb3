"""Curves of iterative prunings: one point per ratio."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.rows import Row, row


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One step of a curve. `ratio` 0 is the dense model.

    `is_slower` marks a speed-up interval that lies wholly below that of the step before.
    """

    ratio: float
    record: CaseRecord
    row: Row
    is_slower: bool

    @property
    def macs_g(self) -> str:
        """MACs per image in billions, as the published table prints them."""
        return "-" if self.record.counts is None else f"{self.record.counts.macs / 1e9:.2f}"

    @property
    def params_m(self) -> str:
        """Parameters in millions, as the published table prints them."""
        return "-" if self.record.counts is None else f"{self.record.counts.params / 1e6:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """All steps of one model and method, by ascending ratio.

    They share backend, precision and batch size.
    """

    name: str
    model: str
    method: str
    backend: str
    precision: str
    batch: int
    points: tuple[CurvePoint, ...]


def curves(records: Iterable[CaseRecord]) -> list[Curve]:
    """Return the curves in a run's records.

    There is one per model, method, protocol, seed, backend, precision and batch size with pruned variants.
    """
    dense: dict[tuple[object, ...], CaseRecord] = {}
    steps_of: dict[tuple[object, ...], dict[float, CaseRecord]] = {}
    for record in records:
        variant, case = record.variant, record.case
        if variant is None:
            continue
        config = (variant.model, case.backend, case.options.variant, case.precision, case.batch)
        if variant.method == "dense":
            # Several comparisons have the dense model. The first one that was timed stands for all.
            if config not in dense or dense[config].latency is None:
                dense[config] = record
        elif variant.prune is not None and variant.ratio is not None:
            steps_of.setdefault((*config, variant.method, variant.protocol), {})[variant.ratio] = record
    return [_curve(dense.get(key[:5]), steps) for key, steps in steps_of.items()]


def _curve(dense: CaseRecord | None, steps: dict[float, CaseRecord]) -> Curve:
    first = row(next(iter(steps.values())))
    variant = next(iter(steps.values())).variant
    assert variant is not None
    points = [] if dense is None else [CurvePoint(ratio=0.0, record=dense, row=row(dense), is_slower=False)]
    before = points[0].row if points else None
    for ratio in sorted(steps):
        now = row(steps[ratio])
        points.append(CurvePoint(ratio=ratio, record=steps[ratio], row=now, is_slower=_is_slower(before, now)))
        before = now if now.speedup_low is not None else before
    name = f"{first.model} {variant.method} {variant.protocol} {first.backend} {first.precision} batch {first.batch}".replace(
        "  ", " "
    )
    return Curve(
        name=name,
        model=first.model,
        method=variant.method,
        backend=first.backend,
        precision=first.precision,
        batch=first.batch,
        points=tuple(points),
    )


def _is_slower(before: Row | None, now: Row) -> bool:
    """Compare two steps by their speed-ups.

    Both are ratios to the dense model measured beside them, so drift between comparisons is in neither.
    """
    if before is None or now.speedup_high is None:
        return False
    floor = 1.0 if before.role == "dense" else before.speedup_low
    return floor is not None and now.speedup_high < floor
