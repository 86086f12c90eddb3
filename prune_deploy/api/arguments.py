"""Arguments of the Python API: folders, names, sizes, specs and models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prune_deploy.errors import InputError, described
from prune_deploy.files import as_folder
from prune_deploy.interfaces import Progress, Silent
from prune_deploy.specs.checked import fitting

if TYPE_CHECKING:
    from torch import nn

Folder = str | os.PathLike[str]
"""A folder as text, as a path, or as what made it: `Exported` and `Finetuned` are paths of their bundles."""

S = TypeVar("S")


def spec_of(kind: type[S], spec: object, fields: dict[str, Any]) -> S:
    """Return the given spec, or build one from the given fields.

    Its first field may be given alone, in place of a spec: `prune(model, 0.5)`.

    Raises:
        InputError: both a spec and its fields were given, or what is given is neither.
    """
    if spec is None:
        return kind(**fields)
    if isinstance(spec, kind):
        if fields:
            raise InputError(f"both a {kind.__name__} and its fields were given: {', '.join(fields)}", fix="give one of the two")
        return spec
    if isinstance(spec, (str, Real)):
        make: Callable[..., S] = kind
        return make(spec, **fields)
    raise InputError(
        f"a {kind.__name__} is asked for, got {described(spec)}", fix=f"give a {kind.__name__}, or its fields by name"
    )


def require(kind: type[S], value: object, name: str, fix: str) -> S:
    """Return a value that must be of one kind.

    Raises:
        InputError: it is of another.
    """
    if isinstance(value, kind):
        return value
    raise InputError(f"`{name}` must be a {kind.__name__}, got {described(value)}", fix=fix, field=name)


def folders_of(bundles: Folder | Iterable[Folder]) -> tuple[Path, ...]:
    """Return one folder or several as paths.

    Raises:
        InputError: it is none, or something else.
    """
    if isinstance(bundles, (str, bytes, os.PathLike)) or not isinstance(bundles, Iterable):
        return (as_folder(bundles),)
    if not (folders := tuple(map(as_folder, bundles))):
        raise InputError("no bundle was given", fix="give the folder of one, or several in a list", field="bundles")
    return folders


def folder_or_none(out: Folder | None) -> Path | None:
    """Return a folder's path, or None for the default."""
    return None if out is None else as_folder(out)


def names_of(name: str, names: str | Sequence[str]) -> tuple[Any, ...]:
    """Return names from a sequence or a comma list.

    Raises:
        InputError: they are no texts.
    """
    found: tuple[str, ...] = fitting(name, tuple[str, ...], names)
    return found


def sizes_of(batch: int | Sequence[int]) -> tuple[int, ...]:
    """Return one batch size or several.

    Raises:
        InputError: they are no positive whole numbers.
    """
    sizes: tuple[int, ...] = fitting("batch", tuple[int, ...], batch)
    if not sizes or min(sizes) < 1:
        raise InputError(f"`batch` must be positive, got {described(batch)}", fix="for example `batch=(1, 8)`", field="batch")
    return sizes


def watcher_of(progress: Progress | None) -> Progress:
    """Return the observer of the work, one that does nothing for None.

    Raises:
        InputError: it lacks a method of `Progress`.
    """
    if progress is None:
        return Silent()
    lacking = [name for name in ("stage", "advance", "note") if not callable(getattr(progress, name, None))]
    if lacking or isinstance(progress, type):
        raise InputError(
            f"`progress` must be an object with the methods stage, advance and note, got {described(progress)}",
            fix="see prune_deploy.Progress, or leave it out",
            field="progress",
        )
    return progress


def module_of(model: object) -> nn.Module:
    """Return a torch module, that inside of what torch.compile returned.

    Raises:
        InputError: it is none.
    """
    from torch import jit, nn

    if isinstance(model, (jit.ScriptModule, jit.ScriptFunction)):
        raise InputError("a TorchScript module cannot be pruned", fix="give the module that it was made from", field="model")
    if isinstance(model, nn.Module):
        return getattr(model, "_orig_mod", model)
    if isinstance(model, str):
        fix = f"build it first: `build_model({model!r})`"
    elif isinstance(model, os.PathLike):
        fix = "load the bundle first: `load(bundle)`"
    elif isinstance(model, Mapping):
        fix = "save it, and load it into its architecture: `build_model(name, weights=PATH)`"
    else:
        fix = "give what `build_model` returned, or a torch module"
    raise InputError(f"a model is asked for, got {described(model)}", fix=fix, field="model")
