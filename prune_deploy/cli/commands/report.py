"""`prune-deploy report`."""

from __future__ import annotations

from pathlib import Path

import click

from prune_deploy.cli.output.console import json_option
from prune_deploy.cli.output.table_options import table_option


@click.command("report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "md", "csv", "json", "png"]),
    help="html: one page that opens offline. md: for a pull request. csv: a line per case. json: all of it. png: the plots.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where to write; a folder for png. Default: the first run's folder for html and png, stdout for the others.",
)
@click.option(
    "--reanalyze", "again", is_flag=True, help="Compute every figure again from the raw samples; exit code 1 if one differs."
)
@click.option("--title", default="", metavar="TEXT", help="Heading of the page or the Markdown text. Default: the models.")
@click.option("--table", "with_table", is_flag=True, help="Print the table of cases too, as bench does.")
@table_option
@json_option
def command(
    runs: tuple[Path, ...], form: str | None, out: Path | None, again: bool, title: str, with_table: bool, as_json: bool
) -> None:
    """Show one or several runs, without a GPU or a runtime.

    Without --format the findings are printed and report.html written into the first run's folder. Runs of several machines stand side
    by side in one report.

    \b
    prune-deploy report profiles/20261121-101500-bench-resnet50-l2-r0.50-1a2b
    prune-deploy report profiles/laptop profiles/workstation --format csv --out cases.csv
    """
    from prune_deploy.cli.actions.report import report_runs  # its imports are not for --help

    report_runs(runs, form, out, again, as_json, title=title, with_table=with_table)
