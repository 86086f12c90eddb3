"""A receipt as a table.

Groups of the same shape and fate share a row.
"""

from __future__ import annotations

import re

from rich.table import Table

from prune_deploy.cli.output.console import table
from prune_deploy.records import Counts, GroupWidth, Receipt, Recovery


def sizes_table(receipt: Receipt) -> Table:
    """Print parameters and MACs before and after.

    A masked model also shows the parameters that are not zero.
    """
    result = table("", "before", "after", "removed %")
    for column in result.columns[1:]:
        column.justify = "right"
    rows = (("parameters M", "params", 1e6), ("MACs G", "macs", 1e9), ("MACs with attention G", "macs_with_attention", 1e9))
    for label, field, scale in rows:
        before, after = getattr(receipt.before, field), getattr(receipt.after, field)
        result.add_row(label, f"{before / scale:,.2f}", f"{after / scale:,.2f}", f"{removed_share(before, after):.1f}")
    if receipt.nonzero_params is not None:
        result.add_row("parameters not zero M", "", f"{receipt.nonzero_params / 1e6:,.2f}", "")
    return result


def removed_share(before: int, after: int) -> float:
    """The share removed, in percent."""
    return 100 * (1 - after / before) if before else 0.0


def groups_table(receipt: Receipt) -> Table:
    """Return what each group kept and why.

    Rows of equal fate are folded into one.
    """
    result = table("group", "groups", "dense", "kept", "why")
    for column in result.columns[1:4]:
        column.justify = "right"
    for rows in _fold(receipt.groups):
        first = rows[0]
        why = first.reason + (f": {first.detail}" if first.detail else "")
        result.add_row(
            _pattern(first.name) if len(rows) > 1 else first.name, str(len(rows)), str(first.channels), str(first.kept), why
        )
    return result


def _fold(groups: tuple[GroupWidth, ...]) -> list[list[GroupWidth]]:
    folded: dict[tuple[str, int, int, str, str], list[GroupWidth]] = {}
    for group in groups:
        folded.setdefault((_pattern(group.name), group.channels, group.kept, group.reason, group.detail), []).append(group)
    return list(folded.values())


def _pattern(name: str) -> str:
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", name)


def counts_document(before: Counts, after: Counts) -> dict[str, int]:
    """The sizes as flat JSON fields."""
    return {
        f"{field}_{when}": getattr(counts, field)
        for field in ("params", "macs", "macs_with_attention")
        for when, counts in (("before", before), ("after", after))
    }


def recovery_table(recovery: Recovery) -> Table:
    """Return the network before and after each part of its recovery."""
    labelled = recovery.dense_top1 is not None
    result = table("recovery", "KL from dense", "agreement %", *(["top-1 %"] if labelled else []))
    for column in result.columns[1:]:
        column.justify = "right"
    if recovery.dense_top1 is not None:
        result.add_row("dense", "0", "100", f"{100 * recovery.dense_top1:.1f}")
    for step in recovery.steps:
        top1 = [] if step.top1 is None else [f"{100 * step.top1:.1f}"]
        result.add_row(_STEPS[step.name], f"{step.kl:.3g}", f"{100 * step.agreement:.1f}", *top1)
    return result


_STEPS = {"pruned": "pruned", "batch norms": "batch norms anew", "fold": "fold and batch norms"}


def recovery_sentence(recovery: Recovery) -> str:
    """Return in a line what the recovery used, and how long it took."""
    kept = sum(each.kept for each in recovery.folds)
    folds = f", {kept} of {len(recovery.folds)} layers folded" if recovery.folds else ""
    return (
        f"recovered from {recovery.images} images of {recovery.data} in {recovery.seconds:.0f} s{folds}, "
        f"judged on {recovery.judged} others"
    )
