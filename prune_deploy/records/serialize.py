"""Conversion of records and specs to JSON text and back."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

import cattrs
from cattrs.gen import make_dict_structure_fn

from prune_deploy.errors import InputError
from prune_deploy.records.upgrades import SCHEMA_VERSION, is_changed, upgrade

T = TypeVar("T")

_CONVERTER = cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=False)


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Return a record or spec as JSON text.

    Bytes of a path that are no text are escaped, since no file could hold them otherwise.
    """
    data = _CONVERTER.unstructure(value)
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
        data = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
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


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


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
