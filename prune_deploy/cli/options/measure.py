"""Options of the commands that measure, and the MeasureSpec they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from prune_deploy.cli.options.common import backend_option, batch_option, options, precision_option
from prune_deploy.cli.options.values import WORDS, build
from prune_deploy.gpus import local_target
from prune_deploy.specs import Device, MeasureSpec, RunOptions


def _positive(_ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise click.BadParameter(f"{value} is not above zero.")
    return value


what_options = options(
    backend_option("Comma-separated; trt:cuda-graph names one variant. Default: eager,compile,ort,trt."),
    precision_option("Comma-separated: fp32, tf32 (on a GPU), fp16, bf16, int8.", "fp32"),
    batch_option("Batch sizes, for example 1,8,64.", "1"),
    click.option(
        "--require",
        type=WORDS,
        metavar="LIST",
        default="",
        help="Backends that must be able to run here, comma-separated; else exit code 4.",
    ),
    click.option("--out", type=click.Path(file_okay=False), help="Folder of the run. Default: profiles/<time>-…"),
)

session_options = options(
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where candidates run; auto is the GPU where the driver finds one.",
    ),
    click.option("--threads", type=int, help="Threads inside one operator. Default: the runtime's own choice."),
    click.option("--channels-last", is_flag=True, help="eager, compile: NHWC memory format."),
    click.option("--cudnn-benchmark", is_flag=True, help="Let cuDNN try its algorithms first."),
    click.option(
        "--compile-mode",
        type=click.Choice(["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]),
        default="default",
        show_default=True,
        help="Mode of torch.compile.",
    ),
    click.option("--cpu-freezing", is_flag=True, help="compile: weights become constants of the graph, on the CPU."),
    click.option(
        "--inputs",
        type=click.Choice(["images", "normal", "uniform", "zeros"]),
        default="images",
        show_default=True,
        help="What the inputs are drawn from; zeros flip fewer bits and may clock a power-limited GPU higher.",
    ),
)

limit_options = options(
    click.option("--memory-limit", type=int, metavar="MIB", help="End a candidate whose processes pass this much memory."),
    click.option(
        "--open-limit-s",
        type=float,
        callback=_positive,
        default=600.0,
        show_default=True,
        help="End a candidate that is not open after this long, compilation included.",
    ),
    click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Seed of inputs and orders."),
)

how_options = options(
    click.option(
        "--rigor",
        type=click.Choice(["quick", "full"]),
        default="full",
        show_default=True,
        help="full: at least 5 launches, intervals between launches. quick: one launch, intervals within it.",
    ),
    click.option(
        "--budget-s", type=float, callback=_positive, help="Seconds per comparison. Default: 120 at full, 30 at quick rigor."
    ),
    click.option(
        "--mode",
        type=click.Choice(["latency", "device", "throughput"]),
        default="latency",
        show_default=True,
        help="Clock: host and wait for each run; device events around queued runs; completions of a saturated queue.",
    ),
    click.option(
        "--placement",
        type=click.Choice(["isolated", "shared"]),
        help="A process per candidate, or one for all. Default: isolated on a CPU, shared on a GPU.",
    ),
    session_options,
    click.option("--lock-clocks", type=int, metavar="MHZ", help="Hold the GPU's clock while measuring; needs root."),
    limit_options,
)


def measure_spec(values: Mapping[str, Any]) -> MeasureSpec:
    """The MeasureSpec of parsed options.

    Raises:
        InputError: a value is out of its range.
    """
    return build(MeasureSpec, values, options=run_options(values))


def run_options(values: Mapping[str, Any]) -> RunOptions:
    """The RunOptions of parsed options."""
    return build(RunOptions, values, device=device(values["device"]))


def device(name: str) -> Device:
    """Return the device. "auto" is the GPU where the driver finds one."""
    if name == "auto":
        return "cpu" if local_target() is None else "cuda"
    return "cuda" if name == "cuda" else "cpu"
