"""Tries architectures and shows their rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from prune_deploy.cli.output.console import data_console, emit_json, table
from prune_deploy.cli.output.progress import StageLines
from prune_deploy.errors import InputError
from prune_deploy.files import read_file, write_text
from prune_deploy.records import STAGES, Compatibility
from prune_deploy.reporting.renderers.compatibility import counts, markdown_table, obstacle
from prune_deploy.workflows.compatibility import CompatibilityRequest, choose_models, try_models

_BEGIN, _END = "<!-- compatibility -->", "<!-- end of compatibility -->"


def run_matrix(
    families: tuple[str, ...],
    count: int,
    seed: int,
    ratio: float,
    limit_s: float,
    *,
    fresh: bool,
    markdown: Path | None,
    out: Path,
    as_json: bool,
) -> int:
    """Try the models, show their rows, and return the exit code.

    Raises:
        InputError: an unknown model, a value out of its range, or a file without the marks.
    """
    if markdown is not None:
        _parts(markdown)  # before hours of work, not after
    request = CompatibilityRequest(models=choose_models(families, count, seed), ratio=ratio, limit_s=limit_s, fresh=fresh)
    rows = []
    progress = StageLines()
    for row in try_models(request, out, progress):
        rows.append(row)
        progress.note(f"{row.model}: {row.verdict}, {row.seconds:.0f} s{f', {row.reason}' if row.reason else ''}")
    if markdown is not None:
        before, after = _parts(markdown)
        message = f"{counts(rows)} of {len(rows)}, at ratio {ratio:g}."
        write_text(markdown, f"{before}{_BEGIN}\n\n{message}\n\n{markdown_table(rows)}\n\n{_END}{after}")
    if as_json:
        emit_json({"rows": [dataclasses.asdict(row) | {"gone": row.gone} for row in rows], "counts": counts(rows)})
    else:
        _show(rows)
    return 1 if any(row.verdict in ("FAIL", "TIMEOUT") for row in rows) else 0


def _parts(path: Path) -> tuple[str, str]:
    """Return the text before and after the table of a document."""
    try:
        text = read_file(path).decode() if path.exists() else ""
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8", fix="name a Markdown document") from None
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise InputError(f"{path} has no lines {_BEGIN} and {_END}", fix="put both into the document, where the table belongs")
    return before, after


def _show(rows: Sequence[Compatibility]) -> None:
    shown = table("model", "parameters M", "left M", "gone", "reached", "verdict", "s", "what is in the way")
    for row in rows:
        sizes = ["-" if value is None else f"{value / 1e6:.2f}" for value in (row.params_before, row.params_after)]
        gone = "-" if row.gone is None else f"{row.gone:.0%}"
        reached = "all" if row.reached == STAGES[-1] else (row.reached or "none")
        shown.add_row(row.model, *sizes, gone, reached, row.verdict, f"{row.seconds:.0f}", obstacle(row))
    data_console.print(shown)
    data_console.print(f"{counts(rows)} of {len(rows)}")
