"""`prune-deploy export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from prune_deploy.cli.options.common import model_options, pruning_options
from prune_deploy.cli.options.engine import engine_options
from prune_deploy.cli.options.quantize import quantize_options
from prune_deploy.cli.options.recover import recover_options
from prune_deploy.cli.output.console import json_option
from prune_deploy.specs import MaskKind


@click.command("export")
@model_options
@pruning_options
@click.option("--dense", is_flag=True, help="Export the model unpruned, as the baseline of comparisons.")
@click.option(
    "--mask",
    type=click.Choice(get_args(MaskKind)),
    help="Set weights to zero instead of removing channels: the share --ratio, or two of every four inputs. Shapes stay.",
)
@engine_options
@quantize_options
@recover_options
@click.option(
    "--onnx", type=click.Path(dir_okay=False), help="INT8: a file of this very model with Q/DQ nodes, made by another tool."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the bundle. Default: engines/<model>-<method>-<amount>.")
@click.option("--force", is_flag=True, help="Replace the bundle that lies in the folder.")
@json_option
def command(as_json: bool, **values: Any) -> None:
    """Prune or mask a timm model and write a bundle.

    The bundle holds the weights, ONNX files and, where one can be built, a TensorRT engine.

    \b
    prune-deploy export --model v --ratio 0.5
    prune-deploy export --model resnet50 --target-macs 0.5x --target a2000
    prune-deploy export --model resnet50 --ratio 0.5 --precision fp32,fp16,int8 --calib images/

    \b
    prune-deploy export --model resnet50 --weights pretrained --ratio 0.5 --recover linear --calib images/
    prune-deploy export --model resnet50 --dense
    prune-deploy export --model resnet50 --mask l1-unstructured --ratio 0.3
    """
    from prune_deploy.cli.actions.export import export  # its imports are not for --help

    export(values, as_json)
