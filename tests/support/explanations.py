"""Explanations of made traces, in figures, as keys and in words."""

from __future__ import annotations

from prune_deploy.records import Cause, Explanation, LayerVerdict, Trace
from prune_deploy.reporting.explain.alignment import Alignment
from prune_deploy.reporting.explain.explanation import Findings, explain, find
from prune_deploy.reporting.figures.sentence import Sentence
from support.made_traces import NCHWC, conv, machine, timing


def explained(dense: Trace, pruned: Trace, alignment: Alignment | None = NCHWC, macs_ratio: float | None = None) -> Explanation:
    """The explanation of two traces that were measured as they were traced."""
    return explain(dense, pruned, timing(dense, pruned, macs_ratio), machine(alignment))


def findings(dense: Trace, pruned: Trace, alignment: Alignment | None = NCHWC, macs_ratio: float | None = None) -> Findings:
    """The same before it is put into words."""
    return find(dense, pruned, timing(dense, pruned, macs_ratio), machine(alignment))


def keys(statements: tuple[Sentence, ...]) -> list[str]:
    """The keys of the statements."""
    return [each.key for each in statements]


def verdict(found: Explanation, name: str) -> LayerVerdict:
    """One layer of an explanation."""
    return next(each for each in found.layers if each.name == name)


def step_ms(found: Explanation, cause: Cause) -> float:
    """The size of a step, 0 where there is none."""
    return sum(step.delta_ms for step in found.steps if step.cause == cause)


def assert_adds_up(found: Explanation) -> None:
    """To the nanosecond, the unit in which steps are computed."""
    nanoseconds = [round(value * 1e6) for value in (found.predicted_ms, *(step.delta_ms for step in found.steps))]
    assert sum(nanoseconds) == round(found.measured_ms * 1e6)


BIG = conv("big", 8000.0, 256, 256)
"""A convolution that sets the best rate, 14.5 MACs a nanosecond."""
