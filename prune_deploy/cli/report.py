"""`prune-deploy report`."""

from __future__ import annotations

from pathlib import Path

import click

from prune_deploy.cli.output import json_option


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--reanalyze", "again", is_flag=True, help="Compute every figure again from the raw samples; exit code 1 if one differs."
)
@json_option
def command(run: Path, again: bool, as_json: bool) -> None:
    """Print the table of a run, without a GPU or a runtime."""
    from prune_deploy.cli.reporting import show_run  # its imports are not for --help

    show_run(run, again, as_json)
