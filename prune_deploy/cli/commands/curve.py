"""`prune-deploy curve`."""

from __future__ import annotations

from typing import Any

import click

from prune_deploy.cli.commands.sweep import run_options
from prune_deploy.cli.options.common import method_option, model_option, network_options, width_options
from prune_deploy.cli.options.measure import how_options
from prune_deploy.cli.output.console import json_option

_DEFAULTS = {"rigor": "quick", "round_to": 2, "ignore": "none", "backends": "eager,compile,ort,trt", "batch": "64"}


@click.command("curve", context_settings={"default_map": _DEFAULTS})
@model_option
@network_options
@click.option("--steps", type=click.IntRange(1, 200), default=20, show_default=True, help="Stages of the pruning.")
@click.option(
    "--to-ratio",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Ratio of the last step; 1.0 leaves the least that can remain of each group.",
)
@method_option
@width_options
@run_options
@how_options
@json_option
def command(as_json: bool, **values: Any) -> int:
    """Prune a model iteratively and measure every step beside the dense model.

    Prints each step as it is done, and marks those that are slower than the one before. Survives any kill: the same command goes on.

    \b
    prune-deploy curve --model resnet50 --batch 64 --steps 20
    prune-deploy curve --model resnet50 --batch 8 --steps 20 --backends eager,ort
    """
    from prune_deploy.cli.actions.curve import curve  # its imports are not for --help

    return curve(values, as_json)
