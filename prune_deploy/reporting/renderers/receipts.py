"""Receipts and machines in reports.

They show requests and results of the bundles, and where and how they were measured.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from prune_deploy.records import BundleRecord, Counts, GroupWidth
from prune_deploy.reporting.figures.formatting import MISSING, amount, share
from prune_deploy.reporting.figures.report import Line, Report, ReportedRun
from prune_deploy.reporting.renderers.grids import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptPart:
    """Request and result of a bundle.

    `groups` is set where the bundle lies beside the run.
    """

    name: str
    asked: str
    sizes: tuple[tuple[str, str, str, str], ...]
    warnings: tuple[str, ...]
    groups: Grid | None


def receipts(report: Report) -> list[ReceiptPart]:
    """Return one receipt per bundle that was made smaller, from its records.

    It has groups where bundles were kept.
    """
    parts: dict[tuple[str, Counts | None], ReceiptPart] = {}
    for run in report.runs:
        for line in run.lines:
            record = line.record
            if record.role == "dense" or record.counts is None or record.dense_counts is None:
                continue
            key = (record.label, record.counts)
            if key not in parts or (parts[key].groups is None and record.label in run.bundles):
                parts[key] = _receipt(line, run.bundles.get(record.label), record.dense_counts, record.counts)
    return list(parts.values())


def _receipt(line: Line, bundle: BundleRecord | None, before: Counts, after: Counts) -> ReceiptPart:
    fields = (("parameters", "params"), ("MACs", "macs"), ("MACs with attention", "macs_with_attention"))
    sizes = [(name, getattr(before, field), getattr(after, field)) for name, field in fields]
    if line.row.nonzero_params is not None:
        sizes.append(("parameters that are not zero", before.params, line.row.nonzero_params))
    return ReceiptPart(
        name=line.row.bundle,
        asked=_asked(line),
        sizes=tuple((name, amount(old), amount(new), share(new / old - 1)) for name, old, new in sizes),
        warnings=() if bundle is None else bundle.receipt.warnings,
        groups=None if bundle is None or not bundle.receipt.groups else groups_grid(bundle.receipt.groups),
    )


def _asked(line: Line) -> str:
    row, variant = line.row, line.record.variant
    if variant is None:
        return "not on record"
    spec = variant.prune
    amounts = () if spec is None else ((spec.target_macs, "of the MACs"), (spec.target_params, "of the parameters"))
    words = [f"method {row.method}"]
    words += [f"ratio {row.ratio:g}"] if row.ratio is not None else [f"{value} {what}" for value, what in amounts if value]
    if spec is not None:
        words += [f"widths in multiples of {spec.round_to}", f"ignoring {', '.join(spec.ignore)}"]
    return ", ".join([*words, *([f"protocol {row.protocol}"] if row.protocol else [])])


def groups_grid(groups: Iterable[GroupWidth]) -> Grid:
    """Return what each group of channels keeps, and why."""
    rows = tuple(
        (
            group.name,
            f"{group.reason}: {group.detail}" if group.detail else group.reason,
            str(group.channels),
            MISSING if group.asked is None else str(group.asked),
            str(group.kept),
        )
        for group in groups
    )
    return Grid(name="groups", titles=("Group", "Why", "Dense", "Asked", "Kept"), rows=rows, words=2, wrap=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePart:
    """Machine and settings of a run."""

    name: str
    id: str
    pairs: tuple[tuple[str, str], ...]
    libraries: tuple[tuple[str, str], ...]
    command: str


def machines(report: Report) -> list[MachinePart]:
    """Return the environment of each run."""
    return [_machine(run) for run in report.runs]


def machine_differences(report: Report) -> tuple[str, ...]:
    """Return how the other runs' environments differ from the first one's."""
    first = report.runs[0].run.record.environment
    changes = []
    for run in report.runs[1:]:
        changed = first.differences(run.run.record.environment)
        if changed:
            changes.append(f"{run.id}: {'; '.join(changed)}")
    return tuple(changes)


def _machine(run: ReportedRun) -> MachinePart:
    record, environment = run.run.record, run.run.record.environment
    spec = record.spec
    pairs = [("GPU", ", ".join(environment.gpus) or "none"), ("CPU", f"{environment.cpu}, {environment.cpu_count} logical cores")]
    if environment.driver:
        pairs.append(("Driver", environment.driver))
    pairs += [
        ("Memory", f"{environment.memory_bytes / 2**30:,.1f} GiB"),
        ("System", environment.platform),
        ("Python", environment.python),
        ("Started", record.started_at),
        ("Rigor", f"{spec.rigor}: {'intervals within one launch' if spec.rigor == 'quick' else 'intervals between launches'}"),
        ("Clock", spec.mode),
        ("Budget", f"{spec.seconds:g} s per comparison"),
        ("Inputs", f"{spec.inputs}, seed {spec.seed}"),
    ]
    if run.run.dropped_lines:
        pairs.append(("Left out", "the last record, which was half-written"))
    return MachinePart(
        name=run.machine,
        id=run.id,
        pairs=tuple(pairs),
        libraries=tuple(sorted(environment.libraries.items())),
        command=shlex.join(["prune-deploy", *record.command]),
    )
