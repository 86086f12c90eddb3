"""`prune-deploy sweep`, and `curve`, a sweep over the steps of one pruning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prune_deploy.cli.options.common import (
    backend_option,
    batch_option,
    method_option,
    model_option,
    network_options,
    options,
    precision_option,
    width_options,
)
from prune_deploy.cli.options.measure import how_options
from prune_deploy.cli.options.quantize import quantize_options
from prune_deploy.cli.options.sweep import MASKS, RATIOS, SEEDS
from prune_deploy.cli.options.values import WORDS
from prune_deploy.cli.output.console import json_option
from prune_deploy.cli.output.table_options import table_option

grid_options = options(
    click.option("--models", type=WORDS, metavar="LIST", default="", help="Short codes or timm names, comma-separated."),
    click.option(
        "--methods", type=WORDS, metavar="LIST", default="", help="Pruning methods, comma-separated; see: prune-deploy methods."
    ),
    click.option(
        "--masks",
        type=MASKS,
        metavar="LIST",
        default="",
        help="Zeroed weights in kept shapes: l1-unstructured, global-unstructured, ln-structured, 2:4.",
    ),
    click.option("--ratios", type=RATIOS, metavar="LIST", default="", help="Shares to remove, ascending, for example 0.3,0.5."),
    click.option(
        "--seeds",
        type=SEEDS,
        metavar="LIST",
        default="0",
        show_default=True,
        help="Seeds of random weights and scores: each is a repetition.",
    ),
    click.option("--protocol", default="", help="A name for these settings, part of each variant's name."),
)

run_options = options(
    backend_option("Comma-separated; trt builds engines even where they cannot be timed.", "eager,ort"),
    precision_option("Comma-separated: fp32, tf32 (on a GPU), fp16, bf16, int8.", "fp32"),
    quantize_options,
    batch_option("Batch sizes, for example 1,8,64.", "1"),
    click.option("--target", help="GPU to build engines for. Default: the local GPU, else sm86."),
    click.option(
        "--together", type=int, default=4, show_default=True, help="Variants measured beside their dense model in one comparison."
    ),
    click.option(
        "--bundles",
        type=click.Choice(["keep", "discard"]),
        default="keep",
        show_default=True,
        help="Keep what was made in the run's folder, or discard it once it has been measured.",
    ),
    click.option(
        "--build-limit-s", type=float, default=1200.0, show_default=True, help="Give up on making one variant after this long."
    ),
    click.option(
        "--data",
        metavar="IMAGES",
        help="Take accuracy on digits, fashion-mnist, imagefolder:DIR, cifar10:DIR or cifar100:DIR, once for each variant, backend and "
        "precision.",
    ),
    click.option(
        "--data-samples", type=int, metavar="N", help="Take it on at most N of the images, always the same. Default: all."
    ),
    click.option("--trace", is_flag=True, help="Have the profiler look at every measured case afterwards."),
    click.option(
        "--out", type=click.Path(path_type=Path), help="Folder of the run. Default: profiles/<name>-<hash of the request>."
    ),
    click.option("--dry-run", is_flag=True, help="Print the cases and the time they will take, and do nothing."),
    click.option("--share-machine", is_flag=True, help="Measure even while another sweep does on this machine."),
)


@click.command("sweep", context_settings={"default_map": {"rigor": "quick"}})
@click.option("--preset", help="A sweep that comes with the program: quick, pytorch-pruning, resnet50-curve.")
@click.option("--spec", type=click.Path(path_type=Path, dir_okay=False), help="A TOML file that says what to sweep.")
@click.option("--resume", type=click.Path(path_type=Path, file_okay=False), help="Go on with the sweep in this folder.")
@grid_options
@network_options
@width_options
@run_options
@how_options
@table_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, as_json: bool, **values: Any) -> int:
    """Make and measure models × methods × ratios beside their dense models.

    Survives any case and any kill. The same command goes on where it stopped, and a finished one only prints. What cannot run here
    is a row with its reason.

    \b
    prune-deploy sweep --preset quick
    prune-deploy sweep --models resnet18,resnet50 --methods l1,random --ratios 0.3,0.5 --backend eager,ort --batch 1,8
    prune-deploy sweep --preset pytorch-pruning --models e,m --batch 1
    """
    from prune_deploy.cli.actions.sweep import sweep  # its imports are not for --help

    given = {name for name in values if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    return sweep(values, given, as_json)


_CURVE = {"rigor": "quick", "round_to": 2, "ignore": "none", "backend": "eager,compile,ort,trt", "batch": "64"}


@click.command("curve", context_settings={"default_map": _CURVE})
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
@table_option
@json_option
def curve(as_json: bool, **values: Any) -> int:
    """Prune a model iteratively and measure every step beside the dense model.

    Prints each step as it is done, and marks those that are slower than the one before. Survives any kill: the same command goes on.

    \b
    prune-deploy curve --model resnet50 --batch 64 --steps 20
    prune-deploy curve --model resnet50 --batch 8 --steps 20 --backend eager,ort
    """
    from prune_deploy.cli.actions.curve import measure_curve  # its imports are not for --help

    return measure_curve(values, as_json)
