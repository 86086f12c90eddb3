"""`prune-deploy explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prune_deploy.cli.options.common import complete_backends
from prune_deploy.cli.options.measure import how_options
from prune_deploy.cli.output.console import json_option


@click.command("explain", context_settings={"default_map": {"rigor": "quick"}})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--backend", default="ort", show_default=True, shell_complete=complete_backends, help="One; trt:cuda-graph names a variant."
)
@click.option("--precision", default="fp32", show_default=True, help="fp32, tf32 (on a GPU), fp16, bf16 or int8.")
@click.option("--against", help="Explain the bundle against itself in this precision, instead of against its dense model.")
@click.option("--batch", default="1", show_default=True, help="Batch sizes, for example 1,8: each is explained on its own.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Layers to print.")
@click.option("--out", type=click.Path(file_okay=False), help="Folder of the run. Default: profiles/<time>-…")
@how_options
@json_option
def command(bundle: Path, as_json: bool, **values: Any) -> int:
    """Say why BUNDLE takes the time it takes: half the MACs, why not half the time?

    Measures it beside its dense model, traces both afterwards, and labels every layer with a cause and its evidence. Exit code 1 if a
    case failed, 4 if the backend cannot run here.
    """
    from prune_deploy.cli.actions.explain import explain_bundle  # its imports are not for --help

    return explain_bundle(bundle, as_json, values)
