"""`prune-deploy recover`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from prune_deploy.cli.output.console import json_option
from prune_deploy.specs import DEFAULT_RECOVER_SAMPLES, Recover


@click.command("recover")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--calib", required=True, metavar="IMAGES", help="Images like those of use: a folder, digits, or other labelled ones."
)
@click.option(
    "--recover",
    type=click.Choice(get_args(Recover)),
    default="linear",
    show_default=True,
    help="Batch norms anew, or weights that make up for what was removed as well.",
)
@click.option(
    "--recover-samples",
    type=int,
    default=DEFAULT_RECOVER_SAMPLES,
    show_default=True,
    help="Images to recover from; half as many more judge the result.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the new bundle. Default: <BUNDLE>-recovered.")
@click.option("--force", is_flag=True, help="Replace the bundle that lies in the folder.")
@json_option
def command(bundle: Path, as_json: bool, **values: Any) -> None:
    """Bring BUNDLE's accuracy back without training and write a new bundle.

    No labels and no gradients are needed. The new bundle has the same kinds of files and names BUNDLE as its parent.

    \b
    prune-deploy recover engines/resnet50-pretrained-l2-r0.50 --calib images/
    """
    from prune_deploy.cli.actions.recover import recover  # its imports are not for --help

    recover(bundle, as_json, values)
