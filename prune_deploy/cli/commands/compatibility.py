"""`prune-deploy compatibility`."""

from __future__ import annotations

import math
from pathlib import Path

import click

from prune_deploy.cli.options.values import WORDS
from prune_deploy.cli.output.console import json_option


def _seconds(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value} is not a positive number of seconds.")
    return value


@click.command("compatibility")
@click.option(
    "--families",
    type=WORDS,
    metavar="LIST",
    default="",
    help="timm names, comma-separated. Default: one for each family, see docs/results/compatibility.md.",
)
@click.option(
    "--random", "count", type=click.IntRange(min=0), default=0, help="Also try this many other timm models, drawn at random."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of that draw.")
@click.option("--ratio", type=float, default=0.5, show_default=True, help="Share of each group's channels to remove.")
@click.option("--limit-s", type=float, callback=_seconds, default=120.0, show_default=True, help="Seconds for one architecture.")
@click.option("--fresh", is_flag=True, help="Do finished ones again.")
@click.option(
    "--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Also write the table into this file, between its marks."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("profiles/compatibility"),
    show_default=True,
    help="Folder of the rows and logs; the same command goes on there.",
)
@json_option
def command(
    families: tuple[str, ...],
    count: int,
    seed: int,
    ratio: float,
    limit_s: float,
    fresh: bool,
    markdown: Path | None,
    out: Path,
    as_json: bool,
) -> int:
    """Try architectures all the way: prune, reload, ONNX, ONNX Runtime, engine.

    PASS: at least half of the parameters gone and every stage holds. PARTIAL: every stage holds with less gone. FAIL: an error. TIMEOUT:
    the limit was passed. Exit code 1 if a row is FAIL or TIMEOUT.
    """
    from prune_deploy.cli.actions.compatibility import run_matrix  # its imports are not for --help

    return run_matrix(families, count, seed, ratio, limit_s, fresh=fresh, markdown=markdown, out=out, as_json=as_json)
