"""Options for the engines to build and their GPU."""

from __future__ import annotations

import click

from prune_deploy.cli.options.common import batch_option, options, precision_option
from prune_deploy.cli.output.console import say
from prune_deploy.environment import installed_version
from prune_deploy.gpus import local_target
from prune_deploy.specs import DEFAULT_BATCHES, DEFAULT_TARGET, TARGETS, resolve_target

engine_options = options(
    click.option(
        "--engine",
        type=click.Choice(["auto", "tensorrt", "tensorrt-rtx", "none"]),
        default="auto",
        show_default=True,
        help="Library that builds the engine; auto takes TensorRT where a GPU is, else TensorRT-RTX.",
    ),
    click.option(
        "--target",
        help=f"GPU to build for: {', '.join(TARGETS)} or a card such as a2000. Default: the local GPU, else sm86.",
    ),
    batch_option("Batch sizes; each gets an optimisation profile.", ",".join(map(str, DEFAULT_BATCHES))),
    precision_option(
        "Comma-separated: fp32 (TF32 is off), tf32 (engines round matrix inputs to 10 bits), fp16, bf16, int8.", "fp32,fp16"
    ),
    click.option("--workspace", type=click.IntRange(min=1), help="Largest scratch memory of the builder, in MiB."),
    click.option(
        "--sparse-weights/--no-sparse-weights",
        default=None,
        help="Whether the builder may use kernels for 2:4 sparse weights. Default: with --mask 2:4.",
    ),
)


def engine_target(target: str | None, library: str) -> str:
    """Return the named target, else the local GPU's, else the default.

    The default is reported.
    """
    if target is not None:
        return resolve_target(target)
    if library == "none":
        return DEFAULT_TARGET
    local = local_target()
    if local is None:
        say(f"no GPU here: the engine is built for {DEFAULT_TARGET} (RTX A2000 class); choose another with --target")
        return DEFAULT_TARGET
    if local not in TARGETS and installed_version("tensorrt") is None:
        say(f"TensorRT-RTX does not build for this GPU ({local}) and TensorRT is not installed: building for {DEFAULT_TARGET}")
        return DEFAULT_TARGET
    return resolve_target(local)
