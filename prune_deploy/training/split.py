"""Split of the images into those for training and those for validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prune_deploy.data import ImageSet, open_images
from prune_deploy.errors import InputError, setting
from prune_deploy.specs import FinetuneSpec, parse_data

HELD_OUT = 0.1
"""Share of a folder's images that is held out for validation.

It applies where no other folder is named.
"""

_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Training and validation set, with the numbers of their images.

    `message` describes the validation images in a few words.
    """

    train: ImageSet
    train_numbers: Sequence[int]
    validation: ImageSet
    validation_numbers: Sequence[int]
    message: str


def divide(spec: FinetuneSpec) -> Division:
    """Return the images that `spec` asks for.

    Raises:
        InputError: they cannot be opened, are too few, or those for validation have other classes.
    """
    train = open_images(spec.data, "train")
    numbers: Sequence[int] = range(len(train.labels))
    if spec.val_data is not None:
        validation = open_images(spec.val_data, "test", field="val_data")
        message = f"{spec.val_data}"
        _require_same_classes(spec.val_data, train, validation)
    elif parse_data(spec.data)[0] != "imagefolder":
        validation, message = open_images(spec.data, "test"), f"the test split of {spec.data}"
    else:
        order = np.random.default_rng(spec.seed).permutation(len(numbers)).tolist()
        held = max(1, round(HELD_OUT * len(order)))
        numbers, kept = sorted(order[held:]), sorted(order[:held])
        message = f"{held} of the {len(order)} images of {spec.data}, held out"
        return _checked(
            Division(train=train, train_numbers=numbers, validation=train, validation_numbers=kept, message=message), spec
        )
    chosen = range(len(validation.labels))
    return _checked(
        Division(train=train, train_numbers=numbers, validation=validation, validation_numbers=chosen, message=message), spec
    )


def _checked(division: Division, spec: FinetuneSpec) -> Division:
    """Return the division with at most `samples` images to train on.

    They are always the same. Raises an InputError if too few are left.
    """
    numbers = division.train_numbers
    if spec.samples is not None and spec.samples < len(numbers):
        drawn = np.random.default_rng(spec.seed).choice(len(numbers), spec.samples, replace=False)
        numbers = [numbers[position] for position in sorted(drawn.tolist())]
    if len(numbers) < _FEWEST:
        raise InputError(f"{spec.data} leaves {len(numbers)} images to train on", fix="name a folder with more images")
    return Division(
        train=division.train,
        train_numbers=numbers,
        validation=division.validation,
        validation_numbers=division.validation_numbers,
        message=division.message,
    )


def _require_same_classes(named: str, train: ImageSet, validation: ImageSet) -> None:
    """Require the same classes in both sets.

    Classes are numbered by their names, so a missing one would silently shift all others.
    """
    if train.classes == validation.classes:
        return
    if len(train.classes) != len(validation.classes):
        difference = f"{len(validation.classes)} classes, {train.data} has {len(train.classes)}"
    else:
        ours, theirs = next((a, b) for a, b in zip(train.classes, validation.classes, strict=True) if a != b)
        difference = f"a class {theirs!r} where {train.data} has {ours!r}"
    raise InputError(
        f"{setting('val_data', named)} has {difference}",
        fix="name images of the same classes, in folders of the same names",
        field="val_data",
    )
