"""Which labelled images accuracy is taken on, in one word: "digits", "imagefolder:DIR", "cifar10:DIR", "cifar100:DIR"."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from prune_deploy.errors import InputError, setting

DataKind = Literal["digits", "imagefolder", "cifar10", "cifar100"]
"""digits: scikit-learn's handwritten digits, which need no download; the others are folders."""

_FIX = "use digits, imagefolder:DIR, cifar10:DIR or cifar100:DIR"


def parse_data(text: str, field: str = "data") -> tuple[DataKind, Path | None]:
    """The kind of data and its folder, None for digits. Whether the folder is there is seen when it is opened.

    `field` is the setting that holds the text, which errors name.

    Raises:
        InputError: an unknown word, or a folder too many or too few.
    """
    word, colon, folder = text.partition(":")
    kind = next((each for each in get_args(DataKind) if each == word), None)
    if kind is None:
        raise InputError(f"unknown data {text!r}", fix=_FIX, field=field)
    if kind == "digits" and colon:
        raise InputError(
            f"`{field}` got {text!r}, but digits come with scikit-learn and take no folder",
            fix=f"use {setting(field, 'digits')}",
            field=field,
        )
    if kind != "digits" and not folder:
        raise InputError(
            f"{setting(field, kind)} needs a folder", fix=f"for example {setting(field, f'{kind}:data/{kind}')}", field=field
        )
    return kind, Path(folder) if folder else None
