"""Trains a bundle further and prints its epochs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from prune_deploy.cli.options.measure import device
from prune_deploy.cli.options.values import build, only
from prune_deploy.cli.output.console import data_console, emit_json, say, table
from prune_deploy.cli.output.progress import StageLines
from prune_deploy.records import Training
from prune_deploy.reporting.figures.formatting import number, percent
from prune_deploy.reporting.renderers.training_plot import top1_interval
from prune_deploy.specs import FinetuneSpec
from prune_deploy.workflows.finetune import PLOT_FILE, Finetuned, FinetuneRequest, finetune

_ROWS = 8
"""Epochs in the table. A longer list is thinned out evenly."""


def finetune_bundle(bundle: Path, as_json: bool, values: dict[str, Any]) -> None:
    """Train a bundle's weights further and print how that went.

    Raises:
        PruneDeployError: as `finetune`.
        KeyboardInterrupt: it was asked to stop, and what was learnt is kept.
    """
    request = FinetuneRequest(
        bundle=bundle,
        spec=build(FinetuneSpec, values, batch=only(values, "batch", "batch size")),
        out=values["out"],
        device=device(values["device"]),
        force=values["force"],
        restart=values["restart"],
    )
    try:
        with StageLines() as progress:
            done = finetune(request, progress)
    except KeyboardInterrupt:
        if request.checkpoint_folder.is_dir():
            say(f"what was learnt so far is in {request.checkpoint_folder}; the same command goes on with it")
        raise
    if done.reused:
        say(f"{done.folder} was there already, made by the same request with the same tools")
    if done.record.engine_note:
        say(done.record.engine_note)
    if done.training.unreadable:
        say(f"images that could not be read, and took no part: {done.training.unreadable}")
    if as_json:
        emit_json(_document(done))
    else:
        _show(done)


def _document(done: Finetuned) -> dict[str, Any]:
    training = done.training
    return {
        "bundle": str(done.folder),
        "reused": done.reused,
        "before": _with_interval(training.top1_before, training),
        "after": _with_interval(training.top1_after, training),
        "training": dataclasses.asdict(training),
        "files": [*(artifact.name for artifact in done.record.artifacts), "bundle.json"],
    }


def _with_interval(top1: float, training: Training) -> dict[str, float]:
    low, high = top1_interval(top1, training.validated)
    return {"top1": top1, "low": low, "high": high}


def _show(done: Finetuned) -> None:
    training = done.training
    rows = table("epoch", "loss", "top-1 %", "lr", "s")
    for column in rows.columns:
        column.justify = "right"
    rows.add_row("before", "", _top1(training.top1_before, training), "", "")
    for epoch in _thinned(training):
        figures = (number(epoch.loss), _top1(epoch.top1, training), number(epoch.lr), f"{epoch.seconds:.1f}")
        rows.add_row(str(epoch.number), *figures)
    data_console.print(rows)
    taught = f", taught by {training.teacher}" if training.teacher else ""
    data_console.print(
        f"trained on {training.images:,} images of {training.spec.data} ({training.device}){taught}; top-1 with its 97.5 % Wilson interval "
        f"on {training.validated:,} images: {training.validation}",
        soft_wrap=True,
    )
    data_console.print(f"parent: {training.parent.name}\nbundle: {done.folder} (plot: {done.folder / PLOT_FILE})", soft_wrap=True)


def _thinned(training: Training) -> list[Any]:
    """At most so many epochs, the last one among them."""
    step = -(-len(training.epochs) // _ROWS)
    return list(training.epochs[::-1][::step][::-1])


def _top1(top1: float, training: Training) -> str:
    return percent(top1, *top1_interval(top1, training.validated))
