"""Console: data on stdout, all messages on stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Table

from prune_deploy.errors import StorageError
from prune_deploy.specs.options import as_options

_PIPE_WIDTH = 160
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""C0 and C1 control characters but tabulator and line feed."""


class _DataConsole(Console):
    """Standard output.

    A closed reader (`| head`) ends the command quietly. A full disk is an error.
    """

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # Rich would end the program here, whatever is still to be done

    def print(self, *objects: Any, **options: Any) -> None:
        with _to_stdout():
            super().print(*map(_spoken, objects), **options)


class _LogConsole(Console):
    """Standard error.

    Work continues when nobody can read its progress.
    """

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*map(_spoken, objects), **options)
        except OSError:
            _discard(sys.stderr)


@contextmanager
def _to_stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as error:
        _discard(sys.stdout)
        raise StorageError(
            f"cannot write standard output: {error.strerror}", fix="send the output where there is room"
        ) from error


def _discard(stream: TextIO) -> None:
    """Discard further output and the buffer.

    The interpreter flushes once more when it ends.
    """
    with suppress(OSError, ValueError):  # in tests a stream may have no file descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def in_options(text: str) -> str:
    """Put a library's text in the words of the running command.

    Code spans that name settings become options.
    """
    context = click.get_current_context(silent=True)
    command = None if context is None else context.command
    own = (
        []
        if command is None
        else [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
    )
    return as_options(text, own)


def _spoken(thing: Any) -> Any:
    return printable(in_options(thing)) if isinstance(thing, str) else thing


def printable(text: str) -> str:
    """Show characters that a terminal obeys as escapes.

    Names in bundles and runs come from unknown sources.
    """
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class TextTable(Table):
    """A table whose cells speak of options, as everything printed does."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*map(_spoken, cells), **options)


def _width() -> int | None:
    """Give tables the width of file names where no terminal sets one."""
    return None if sys.stdout is not None and sys.stdout.isatty() else _PIPE_WIDTH


# No markup: names of files and errors of libraries hold brackets.
data_console = _DataConsole(highlight=False, markup=False, width=_width())
log_console = _LogConsole(stderr=True, highlight=False, markup=False)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout instead of text.")


def emit_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    with _to_stdout():
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def emit_text(text: str) -> None:
    """Print a text on stdout exactly as it is."""
    with _to_stdout():
        click.echo(text, nl=False)


def say(message: str) -> None:
    """Say what is going on, on stderr."""
    log_console.print(message, soft_wrap=True)


def table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table: text left-aligned, numbers right-aligned.

    A column holds numbers if its name ends in a unit.
    """
    result = TextTable(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        right = column.endswith((" M", " G", " s", "%", "kept", "dense", "MB"))
        # The first column holds names that users copy, so they stay on one line.
        result.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=index == 0)
    return result
