"""The texts of a run's summary, by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prune_deploy.reporting.figures.formatting import number, percent, times
from prune_deploy.reporting.figures.naming import backend_title, plural
from prune_deploy.reporting.figures.sentence import Sentence, Texts, render

ALL_NAMED = 4
"""Up to this many cases or models are named one by one."""

_VERDICTS = {"FASTER": "faster than dense", "SLOWER": "slower", "SAME": "the same", "INCONCLUSIVE": "undecided"}


def in_words(statement: Sentence) -> str:
    """Write one statement of a summary as text."""
    return render(statement, TEXTS)


def _unfinished(done: int, planned: int) -> str:
    return f"The run is not finished: {done} of {plural(planned, 'case')} so far."


def _open(done: int) -> str:
    return f"The run is not finished: {plural(done, 'case')} so far."


def _claim(verdict: str, bundle: str, backend: str, batch: int, precision: str = "fp32", **span: float | None) -> str:
    """One case against its dense model."""
    where = f"on {backend_title(backend)}{'' if precision == 'fp32' else f' in {precision.upper()}'} at batch {batch}"
    claims = {
        "FASTER": f"{bundle} is {_span(**span)} faster than dense {where}.",
        "SLOWER": f"{bundle} is slower than dense {where}: {_span(**span)} its speed.",
        "SAME": f"{bundle} is as fast as dense {where}: {_span(**span)}.",
    }
    return claims.get(verdict, f"Whether {bundle} is faster than dense {where} is undecided: {_span(**span)}.")


def _counts(cases: int, verdicts: Mapping[str, int]) -> str:
    if len(verdicts) == 1:
        return f"All {cases} measured cases are {_VERDICTS[next(iter(verdicts))]}."
    parts = [f"{verdicts[verdict]} {word}" for verdict, word in _VERDICTS.items() if verdicts.get(verdict)]
    return f"Of {plural(cases, 'measured case')}, {_listed(parts)}."


def _range(model: str, backend: str, batch: int, ends: Sequence[Mapping[str, Any]]) -> str:
    spans = [f"{_span(end['speedup'], end['low'], end['high'])} ({end['bundle']})" for end in ends]
    reach = spans[0] if len(spans) == 1 else f"from {spans[0]} to {spans[1]}"
    return f"{model} on {backend_title(backend)} at batch {batch}: {reach}."


def _undecided(configs: Sequence[tuple[str, str]]) -> str:
    named = [f"{model} on {backend_title(backend)}" for model, backend in configs]
    return f"Nothing is decided at the largest batch of {_listed(named)}."


def _slower(cases: Sequence[Mapping[str, Any]], more: int) -> str:
    named = [
        f"{case['bundle']} on {backend_title(case['backend'])} at batch {case['batch']} at "
        f"{_span(case['speedup'], case['low'], case['high'])}"
        for case in cases
    ]
    return f"Slower than dense: {_listed([*named, *([f'{more} more'] if more else [])])}."


def _slower_steps(model: str, backend: str, steps: Sequence[tuple[int, Sequence[float]]]) -> str:
    named = [f"{_listed([f'{ratio:g}' for ratio in ratios])} at batch {batch}" for batch, ratios in steps]
    return f"Steps of {model}'s curve on {backend_title(backend)} that are slower than the step before: {', '.join(named)}."


def _accuracy(
    model: str, data: str, images: int, note: str, dense: Mapping[str, float | None] | None, ends: Sequence[Mapping[str, Any]]
) -> str:
    spans = [
        f"{_top1(end['top1'], end['low'], end['high'])} ({end['bundle']} on {backend_title(end['backend'])})" for end in ends
    ]
    parts = [*([f"dense {_top1(**dense)}"] if dense else []), *([f"pruned or masked {' to '.join(spans)}"] if spans else [])]
    return f"Top-1 of {model} on {images:,} images of {data}: {', '.join(parts)}.{f' Note: {note}.' if note else ''}"


def _zeroed(bundles: Sequence[str], verdicts: Mapping[str, int]) -> str:
    names = _listed(bundles) if len(bundles) <= ALL_NAMED else plural(len(bundles), "model")
    verdict_text = f", {_listed([f'{count} {verdict}' for verdict, count in verdicts.items()])}" if verdicts else ""
    return f"{names} only had weights set to zero: no dense speed-up expected{verdict_text}."


TEXTS: Texts = {
    "unfinished": _unfinished,
    "open": _open,
    "claim": _claim,
    "counts": _counts,
    "range": _range,
    "undecided": _undecided,
    "slower": _slower,
    "slower-steps": _slower_steps,
    "accuracy": _accuracy,
    "zeroed": _zeroed,
    "only-traced": lambda cases: f"{plural(cases, 'case')} only traced, not timed.",
    "not-timed": lambda cases: f"{plural(cases, 'case')} could not be timed. The reasons are below.",
}
"""Every text of a summary."""


def _span(speedup: float | None, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"{number(speedup)}× (too few rounds for an interval)"
    return times(speedup, low, high)


def _top1(top1: float | None, low: float | None, high: float | None) -> str:
    value, _, span = percent(top1, low, high).partition(" ")
    return f"{value} % {span}"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
