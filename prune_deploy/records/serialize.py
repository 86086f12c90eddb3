"""Conversion of records and specs to JSON text and back."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any, TypeVar

import cattrs
from cattrs.gen import make_dict_structure_fn

from prune_deploy.errors import InputError
from prune_deploy.records.upgrades import SCHEMA_VERSION, is_changed, upgrade

T = TypeVar("T")

_LARGEST = 1e100
"""Largest number of a record. Figures multiply and divide several of them."""

_DIGITS = 20
"""Digits of a whole number: those of 64 bits, or a sign and one fewer."""

_CONVERTER = cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=False)


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Return a record or spec as JSON text.

    Bytes of a path that are no text are escaped, since no file could hold them otherwise.

    Raises:
        InputError: a whole number is too large to be read again.
    """
    data = _CONVERTER.unstructure(value)
    if _largest_whole(data) >= 10 ** (_DIGITS - 1):
        raise InputError("a number has too many digits to be stored", fix="use smaller numbers")
    text = json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False)
    return text if _is_encodable(text) else json.dumps(data, indent=indent, allow_nan=False)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def from_json(cls: type[T], text: str | bytes, *, source: str) -> T:
    """Parse the record of class `cls` from `text`.

    `source` names the file in errors. A document of an earlier schema is read as today's, and says so in its version.

    Raises:
        InputError: not JSON, not this record, or written by a newer schema.
    """
    try:
        data = json.loads(text, parse_constant=_refuse_constant, parse_float=_number, parse_int=_whole_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not valid JSON: {error}", fix="write it again, or restore it from its source") from None
    version = data.get("schema_version", SCHEMA_VERSION) if isinstance(data, dict) else SCHEMA_VERSION
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{source} has schema version {version}; this release reads up to {SCHEMA_VERSION}", fix="upgrade prune-deploy"
        )
    try:
        if isinstance(version, int) and 0 < version < SCHEMA_VERSION:
            return _converter_from(version).structure(data | {"schema_version": SCHEMA_VERSION}, cls)
        return _CONVERTER.structure(data, cls)
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of all kinds of errors
        problems = "; ".join(cattrs.transform_error(error))
        raise InputError(f"{source} is not a {cls.__name__}: {problems}", fix="write it again with this release") from None


def _number(text: str) -> float:
    number = float(text)
    if not abs(number) <= _LARGEST:
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _whole_number(text: str) -> int:
    if len(text) > _DIGITS:  # of a million digits, int() would take a minute or refuse
        raise ValueError(f"{text[:20]}… is too large a number")
    return int(text)


def _largest_whole(data: Any) -> int:
    """Return the largest magnitude of the whole numbers in plain data."""
    if isinstance(data, dict):
        return max(map(_largest_whole, data.values()), default=0)
    if isinstance(data, (list, tuple)):
        return max(map(_largest_whole, data), default=0)
    return abs(data) if isinstance(data, int) else 0


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number that JSON has")


@functools.cache
def _converter_from(version: int) -> cattrs.Converter:
    """Return a converter that upgrades records of an earlier version."""
    converter = cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=False)

    def reader(cls: Any) -> Callable[[Any, Any], Any]:
        read = make_dict_structure_fn(cls, converter)

        def structure(data: Any, kind: Any) -> Any:
            return read(upgrade(cls.__name__, data, version) if isinstance(data, dict) else data, kind)

        return structure

    converter.register_structure_hook_factory(
        lambda cls: dataclasses.is_dataclass(cls) and is_changed(getattr(cls, "__name__", ""), version), reader
    )
    return converter
