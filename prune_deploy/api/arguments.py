"""Arguments of the Python API: folders, names, sizes and specs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prune_deploy.errors import InputError

Folder = str | os.PathLike[str]
"""A folder as text, as a path, or as what made it: `Exported` and `Finetuned` are paths of their bundles."""

S = TypeVar("S")


def spec_of(kind: type[S], spec: S | None, fields: dict[str, Any]) -> S:
    """Return the given spec, or build one from the given fields."""
    if spec is None:
        return kind(**fields)
    if fields:
        raise InputError(f"both a {kind.__name__} and its fields were given: {', '.join(fields)}", fix="give one of the two")
    return spec


def folders_of(bundles: Folder | Iterable[Folder]) -> tuple[Path, ...]:
    """Return one folder or several as paths."""
    return (Path(bundles),) if isinstance(bundles, (str, os.PathLike)) else tuple(Path(each) for each in bundles)


def names_of(names: str | Sequence[str]) -> tuple[Any, ...]:
    """Return names from a sequence or a comma list."""
    return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else tuple(names)


def sizes_of(batch: int | Sequence[int]) -> tuple[int, ...]:
    """Return one batch size or several."""
    return (batch,) if isinstance(batch, int) else tuple(batch)
