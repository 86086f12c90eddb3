"""`prune-deploy doctor`."""

from __future__ import annotations

import click

from prune_deploy.cli.output.console import json_option


@click.command(name="doctor")
@json_option
def command(as_json: bool) -> None:
    """Show what this machine can do, and fixes for the rest.

    Exit code 0 if `prune-deploy export` can run here on the CPU, whatever is missing for the GPU. Exit code 4 if it cannot.
    """
    from prune_deploy.cli.actions.doctor import examine  # its imports are not for --help

    examine(as_json)
