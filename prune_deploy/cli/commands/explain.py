"""`prune-deploy explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prune_deploy.cli.options.common import backend_option, batch_option, precision_option
from prune_deploy.cli.options.measure import how_options
from prune_deploy.cli.output.console import json_option


@click.command("explain", context_settings={"default_map": {"rigor": "quick"}})
@click.argument("bundle", type=click.Path(path_type=Path))
@backend_option("One; trt:cuda-graph names a variant.", "ort")
@precision_option("fp32, tf32 (on a GPU), fp16, bf16 or int8.", "fp32")
@click.option("--against", help="Explain the bundle against itself in this precision, instead of against its dense model.")
@batch_option("Batch sizes, for example 1,8: each is explained on its own.", "1")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Layers to print.")
@click.option("--out", type=click.Path(file_okay=False), help="Folder of the run. Default: profiles/<time>-…")
@how_options
@json_option
def command(bundle: Path, as_json: bool, **values: Any) -> int:
    """Explain layer by layer why BUNDLE takes the time it takes.

    Half the MACs, why not half the time? Measures BUNDLE beside its dense model, traces both afterwards, and labels every layer
    with a cause and its evidence. Exit code 1 if a case failed, 4 if the backend cannot run here.
    """
    from prune_deploy.cli.actions.explain import explain_bundle  # its imports are not for --help

    return explain_bundle(bundle, as_json, values)
