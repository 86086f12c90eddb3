"""`prune-deploy models`, `methods` and `backends`: what can be asked for."""

from __future__ import annotations

import click

from prune_deploy.cli.output.console import json_option


@click.command("models")
@click.option("--filter", "pattern", help="Also list timm names that match, for example '*resnet50*'.")
@json_option
def models(pattern: str | None, as_json: bool) -> None:
    """List the seven short codes with their dense parameters.

    On request timm's names are listed too.
    """
    from prune_deploy.cli.actions.listings import print_models  # its imports are not for --help

    print_models(pattern, as_json)


@click.command("methods")
@json_option
def methods(as_json: bool) -> None:
    """List the pruning methods and their papers."""
    from prune_deploy.cli.actions.listings import print_methods  # its imports are not for --help

    print_methods(as_json)


@click.command("backends")
@json_option
def backends(as_json: bool) -> None:
    """List the runtimes for bundles, and say which work here."""
    from prune_deploy.cli.actions.listings import print_backends  # its imports are not for --help

    print_backends(as_json)
