"""Which labelled images accuracy is taken on, in one word: "digits", "imagefolder:DIR", "cifar10:DIR", "cifar100:DIR"."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from prune_deploy.errors import InputError

DataKind = Literal["digits", "imagefolder", "cifar10", "cifar100"]
"""digits: scikit-learn's handwritten digits, which need no download; the others are folders."""

_FIX = "use digits, imagefolder:DIR, cifar10:DIR or cifar100:DIR"


def parse_data(text: str) -> tuple[DataKind, Path | None]:
    """The kind of data and its folder, None for digits. Whether the folder is there is seen when it is opened.

    Raises:
        InputError: an unknown word, or a folder too many or too few.
    """
    word, colon, folder = text.partition(":")
    kind = next((each for each in get_args(DataKind) if each == word), None)
    if kind is None:
        raise InputError(f"unknown data {text!r}", fix=_FIX)
    if kind == "digits" and colon:
        raise InputError(f"--data got {text!r}, but digits come with scikit-learn and take no folder", fix="use --data digits")
    if kind != "digits" and not folder:
        raise InputError(f"--data {kind} needs a folder", fix=f"for example --data {kind}:data/{kind}")
    return kind, Path(folder) if folder else None
