"""Sentences beside the figures: missing cases, warnings and controls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prune_deploy.records import CaseRecord, Estimate
from prune_deploy.reporting.figures.formatting import interval, units
from prune_deploy.reporting.figures.rows import Row, has_marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Cases without figures for one reason.

    It holds for every combination of the bundles, run configurations and batch sizes.
    """

    bundles: tuple[str, ...]
    configs: str
    batches: str
    status: str
    reason: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The dense model of a comparison against its own copy.

    The ratio is 1 if nothing but the model counts.
    """

    comparison: str
    ratio: Estimate

    @property
    def text(self) -> str:
        """The ratio with its interval, and what was counted."""
        return f"{interval(self.ratio.value, self.ratio.low, self.ratio.high)}, {units(self.ratio)}"


def absences(rows: Iterable[Row]) -> list[Absence]:
    """Group the cases that could not be measured, in their order.

    Cases with the same reason that are otherwise alike form one group.
    """
    by_bundle: dict[tuple[str, str, str, str], list[Row]] = {}
    for each in rows:
        if each.reason and each.status != "ok":
            by_bundle.setdefault((each.bundle, each.status, each.reason, each.fix), []).append(each)
    alike: dict[tuple[str, ...], list[str]] = {}
    for (bundle, *why), cases in by_bundle.items():
        configs = ", ".join(dict.fromkeys(f"{each.backend} {each.precision}" for each in cases))
        batches = ", ".join(dict.fromkeys(str(each.batch) for each in cases))
        alike.setdefault((configs, batches, *why), []).append(bundle)
    return [
        Absence(bundles=tuple(bundles), configs=configs, batches=batches, status=status, reason=reason, fix=fix)
        for (configs, batches, status, reason, fix), bundles in alike.items()
    ]


def warned(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Return each warning once, with its cases."""
    grouped: dict[str, list[Row]] = {}
    for each in rows:
        for warning in each.warnings:
            grouped.setdefault(warning, []).append(each)
    return list(grouped.items())


def controls(records: Sequence[CaseRecord]) -> list[Control]:
    """Return the A/A control of each comparison that has one."""
    return [
        Control(comparison=record.comparison, ratio=record.dense_against_copy)
        for record in records
        if record.role == "dense" and record.dense_against_copy is not None
    ]


def accuracies(rows: Iterable[Row]) -> list[str]:
    """Describe the images behind the accuracies, each set once."""
    measured = dict.fromkeys((each.data, each.accuracy_images, each.accuracy_note) for each in rows if each.top1 is not None)
    return [
        f"Top-1: of {images:,} images of {data}, with the 97.5 % interval of a share{f'; {note}' if note else ''}"
        for data, images, note in measured
    ]


def compile_sentence(each: Row) -> str:
    """Describe the time of torch.compile, "" where nothing was compiled."""
    if each.compile_cold_s is None:
        return ""
    warm = "not measured in one launch" if each.compile_warm_s is None else f"{each.compile_warm_s:.1f} s with a filled one"
    return f"compiled in {each.compile_cold_s:.1f} s with an empty cache, {warm}"


ASTERISK = "* the interval is wider than the rigor aims for"
_ALL_WIDE = "every interval is wider than the rigor aims for"
_NARROWER = "raise `budget_s`, or quieten the machine"


def widths_note(rows: Sequence[Row]) -> str:
    """Return a table's line on wide intervals, "" where there are none."""
    if not any(each.converged is False for each in rows):
        return ""
    return f"{ASTERISK if has_marks(rows) else _ALL_WIDE}: {_NARROWER}"
