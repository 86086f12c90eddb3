"""Pruning methods, which score channels.

Each module of this package defines `METHODS`, a dict from name to Method. The modules are discovered, without a list. Other
packages add theirs through the entry point group `prune_deploy.methods` (name → Method class or plain score function).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points

from prune_deploy.errors import InputError
from prune_deploy.interfaces import Method
from prune_deploy.pruning.methods.base import FunctionMethod


@cache
def discover() -> dict[str, Callable[[int], Method]]:
    """Return every method by name, as a factory that takes a seed."""
    methods: dict[str, Callable[[int], Method]] = {}
    for module in pkgutil.iter_modules(__path__):
        methods.update(getattr(importlib.import_module(f"{__name__}.{module.name}"), "METHODS", {}))
    for entry in entry_points(group="prune_deploy.methods"):
        methods[entry.name] = _third_party(entry.name, entry.load())
    return dict(sorted(methods.items()))


def _third_party(name: str, loaded: object) -> Callable[[int], Method]:
    if isinstance(loaded, type):
        return lambda _seed: loaded()
    if callable(loaded):
        return lambda _seed: FunctionMethod(name, loaded)
    raise InputError(f"the method {name!r} is neither a Method class nor a function", fix="see prune_deploy.interfaces.Method")


def create(name: str, seed: int = 0) -> Method:
    """Return the method called `name`.

    Raises:
        InputError: no such method.
    """
    methods = discover()
    if name not in methods:
        raise InputError(f"unknown pruning method {name!r}", fix=f"one of {', '.join(methods)}")
    return methods[name](seed)
