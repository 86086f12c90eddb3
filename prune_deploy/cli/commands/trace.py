"""`prune-deploy trace`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prune_deploy.cli.options.common import backend_option, batch_option, precision_option
from prune_deploy.cli.options.measure import limit_options, session_options
from prune_deploy.cli.output.console import json_option


@click.command("trace")
@click.argument("bundle", type=click.Path(path_type=Path))
@backend_option("One; trt:cuda-graph names a variant.", "ort")
@precision_option("One of fp32, tf32 (on a GPU), fp16, bf16, int8.", "fp32")
@batch_option("Batch sizes, for example 1,8: each is traced on its own.", "1")
@click.option("--runs", type=int, default=5, show_default=True, help="Runs with the profiler, and as many without it.")
@click.option("--top", type=click.IntRange(min=1), default=15, show_default=True, help="Layers to print.")
@click.option("--out", type=click.Path(file_okay=False), help="Folder of the run. Default: profiles/<time>-…")
@session_options
@limit_options
@json_option
def command(bundle: Path, as_json: bool, **values: Any) -> int:
    """Show where BUNDLE's time goes, layer by layer.

    Writes a Chrome trace that Perfetto opens. Nothing is timed for a comparison, because a profiler costs time. The output says how
    much. Exit code 1 if the trace failed, 4 if the backend cannot run here.
    """
    from prune_deploy.cli.actions.trace import show_traces  # its imports are not for --help

    return show_traces(bundle, as_json, values)
