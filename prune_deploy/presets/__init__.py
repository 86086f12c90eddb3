"""Sweeps as TOML files: the presets, and files of a user.

Both have the same form (docs/reference/sweep-file.md).
"""

from __future__ import annotations

import difflib
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from prune_deploy.errors import InputError
from prune_deploy.files import read_file
from prune_deploy.presets.strict_toml import structure
from prune_deploy.specs import SweepSpec

_ENDING = ".toml"
_LARGEST = 1 << 20
# tomllib takes a quadratic time for a key of many parts. No key of a sweep has more than three.
_PART = rb"""(?:(?<![\w-])[\w-]++|"(?:[^"\\\n]|\\.){0,99}+"|'[^'\n]{0,99}+')"""
_LONG_KEY = re.compile(_PART + rb"(?:[ \t]*+\.[ \t]*+" + _PART + rb"){50}")
_ARCHITECTURES = "compatibility.toml"
_FIX = "correct the file; docs/reference/sweep-file.md describes its keys"
# These stand in the block itself. `settings` is the template for everything else.
_OF_THE_BLOCK = {"ratio": "ratios", "method": "methods", "seed": "seeds", "steps": "iterative = true"}
_OTHER_AMOUNTS = ("target_macs", "target_params", "plan")
_PLACEHOLDER_RATIO = 0.5


def preset_names() -> list[str]:
    """Return the names of the sweeps that come with the program."""
    files = [entry.name for entry in resources.files(__name__).iterdir()]
    return sorted(name.removesuffix(_ENDING) for name in files if name.endswith(_ENDING) and name != _ARCHITECTURES)


def architectures() -> tuple[str, ...]:
    """Return the models that compatibility is tried on, one per family."""
    content = resources.files(__name__).joinpath(_ARCHITECTURES).read_bytes()
    return tuple(_tables(content, _ARCHITECTURES)["models"])


def preset(name: str) -> SweepSpec:
    """Return the sweep called `name` that comes with the program.

    Raises:
        InputError: there is none of that name.
    """
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise InputError(
            f"unknown preset {name!r}",
            fix=f"did you mean {near[0]}?" if near else f"one of {', '.join(names)}, or a file: `spec=FILE`",
        )
    content = resources.files(__name__).joinpath(name + _ENDING).read_bytes()
    return _sweep(content, f"preset {name}")


def read_sweep(path: Path) -> SweepSpec:
    """Return the sweep in a TOML file.

    Raises:
        InputError: the file cannot be read, is no TOML, or describes no sweep. It names the keys and the fix.
    """
    content = read_file(path, fix="name a TOML file; docs/reference/sweep-file.md shows one", most_bytes=_LARGEST)
    return _sweep(content, str(path))


def _sweep(content: bytes, source: str) -> SweepSpec:
    data = _tables(content, source)
    spec = structure(SweepSpec, _completed(data, source), source=source, fix=_FIX)
    try:
        spec.models()
    except InputError as error:
        raise InputError(f"{source}: {error.message}", fix=error.fix, field=error.field) from None
    return spec


def _tables(content: bytes, source: str) -> dict[str, Any]:
    """Parse the file's TOML tables."""
    if not content.strip():
        raise InputError(
            f"{source} is empty", fix="name backends and at least one block; docs/reference/sweep-file.md shows a file"
        )
    if (key := _LONG_KEY.search(content)) is not None:
        begin = key[0][:40].decode(errors="replace")
        raise InputError(f"{source} has a key of too many parts: {begin}…", fix=_FIX)
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not a text in UTF-8: byte {error.start}", fix="save it as UTF-8, which TOML is") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is one, and so is what int() says of too many digits
        raise InputError(f"{source} is no TOML: {error}", fix="correct that line; texts need quotes, lists need [ ]") from None


def _completed(data: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the tables with their implied values.

    Sweeps are quick by default, and a template needs no amount.
    """
    if isinstance(data.get("measure"), dict):
        data = data | {"measure": {"rigor": "quick"} | data["measure"]}
    blocks = data.get("blocks")
    if isinstance(blocks, list):
        data = data | {"blocks": [_completed_block(block, f"blocks[{i}]", source) for i, block in enumerate(blocks)]}
    return data


def _completed_block(block: Any, path: str, source: str) -> Any:
    settings = block.get("settings") if isinstance(block, dict) else None
    if not isinstance(settings, dict):
        return block
    for name in settings:
        if name in _OF_THE_BLOCK:
            raise InputError(
                f"{source}: {path}.settings.{name} has no effect", fix=f"say {_OF_THE_BLOCK[name]} in the block itself"
            )
        if name in _OTHER_AMOUNTS:
            raise InputError(
                f"{source}: {path}.settings.{name}: blocks prune by ratios alone",
                fix=f"drop it, or use export --{name.replace('_', '-')}",
            )
    return block | {"settings": settings | {"ratio": _PLACEHOLDER_RATIO}}
