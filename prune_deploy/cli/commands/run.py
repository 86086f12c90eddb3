"""`prune-deploy run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prune_deploy.cli.options.common import backend_option
from prune_deploy.cli.options.values import only
from prune_deploy.cli.output.console import json_option


@click.command("run")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--image", type=click.Path(path_type=Path), help="Image file. Default: a synthetic image.")
@backend_option("Runtime; see: prune-deploy backends.", "ort")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="How many classes to show.")
@click.option("--check-hashes/--no-check-hashes", default=True, help="Hash the files that are opened first.  [default: on]")
@json_option
def command(bundle: Path, image: Path | None, top: int, check_hashes: bool, as_json: bool, **values: Any) -> None:
    """Classify an image with BUNDLE.

    Prints the likeliest classes and the time of one inference.
    """
    from prune_deploy.cli.actions.run import run  # its imports are not for --help

    run(bundle, image, only(values, "backend", "backend"), top, as_json, check_hashes=check_hashes)
