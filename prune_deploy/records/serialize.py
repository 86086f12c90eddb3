"""Conversion of records and specs to JSON text and back."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import cattrs

from prune_deploy.errors import InputError

SCHEMA_VERSION = 1
"""Version of every JSON file this package writes. History:

1 (2026-11): bundle.json, recipe.json and width plans as first released.
"""

T = TypeVar("T")

_CONVERTER = cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=False)


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Return a record or spec as JSON text."""
    return json.dumps(_CONVERTER.unstructure(value), indent=indent, ensure_ascii=False, allow_nan=False)


def from_json(cls: type[T], text: str | bytes, *, source: str) -> T:
    """Parse the record of class `cls` from `text`.

    `source` names the file in errors.

    Raises:
        InputError: not JSON, not this record, or written by a newer schema.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not valid JSON: {error}", fix="write it again, or restore it from its source") from None
    version = data.get("schema_version", SCHEMA_VERSION) if isinstance(data, dict) else SCHEMA_VERSION
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{source} has schema version {version}; this release reads up to {SCHEMA_VERSION}", fix="upgrade prune-deploy"
        )
    try:
        return _CONVERTER.structure(data, cls)
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of all kinds of errors
        problems = "; ".join(cattrs.transform_error(error))
        raise InputError(f"{source} is not a {cls.__name__}: {problems}", fix="write it again with this release") from None
