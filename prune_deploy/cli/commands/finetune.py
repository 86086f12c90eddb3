"""`prune-deploy finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prune_deploy.cli.options.common import batch_option, options
from prune_deploy.cli.output.console import json_option
from prune_deploy.specs.training import DEFAULT_SMALLEST_CROP
from prune_deploy.store import read_bundle

image_options = options(
    click.option(
        "--data",
        required=True,
        metavar="IMAGES",
        help="Train on digits, fashion-mnist, imagefolder:DIR, cifar10:DIR or cifar100:DIR.",
    ),
    click.option(
        "--val-data", metavar="IMAGES", help="Take top-1 on these. Default: the test split; of a folder a tenth, held out."
    ),
    click.option("--samples", type=int, metavar="N", help="Train on at most N of the images, always the same. Default: all."),
    click.option("--augment", is_flag=True, help="Random resized crops, and mirrored images (digits are not mirrored)."),
    click.option(
        "--smallest-crop",
        type=float,
        default=DEFAULT_SMALLEST_CROP,
        show_default=True,
        metavar="SHARE",
        help="Of an image's area, for --augment.",
    ),
)

training_options = options(
    click.option("--epochs", type=int, default=10, show_default=True, help="How often each image is seen."),
    batch_option("Images per step.", "64"),
    click.option(
        "--optimizer", type=click.Choice(["adamw", "sgd"]), default="adamw", show_default=True, help="sgd is Nesterov's."
    ),
    click.option("--lr", type=float, help="Learning rate after warming up. Default: 0.001 for adamw, 0.05 for sgd."),
    click.option(
        "--weight-decay", type=float, default=0.01, show_default=True, help="Of weights; biases and norms do not decay."
    ),
    click.option("--warmup-epochs", type=float, default=1.0, show_default=True, help="The rate rises for so long, then falls."),
    click.option("--label-smoothing", type=float, default=0.0, show_default=True, help="Share taken from the right class."),
    click.option(
        "--distill",
        type=float,
        default=0.0,
        show_default=True,
        metavar="SHARE",
        help="Of the loss, from the dense model's answers.",
    ),
    click.option("--temperature", type=float, default=2.0, show_default=True, help="Softens both models' answers for --distill."),
    click.option(
        "--amp/--no-amp", default=True, show_default=True, help="Mixed precision on a GPU: BF16, or FP16 where it must."
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the images' order, crops and what is held out."),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where to train; auto is the GPU where the driver finds one.",
    ),
)


@click.command("finetune")
@click.argument("bundle", type=click.Path(path_type=Path))
@image_options
@training_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the new bundle. Default: <BUNDLE>-finetuned.")
@click.option("--force", is_flag=True, help="Replace the bundle that lies in the folder.")
@click.option("--restart", is_flag=True, help="Forget what an unfinished training has learnt.")
@json_option
def command(bundle: Path, as_json: bool, **values: Any) -> None:
    """Train BUNDLE's weights further and write a new bundle.

    The new bundle has the same kinds of files and names BUNDLE as its parent. Ctrl-C, or a kill, costs little: the same command
    goes on from the last checkpoint, and ends with the same weights.

    \b
    prune-deploy finetune engines/resnet50-l2-r0.50 --data imagefolder:data/train --val-data imagefolder:data/val --epochs 10
    prune-deploy finetune engines/resnet18-l2-r0.50 --data digits --epochs 5 --distill 0.5
    """
    read_bundle(bundle)  # a wrong folder is said before seconds of imports
    from prune_deploy.cli.actions.finetune import finetune_bundle  # its imports are not for --help

    finetune_bundle(bundle, as_json, values)
