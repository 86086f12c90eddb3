"""Options of tables: all columns, and every remark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_KEY = "prune_deploy.table"


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Further output: all columns, all remarks."""

    wide: bool = False
    verbose: bool = False


def table_options() -> TableOptions:
    """Return the options of the running command, the defaults outside of one."""
    context = click.get_current_context(silent=True)
    chosen: dict[str, bool] = {} if context is None else context.meta.get(_KEY, {})
    return TableOptions(**chosen)


def table_option(command: F) -> F:
    """Add --wide and --verbose to a command that prints measurements."""

    def note(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        context.meta.setdefault(_KEY, {})[parameter.name] = value

    wide = click.option("--wide", is_flag=True, expose_value=False, callback=note, help="Print all columns, however wide.")
    verbose = click.option(
        "--verbose", is_flag=True, expose_value=False, callback=note, help="Print all remarks on the measurements."
    )
    return wide(verbose(command))
