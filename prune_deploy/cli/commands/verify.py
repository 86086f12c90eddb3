"""`prune-deploy verify`."""

from __future__ import annotations

from pathlib import Path

import click

from prune_deploy.cli.output.console import json_option


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@json_option
def command(bundle: Path, as_json: bool) -> None:
    """Verify every file of BUNDLE against the bundle's record.

    Hashes every file again, reloads the module and repeats parity on every ONNX file and on engines built for the GPU here. Ends
    with exit code 1 if anything is not what the bundle's record says.
    """
    from prune_deploy.cli.actions.verify import verify  # its imports are not for --help

    verify(bundle, as_json)
