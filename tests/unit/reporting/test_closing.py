"""The sentences below the terminal's table: what is faster, why the rest is open, and whether the machine was noisy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from prune_deploy.reporting.figures.closing import caution, claim, closing
from prune_deploy.reporting.figures.rows import Row
from prune_deploy.reporting.figures.undecided import TEXTS, in_words, why_undecided


def candidate(**changes: Any) -> Row:
    """A decided case."""
    settings: dict[str, Any] = {
        "bundle": "net-l2-r0.50",
        "model": "net",
        "role": "candidate",
        "backend": "ort",
        "precision": "fp32",
        "batch": 8,
        "device": "cpu",
        "status": "ok",
        "comparison": "one",
        "verdict": "FASTER",
        "margin": 0.01,
        "interval_unit": "launch",
        "speedup": 3.7,
        "speedup_low": 3.6,
        "speedup_high": 3.8,
    }
    return Row(**(settings | changes))


def undecided(low: float | None, high: float | None, **changes: Any) -> Row:
    return candidate(verdict="INCONCLUSIVE", speedup=1.1, speedup_low=low, speedup_high=high, **changes)


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (undecided(None, None), "too-few"),
        (undecided(1.05, 1.15, margin=0.14), "noise"),
        (undecided(1.05, 1.15, interval_unit="round"), "one-launch"),
        (undecided(1.05, 1.15), "clock"),
        (undecided(0.9, 1.3), "wide"),
        (undecided(0.95, 1.25, margin=0.14), "noise"),
    ],
)
def test_an_undecided_row_says_why_and_what_would_decide(row: Row, key: str) -> None:
    assert why_undecided(row).key == key
    text = claim(row)
    assert "is undecided" in text
    assert "would decide" in text
    assert set(TEXTS) >= {key}


def test_the_noise_is_told_in_words_a_user_knows() -> None:
    text = in_words(why_undecided(undecided(1.05, 1.15, margin=0.14)))
    assert text.startswith("the dense model may differ from its own copy by 14% here")
    assert "more than 100%" in in_words(why_undecided(undecided(1.05, 1.15, margin=5.0)))
    assert caution([candidate(margin=0.14), candidate(margin=0.01)]).startswith("Noisy machine: the dense model may differ")
    assert caution([candidate(margin=0.04)]) == ""


def test_each_comparison_closes_with_a_sentence_per_candidate_or_one_for_many() -> None:
    rows = [candidate(role="dense", speedup=None), candidate(), candidate(comparison="two", batch=1)]
    assert closing(rows) == [
        "net-l2-r0.50 is 3.7× [3.6, 3.8] faster than dense on ONNX Runtime at batch 8.",
        "net-l2-r0.50 is 3.7× [3.6, 3.8] faster than dense on ONNX Runtime at batch 1.",
    ]
    many = [
        replace(candidate(), bundle=f"net-{number}", speedup=1.0 + number, speedup_low=0.9 + number, speedup_high=1.1 + number)
        for number in range(5)
    ]
    first, second = closing([*many, undecided(0.9, 1.3)])
    assert "from 1.0× [0.9, 1.1] (net-0) to 5.0× [4.9, 5.1] (net-4)" in first
    assert second.startswith("1 candidate undecided: the interval reaches across 1")


def test_masked_weights_make_no_claim() -> None:
    assert closing([candidate(zeroed=True)]) == []
