"""`prune-deploy run`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from prune_deploy.cli.options.common import complete_backends
from prune_deploy.cli.output.console import data_console, emit_json, json_option, say, table


@click.command("run")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--image", type=click.Path(path_type=Path), help="Image file. Default: a made image.")
@click.option(
    "--backend", default="ort", show_default=True, shell_complete=complete_backends, help="Runtime; see: prune-deploy backends."
)
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="How many classes to show.")
@json_option
def command(bundle: Path, image: Path | None, backend: str, top: int, as_json: bool) -> None:
    """Classify an image with BUNDLE: the likeliest classes and the time of one inference."""
    from prune_deploy.evaluate.classify import classify
    from prune_deploy.store import read_bundle

    record = read_bundle(bundle)
    if record.is_untrained:
        say(f"the weights are {record.weights.label}: the classes below mean nothing")
    result = classify(bundle, image, backend=backend, top=top)
    if as_json:
        emit_json({"bundle": str(bundle), "backend": backend, **dataclasses.asdict(result)})
        return
    rows = table("class", "probability %", "label")
    for guess in result.guesses:
        rows.add_row(str(guess.index), f"{100 * guess.probability:.2f}", guess.label)
    data_console.print(rows)
    data_console.print(
        f"{result.one_run_ms:.1f} ms for one image through {backend} ({result.artifact}); one run, not a measurement"
    )
