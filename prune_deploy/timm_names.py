"""Names of timm's architectures, read from its files without importing it.

An import takes seconds. A mistyped name is answered before.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from prune_deploy.errors import InputError
from prune_deploy.specs import SHORT_CODES

SHOWN = 100
"""Characters of a name in an error."""

_REGISTERED = re.compile(r"^@register_model\s*\n(?:@[^\n]*\n)*def (\w+)\(", re.MULTILINE)
_HUBS = ("hf-hub:", "hf_hub:", "timm/")
_FOLDERS = ("local-dir:", "local_dir:")


@cache
def architectures() -> frozenset[str]:
    """Return the names of all architectures of the installed timm.

    They are the functions that its modules register.
    """
    package = PathFinder.find_spec("timm")  # whatever has been imported
    assert package is not None, "timm is a dependency"
    assert package.origin is not None
    files = (Path(package.origin).parent / "models").glob("*.py")
    return frozenset(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8")))


def require_architecture(name: str) -> None:
    """Refuse a name whose architecture timm does not have.

    A short code is known, and a tag of weights behind a dot is not looked at.

    Raises:
        InputError: there is no such architecture. The fix has the nearest names.
    """
    architecture = name.split(".", 1)[0]
    if name in SHORT_CODES or architecture in architectures():
        return
    if fix := _elsewhere(name):
        raise InputError(f"unknown model {name[:SHOWN]!r}: models are named as in timm's registry", fix=fix, field="name")
    near = difflib.get_close_matches(architecture[:SHOWN], sorted(architectures()), n=3, cutoff=0.5)
    raise InputError(
        f"unknown model {name[:SHOWN]!r}",
        fix=f"did you mean {', '.join(near)}?" if near else "see: prune-deploy models --filter '*resnet*'",
        field="name",
    )


def _elsewhere(name: str) -> str:
    """Return the way to a model that a hub or folder names.

    It is "" for any other name.
    """
    if name.startswith(_FOLDERS):
        return "name the architecture, and the file in that folder with `weights=PATH`"
    bare = name
    for hub in _HUBS:
        bare = bare.removeprefix(hub)
    if bare == name and "/" not in name:
        return ""
    bare = bare.rsplit("/", 1)[-1]
    if bare.split(".", 1)[0] in architectures():
        return f"name it {bare}; `weights='pretrained'` fetches its weights"
    return "name the architecture, and a downloaded file of its weights with `weights=PATH`"
