"""Runtimes that open an artifact and run it.

Each module of this package defines `BACKEND`. Modules are found, never listed. Other packages add theirs through the entry point
group `prune_deploy.backends` (name → Backend object).
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from prune_deploy.errors import CannotRunError, InputError
from prune_deploy.interfaces import Backend


@cache
def discover() -> dict[str, Backend]:
    """Return every backend by name.

    Importing a backend's module must not import its runtime.
    """
    by_name: dict[str, Backend] = {}
    for module in pkgutil.iter_modules(__path__):
        backend = getattr(importlib.import_module(f"{__name__}.{module.name}"), "BACKEND", None)
        if backend is not None:
            by_name[backend.name] = backend
    for entry in entry_points(group="prune_deploy.backends"):
        by_name[entry.name] = entry.load()
    return dict(sorted(by_name.items()))


def offered() -> tuple[str, ...]:
    """Return the names of the backends that compute something."""
    return tuple(name for name, backend in discover().items() if backend.consumes != "nothing")


def usable(name: str) -> Backend:
    """The backend called `name`, known to work here.

    Raises:
        InputError: no such backend.
        CannotRunError: its runtime does not work on this machine.
    """
    if name not in discover():
        raise InputError(f"unknown backend {name!r}", fix=f"one of {', '.join(offered())}")
    backend = discover()[name]
    state = backend.available()
    if not state.available:
        raise CannotRunError(f"backend {name} cannot run here: {state.reason}", fix=state.fix)
    return backend
