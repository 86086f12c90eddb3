"""Names and types of the arguments of requests.

They are checked, and what is clear is accepted.

`checked` goes above `@dataclass`. Wrong arguments are then an InputError that names the field, at the place of the mistake.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from prune_deploy.errors import InputError, described, setting

T = TypeVar("T")

_WORDS: Mapping[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "True or False",
    str: "a text",
    Path: "a path",
}
_EXAMPLES: Mapping[str, Any] = {
    "ratio": 0.5,
    "target_macs": "0.5x",
    "target_params": "0.5x",
    "plan": "plan.json",
    "name": "resnet50",
    "num_classes": 10,
    "input_size": (3, 224, 224),
    "threads": 4,
    "budget_s": 30.0,
    "data": "digits",
    "models": ("resnet18", "resnet50"),
    "methods": ("l2",),
    "ratios": (0.3, 0.5),
    "backends": ("eager", "ort"),
    "backend": "ort",
    "precision": "fp32",
    "batch": (1, 8),
    "kind": "2:4",
}
"""Values of settings whose default is none that could be shown."""


class _UnfitError(Exception):
    """A value that is not of a field's type."""


def checked(cls: type[T]) -> type[T]:
    """Check names and types of the arguments of a dataclass.

    Lists become tuples, one value stands for a tuple of one, NumPy's numbers become Python's, and paths texts where a text is
    asked for. A nested request may be given by its first field alone.
    """
    kind: type = cls
    initialise: Callable[..., None] = vars(cls)["__init__"]

    @functools.wraps(initialise)
    def initialise_checked(self: Any, *values: Any, **named: Any) -> None:
        hints = _types(kind)
        given = _bound(kind, values, named)
        initialise(self, **{name: fitting(name, hints[name], value, kind) for name, value in given.items()})
        for name, value in given.items():
            if isinstance(value, str) and value not in (words := _choices(hints[name])) and words:
                raise InputError(f"`{name}` got {value!r}", fix=f"one of {', '.join(filter(None, words))}", field=name)

    setattr(cls, "__init__", initialise_checked)  # noqa: B010 - as an assignment, mypy would not allow it
    return cls


@functools.cache
def _types(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


@functools.cache
def _signature(cls: type) -> inspect.Signature:
    return inspect.signature(cls)


def _bound(cls: type, values: Sequence[Any], named: dict[str, Any]) -> dict[str, Any]:
    """Return the given arguments by name."""
    signature = _signature(cls)
    if unknown := [name for name in named if name not in signature.parameters]:
        near = difflib.get_close_matches(unknown[0], signature.parameters, n=1)
        raise InputError(
            f"{cls.__name__} has no `{unknown[0]}`",
            fix=f"did you mean `{near[0]}`?" if near else f"it has {', '.join(signature.parameters)}",
            field=unknown[0],
        )
    try:
        given = signature.bind_partial(*values, **named).arguments
    except TypeError as error:
        first = next(iter(signature.parameters))
        raise InputError(f"{cls.__name__}: {error}", fix=f"give names to all but `{first}`, the first", field=first) from None
    for name, parameter in signature.parameters.items():
        if name not in given and parameter.default is inspect.Parameter.empty:
            raise InputError(
                f"{cls.__name__} needs `{name}`", fix=_advice(name, _example(cls, name), _types(cls)[name]), field=name
            )
    return given


def fitting(name: str, hint: Any, value: Any, cls: type | None = None) -> Any:
    """Return an argument's value as its type says, if that is clear.

    `cls` is the request whose field it is, None for an argument of a function.

    Raises:
        InputError: it is of another type.
    """
    try:
        return _converted(hint, value)
    except _UnfitError:
        example = _EXAMPLES.get(name) if cls is None else _example(cls, name)
        raise InputError(
            f"`{name}` must be {_described(hint)}, got {described(value)}", fix=_advice(name, example, hint), field=name
        ) from None


def _advice(name: str, example: Any, hint: Any) -> str:
    return f"give {_described(hint)}" if example is None else f"for example {setting(name, example)}"


def _converted(hint: Any, value: Any) -> Any:
    """Return a value as its field holds it.

    Raises:
        _UnfitError: it is of another type.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _any_of(parts, value)
    if origin is tuple:
        return _several(parts[0], value)
    if origin is Literal:
        hint = str
    if hint in (int, float):
        return _number(hint, value)
    if hint is str and isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if hint is Path and isinstance(value, (str, os.PathLike)):
        return Path(value)
    if isinstance(value, (str, float)) and dataclasses.is_dataclass(hint):
        make: Any = hint  # a request by its first field alone
        return make(value)
    if hint in (str, Path) or not isinstance(hint, type) or not isinstance(value, hint):
        raise _UnfitError
    return value


def _number(kind: type, value: Any) -> int | float:
    """Return a number as Python's, be it one of NumPy's."""
    if isinstance(value, bool):
        raise _UnfitError
    if isinstance(value, int) or (kind is float and isinstance(value, float)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if kind is float and isinstance(value, Real):
        return float(value)
    raise _UnfitError


def _any_of(hints: Sequence[Any], value: Any) -> Any:
    if value is None and NoneType in hints:
        return None
    for hint in hints:
        try:
            return _converted(hint, value)
        except _UnfitError:
            continue
    raise _UnfitError


def _several(hint: Any, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str) and (hint is str or get_origin(hint) is Literal):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return tuple(_converted(hint, part) for part in value)
    return (_converted(hint, value),)


def _described(hint: Any) -> str:
    """Return a type in words: "a number", "a PruneSpec"."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_described(part) for part in parts if part is not NoneType)
    if origin is tuple:
        return f"a sequence of {_plural(parts[0])}" if parts[-1] is Ellipsis else f"{len(parts)} {_plural(parts[0])}"
    if origin is Literal:
        return f"one of {', '.join(filter(None, parts))}"
    return _WORDS.get(hint) or f"a {hint.__name__}"


def _plural(hint: Any) -> str:
    words = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}
    return words.get(hint) or (f"{hint.__name__}s" if isinstance(hint, type) else f"({_described(hint)})")


def _choices(hint: Any) -> tuple[str, ...]:
    """Return the words that a field may hold, nothing if any."""
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return parts
    if get_origin(hint) in (Union, UnionType):
        return next((get_args(part) for part in parts if get_origin(part) is Literal), ())
    return ()


def _example(cls: type, name: str) -> Any:
    """Return a value that a field may have.

    It is None where none says something.
    """
    if name in _EXAMPLES:
        return _EXAMPLES[name]
    (field,) = (each for each in dataclasses.fields(cls) if each.name == name)
    if field.default is not dataclasses.MISSING and field.default is not None:
        return field.default
    hint = _types(cls)[name]
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return next((example for kind, example in ((int, 8), (float, 0.5), (bool, True)) if kind in kinds), None)
