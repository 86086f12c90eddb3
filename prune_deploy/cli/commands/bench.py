"""`prune-deploy bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prune_deploy.cli.options.measure import how_options, what_options
from prune_deploy.cli.output.console import json_option
from prune_deploy.cli.output.table_options import table_option


@click.command("bench")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@what_options
@click.option(
    "--across-backends", is_flag=True, help="Measure all backends in one comparison, against the first one's dense model."
)
@click.option(
    "--across-precisions",
    is_flag=True,
    help="Measure all precisions of a backend in one comparison, against the dense model in the first one.",
)
@click.option("--trace", is_flag=True, help="Have the profiler look at every measured case afterwards.")
@how_options
@table_option
@json_option
def command(bundles: tuple[Path, ...], as_json: bool, **values: Any) -> int:
    """Measure BUNDLES against their dense models, side by side, through several backends.

    The dense model is exported where it is missing. What cannot run here is a row with its reason. Exit code 1 if a case failed,
    4 if nothing can run here or a backend in --require cannot.
    """
    from prune_deploy.cli.actions.bench import bench_bundles  # its imports are not for --help

    return bench_bundles(bundles, as_json, values)
