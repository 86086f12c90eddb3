"""`prune-deploy compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prune_deploy.cli.options.measure import how_options, what_options
from prune_deploy.cli.output.console import json_option
from prune_deploy.cli.output.table_options import table_option


@click.command("compare")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@what_options
@how_options
@table_option
@click.option("--fail-if-slower", metavar="SHARE", help="Exit code 1 if NEW takes surely more than this longer, for example 3%.")
@click.option("--require-verdict", is_flag=True, help="Exit code 3 if a case stays INCONCLUSIVE.")
@json_option
def command(old: Path, new: Path, as_json: bool, **values: Any) -> int:
    """Compare bundle NEW with bundle OLD, or run NEW with run OLD.

    Bundles are measured now and interleaved. Runs are compared as recorded, each one through its own dense model, since absolute
    times of two days do not compare. Gates end with exit code 1 when NEW is slower than allowed and 3 when the measurement cannot
    tell.
    """
    from prune_deploy.cli.actions.compare import compare  # its imports are not for --help

    return compare(old, new, as_json, values)
