"""Renders runs as a table, a page or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from prune_deploy.cli.output.console import data_console, emit_json, emit_text, say
from prune_deploy.cli.output.latency_table import print_records, print_remarks
from prune_deploy.errors import InputError, VerificationError, storage_errors
from prune_deploy.files import resolved, write_bytes
from prune_deploy.reporting.figures.reanalysis import reanalyze
from prune_deploy.reporting.figures.report import Report, make_report
from prune_deploy.reporting.figures.summary import summaries
from prune_deploy.reporting.renderers import Format, render
from prune_deploy.reporting.renderers.json_document import document
from prune_deploy.runs import Run, read_run

_PLOTS_DIR = "plots"


def report_runs(
    folders: Sequence[Path],
    form: str | None,
    out: Path | None,
    again: bool,
    as_json: bool,
    *,
    title: str = "",
    with_table: bool = False,
) -> None:
    """Show runs as findings and a page, or in one format.

    With `again`, figures are computed again from the samples. `title` is the heading in place of the models' names. `with_table` prints
    the cases too.

    Raises:
        InputError: a folder is no run, a run is named twice, or --out says what no file can be.
        VerificationError: the samples give other figures than the records.
        StorageError: the report cannot be written.
    """
    if len({resolved(folder) for folder in folders}) < len(folders):
        raise InputError("a run is named twice", fix="name each run once")
    runs = [_read(folder, again) for folder in folders]
    report = make_report(runs, title)
    written = None
    if form is not None or not as_json or out is not None:
        written = _write(report, cast(Format, form or "html"), out, folders[0], to_stdout=not as_json)
    if as_json:
        emit_json({**document(report), "report": None if written is None else str(written)})
    elif form is None:
        _print_findings(runs, report, with_table=with_table)
    if written is not None and not as_json:
        say(f"report: {written}") if form is not None else data_console.print(f"report: {written}", soft_wrap=True)


def _read(folder: Path, again: bool) -> Run:
    """A run, its figures made again if `again`.

    Raises:
        VerificationError: they are not those on record.
    """
    read = read_run(folder)
    if read.dropped_lines:
        say(f"{folder}: the last record was half-written and is left out")
    if not again:
        return read
    done = list(reanalyze(read))
    changed = [each.record for each in done if not each.is_same]
    if changed:
        names = ", ".join(sorted({record.comparison for record in changed}))
        raise VerificationError(
            f"{folder}: {names}: the samples give other figures than the record",
            fix="the run was made by another release, or was changed: measure again",
        )
    say(f"{len(done)} cases computed again from raw samples: the same figures")
    return replace(read, cases=tuple(each.record for each in done))


def _print_findings(runs: Sequence[Run], report: Report, *, with_table: bool) -> None:
    for run, summary in zip(runs, summaries(report), strict=True):
        if len(runs) > 1:
            data_console.print(f"\n{summary.machine}, {summary.id}", style="bold")
        if with_table:
            print_records(run.cases)
        else:
            for line in (*summary.sentences, *summary.undecided):
                data_console.print(line)
            print_remarks(run.cases)
        data_console.print(f"run: {run.folder}", soft_wrap=True)


def _write(report: Report, form: Format, out: Path | None, first: Path, *, to_stdout: bool) -> Path | None:
    """Write the report and return its place, None for standard output."""
    if form == "png":
        folder = out or first / _PLOTS_DIR
        with storage_errors(folder, every=True):
            folder.mkdir(parents=True, exist_ok=True)
        for name, content in render(report, form, folder).items():
            write_bytes(folder / name, content)
        return folder
    if out is not None and out.is_dir():
        raise InputError(f"--out {out} is a folder", fix=f"name the file, for example --out {out / f'report.{form}'}")
    folder = first if out is None else out.parent
    ((name, content),) = render(report, form, folder).items()
    if out is None and form != "html":
        if to_stdout:
            emit_text(content.decode())
        return None
    path = out or first / name
    with storage_errors(path, every=True):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)
    return path
