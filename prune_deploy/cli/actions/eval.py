"""Takes accuracies and prints them as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prune_deploy.cli.options.measure import run_options
from prune_deploy.cli.options.values import only
from prune_deploy.cli.output.console import data_console, emit_json, table
from prune_deploy.cli.output.progress import StageLines
from prune_deploy.files import resolved
from prune_deploy.gpus import local_target
from prune_deploy.records import FAILED_STATUSES, Accuracy
from prune_deploy.reporting.figures.formatting import MISSING, percent
from prune_deploy.workflows.evaluate import EvaluationRequest, EvaluationRow, evaluate_all, plan_evaluation

_COLUMNS = ("artifact", "backend", "precision", "images", "top-1 %", "top-5 %", "as FP32 %")


def eval_bundles(bundles: tuple[Path, ...], as_json: bool, values: dict[str, Any]) -> int:
    """Score bundles, print a row per artifact, and return the exit code.

    Raises:
        InputError: no bundle, data that cannot be used, or a bad option.
        CannotRunError: nothing can run here.
        VerificationError: a bundle's files are damaged.
    """
    request = _request(bundles, values)
    with StageLines() as progress:
        progress.stage("check bundle", ", ".join(resolved(path).name for path in bundles))
        rows = list(evaluate_all(plan_evaluation(request), request, progress))
    if as_json:
        emit_json({"data": request.data, "rows": [_document(row) for row in rows]})
    else:
        _print_rows(rows)
    if any(row.status in FAILED_STATUSES for row in rows):
        return 1
    return 0 if any(row.accuracy is not None for row in rows) else 4


def _request(bundles: tuple[Path, ...], values: dict[str, Any]) -> EvaluationRequest:
    default = ("eager", "ort") if local_target() is None else ("eager", "ort", "trt")
    return EvaluationRequest(
        bundles=bundles,
        backends=default if values["backend"] is None else values["backend"],
        precisions=values["precision"],
        data=values["data"],
        data_samples=values["data_samples"],
        batch=only(values, "batch", "batch size"),
        limit_s=values["limit_s"],
        memory_limit_mib=values["memory_limit"],
        options=run_options(values),
    )


def _document(row: EvaluationRow) -> dict[str, Any]:
    document = dataclasses.asdict(row)
    return document | {"warnings": [] if row.accuracy is None else list(row.accuracy.all_warnings)}


def _print_rows(rows: Sequence[EvaluationRow]) -> None:
    """Print the table, the reasons for missing figures, and the warnings."""
    several = len({row.bundle for row in rows}) > 1
    printed = table(*(("bundle",) if several else ()), *_COLUMNS)
    for row in rows:
        printed.add_row(*((row.bundle,) if several else ()), *_cells(row))
    data_console.print(printed)
    for row in rows:
        if row.status != "ok":
            name = " ".join(filter(None, (row.bundle if several else "", row.artifact, row.backend, row.precision)))
            data_console.print(f"{name}: {row.status}: {row.reason}\n  Fix: {row.fix}", soft_wrap=True)
    accuracies = [row.accuracy for row in rows if row.accuracy is not None]
    for sentence in dict.fromkeys(sentence for accuracy in accuracies for sentence in _sentences(accuracy)):
        data_console.print(sentence, soft_wrap=True)


def _cells(row: EvaluationRow) -> tuple[str, ...]:
    precision = f"{row.precision} {row.layers}".strip()
    named = (row.artifact or MISSING, row.backend, precision)
    accuracy = row.accuracy
    if accuracy is None:
        return (*named, MISSING, row.status, MISSING, MISSING)
    mark = "" if not accuracy.warnings else " *"
    top1 = percent(accuracy.top1, accuracy.low, accuracy.high)
    return (*named, f"{accuracy.images:,}", top1 + mark, percent(accuracy.top5), percent(accuracy.agreement))


def _sentences(accuracy: Accuracy) -> list[str]:
    """Describe the images behind the figures, with their warnings."""
    sentences = [f"* {warning}" for warning in accuracy.warnings]
    sentences += [warning for warning in accuracy.all_warnings if warning not in accuracy.warnings]
    if accuracy.unreadable:
        more = accuracy.unreadable - len(accuracy.unreadable_names)
        names = ", ".join(accuracy.unreadable_names) + (f" and {more} more" if more else "")
        sentences.append(f"{accuracy.unreadable} of the images could not be read: {names}")
    if accuracy.top1 is None:
        sentences.append(
            f"{accuracy.images:,} images of {accuracy.data}; as FP32: the same first class as the bundle's FP32 module"
        )
        return sentences
    sentences.append(
        f"Top-1 of {accuracy.images:,} images of {accuracy.data}, with the {100 * accuracy.confidence:g} % interval of a share; "
        f"as FP32: the same first class as the bundle's FP32 module"
    )
    return sentences
