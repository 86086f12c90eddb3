"""`prune-deploy eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prune_deploy.cli.options.common import backend_option, batch_option, precision_option
from prune_deploy.cli.output.console import json_option


@click.command("eval")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--data", required=True, help="Labelled images: digits, fashion-mnist, imagefolder:DIR, cifar10:DIR or cifar100:DIR."
)
@click.option("--data-samples", type=int, help="Use at most this many images, always the same ones. Default: all.")
@backend_option("Comma-separated. Default: eager,ort, and trt where there is a GPU.")
@precision_option(
    "Comma-separated: fp32, tf32 (on a GPU), fp16, bf16, int8. Default: fp32 and all that the bundle has files for.", ""
)
@batch_option("Images per run. Default: 32, for an engine the nearest that it was built for.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where artifacts run; auto is the GPU where the driver finds one.",
)
@click.option("--threads", type=int, help="Threads inside one operator. Default: the runtime's own choice.")
@click.option("--memory-limit", type=int, metavar="MIB", help="End a scoring whose processes pass this much memory.")
@click.option(
    "--limit-s",
    type=click.FloatRange(min=0, min_open=True),
    default=3600.0,
    show_default=True,
    help="End the scoring of an artifact after this long.",
)
@json_option
def command(bundles: tuple[Path, ...], as_json: bool, **values: Any) -> int:
    """Score the exact files of BUNDLES on labelled images.

    Prints top-1 with its interval, top-5 and the agreement with the FP32 module. Images are prepared as the bundle says. What
    cannot run here is a row with its reason. Exit code 1 if a row failed, 4 if nothing can run here.
    """
    from prune_deploy.cli.actions.eval import eval_bundles  # its imports are not for --help

    return eval_bundles(bundles, as_json, values)
