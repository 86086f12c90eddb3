"""The curve of an iterative pruning, from records."""

from __future__ import annotations

from dataclasses import replace

from prune_deploy.records import CaseRecord
from prune_deploy.reporting.figures.curve import curves
from prune_deploy.specs import ModelSpec, PruneSpec, Variant
from support.run_records import case, case_record, latency, speedup

MODEL = ModelSpec(name="resnet50")


def point(ratio: float | None, ms: float, faster: float | None, backend: str = "ort", half_width: float = 0.01) -> CaseRecord:
    """A step's record; the dense model's without a ratio."""
    prune = None if ratio is None else PruneSpec(ratio=ratio, steps=2)
    return replace(
        case_record(),
        case=case(backend=backend),
        role="dense" if ratio is None else "candidate",
        variant=Variant(model=MODEL, prune=prune),
        latency=latency(ms),
        speedup=None if faster is None else speedup(faster, half_width),
    )


def test_steps_are_in_order_behind_the_dense_model_whatever_their_order_in_the_file() -> None:
    records = [point(0.5, 4, 2.5), point(None, 10, None), point(0.25, 7, 1.4), point(None, 11, None), point(0.25, 3, 2, "eager")]
    ort, eager = curves(records)
    assert [each.ratio for each in ort.points] == [0, 0.25, 0.5]
    assert ort.points[0].row.latency_ms == 10, "the first dense measurement stands for all"
    assert (ort.backend, ort.method, ort.batch) == ("ort", "l2", 1)
    assert [each.ratio for each in eager.points] == [0.25]


def test_a_step_is_slower_only_when_the_intervals_lie_apart() -> None:
    records = [point(None, 10, None), point(0.1, 10.5, 0.95), point(0.2, 10, 1.0), point(0.3, 10.1, 0.99), point(0.4, 12, 0.8)]
    (found,) = curves(records)
    assert [each.is_slower for each in found.points] == [False, True, False, False, True]


def test_a_step_without_figures_is_a_point_and_the_next_is_held_against_the_last_one_timed() -> None:
    lost = replace(
        point(0.5, 1, 1), latency=None, speedup=None, status="failed", counts=None, dense_counts=None, reason="it broke"
    )
    (found,) = curves([point(None, 10, None), lost, point(0.75, 20, 0.5)])
    assert [each.is_slower for each in found.points] == [False, False, True]
    assert [each.macs_g for each in found.points] == ["0.00", "-", "0.00"]


def test_records_without_a_variant_make_no_curve() -> None:
    assert curves([case_record()]) == []
