"""Specs from handwritten tables, without guessing.

Every mistake is named by its key.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal, TypeVar, get_args, get_origin

import cattrs

from prune_deploy.errors import InputError

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]

_CONVERTER = cattrs.Converter(forbid_extra_keys=True)


def structure(cls: type[T], data: Any, *, source: str, fix: str) -> T:
    """Build the spec of class `cls` from plain tables, lists and values.

    `source` names the file in errors. Only whole numbers are converted, to fractions: "4" is no number, and a word is no list.
    `fix` is for mistakes that have no fix of their own.

    Raises:
        InputError: it names each wrong key.
    """
    try:
        return _CONVERTER.structure(data, cls)
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of all kinds of errors
        fixes: list[str] = []
        problems = cattrs.transform_error(error, format_exception=lambda mistake, _: _mistake(mistake, cls, fixes))
        message = "; ".join(_by_key(problem) for problem in problems)
        raise InputError(f"{source}: {message}", fix="; ".join(dict.fromkeys(fixes)) or fix) from None


def _by_key(problem: str) -> str:
    """Return the problem with its key first.

    cattrs writes "what @ $.key".
    """
    message, _, path = problem.rpartition(" @ $")
    return f"{path.removeprefix('.')}: {message}" if path else message


def _mistake(error: BaseException, whole: type, fixes: list[str]) -> str:
    """Describe one mistake in words.

    Its fix is added to `fixes`. `whole` is the class of the whole file.
    """
    if isinstance(error, InputError):
        fixes.append(error.fix)
        return error.message
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        fixes.extend(_fix_for_key(key, error.cl, whole) for key in sorted(error.extra_fields))
        return f"unknown {', '.join(sorted(error.extra_fields))}"
    if isinstance(error, KeyError):
        return "is missing"
    if isinstance(error, (TypeError, AttributeError)):
        return "a table is expected here"  # cattrs looked up a key in something that has none
    return str(error)


def _fix_for_key(key: str, cls: Any, whole: Any) -> str:
    """Return a fix for a key that `cls` does not know."""
    known = [field.name for field in fields(cls)]
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"did you mean {near[0]}, not {key}?"
    if key in {field.name for field in fields(whole)}:
        return f"move {key} above the first [table]: what follows a table belongs to it"
    return f"drop {key}; known are {', '.join(known)}"


def _value(kinds: tuple[type, ...], expected: str) -> Hook:
    """Return a hook that accepts only values of `kinds`.

    Values that could be converted to them are refused.
    """

    def hook(value: Any, cls: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(f"{expected} is expected here, got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{expected} is expected here, got {value!r}")
        return cls(value)

    return hook


def _literal(cls: Any) -> Hook:
    choices = get_args(cls)

    def hook(value: Any, _: Any) -> Any:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)} is expected here, got {value!r}")
        return value

    return hook


def _list(cls: Any) -> Hook:
    """Return a hook for tuples of one type.

    Without it a word would pass for the list of its letters.
    """
    element, *rest = get_args(cls)
    length = None if rest == [...] else 1 + len(rest)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise ValueError(f"a list{'' if length is None else f' of {length}'} is expected here, got {value!r}")
        return tuple(_CONVERTER.structure(value, list[element]))  # type: ignore[valid-type]

    return hook


def _is(kind: Any) -> Callable[[Any], bool]:
    return lambda cls: get_origin(cls) is kind


_CONVERTER.register_structure_hook(bool, _value((bool,), "true or false"))
_CONVERTER.register_structure_hook(int, _value((int,), "a whole number"))
_CONVERTER.register_structure_hook(float, _value((int, float), "a number"))
_CONVERTER.register_structure_hook(str, _value((str,), "a text in quotes"))
_CONVERTER.register_structure_hook_factory(_is(Literal), _literal)
_CONVERTER.register_structure_hook_factory(_is(tuple), _list)
