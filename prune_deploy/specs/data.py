"""Labelled images for measuring accuracy, named in one word.

The words are "digits", "fashion-mnist", "fashion-mnist:DIR", "imagefolder:DIR", "cifar10:DIR" and "cifar100:DIR".
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from prune_deploy.errors import InputError, setting

DataKind = Literal["digits", "fashion-mnist", "imagefolder", "cifar10", "cifar100"]
"""Kinds of labelled images.

- digits: scikit-learn's handwritten digits, which need no download.
- fashion-mnist: its published files, in a folder or where Debian's package installs them.
- imagefolder, cifar10, cifar100: folders.
"""

FOLDERLESS: tuple[DataKind, ...] = ("digits", "fashion-mnist")
"""Kinds that need no folder."""

_FIX = "use digits, fashion-mnist, imagefolder:DIR, cifar10:DIR or cifar100:DIR"


def parse_data(text: str, field: str = "data") -> tuple[DataKind, Path | None]:
    """Return the kind of data and its folder.

    The folder is None where none is named, which only the kinds in `FOLDERLESS` allow. A missing folder is detected when it is opened.

    Raises:
        InputError: an unknown word, or a folder too many or too few.
    """
    word, colon, folder = text.partition(":")
    kind = next((known for known in get_args(DataKind) if known == word), None)
    if kind is None:
        raise InputError(f"unknown data {text!r}", fix=_FIX, field=field)
    if kind == "digits" and colon:
        raise InputError(
            f"`{field}` got {text!r}, but digits come with scikit-learn and take no folder",
            fix=f"use {setting(field, 'digits')}",
            field=field,
        )
    if not folder and (colon or kind not in FOLDERLESS):
        raise InputError(
            f"{setting(field, kind)} needs a folder", fix=f"for example {setting(field, f'{kind}:data/{kind}')}", field=field
        )
    return kind, Path(folder) if folder else None
