"""Walks through folders of images, which end whatever they meet.

A mistyped folder may be the root of the file system, and a link may lead back to where it lies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from prune_deploy.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of image files, as torchvision knows them."""

_DEEPEST = 64
_MOST_ENTRIES = 30_000_000
"""Twice the images of the largest public set of labelled images, ImageNet-21k."""
_TELLING = 100_000
_FEWEST_IMAGES = 0.1
"""Share of images from which on a folder with `_TELLING` entries is one of images."""


class ImageWalk:
    """Walks below one folder, which count what they meet together.

    `word` names the setting and its value in errors, `field` the setting alone.
    """

    def __init__(self, word: str, field: str) -> None:
        self._word, self._field = word, field
        self._entries = self._images = 0

    def files(self, folder: Path) -> Iterator[Path]:
        """Yield the images in any depth under `folder`.

        They come folder by folder, in the order of torchvision's own walk. Links are followed.

        Raises:
            InputError: the folder is not one of images, is too large, too deep, or links lead in a circle.
        """
        for root, names in sorted(self._walk(str(folder))):
            yield from (Path(root, name) for name in sorted(names))

    def classes(self, folder: Path) -> list[Path]:
        """Return the folders in `folder`, sorted by their names.

        Raises:
            InputError: it cannot be read.
        """
        try:
            return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
        except OSError as error:
            raise self._refusal(f"cannot read {folder}: {error.strerror}", "check the path and its permissions") from error

    def _walk(self, folder: str) -> Iterator[tuple[str, list[str]]]:
        places: dict[str, tuple[int, int]] = {}
        for root, folders, names in os.walk(folder, followlinks=True):
            above = [str(parent) for parent in Path(root).parents if str(parent) in places]
            try:
                found = os.stat(root)  # noqa: PTH116 - a million times
            except OSError:
                continue  # it has gone, or may not be read: os.walk passes over these too
            places[root] = (found.st_dev, found.st_ino)
            if len(above) > _DEEPEST or places[root] in (places[parent] for parent in above):
                raise self._refusal(f"{root[:200]} leads back above itself, or too deep", "take that folder or link away")
            images = [name for name in names if name.lower().endswith(SUFFIXES)]
            self._count(Path(folder), len(folders) + len(names), len(images))
            yield root, images

    def _count(self, folder: Path, entries: int, images: int) -> None:
        self._entries += entries
        self._images += images
        few = self._entries >= _TELLING and self._images < self._entries * _FEWEST_IMAGES
        if few or self._entries > _MOST_ENTRIES:
            message = f"{folder} holds at least {self._entries:,} files and folders, of which {self._images:,} are images"
            raise self._refusal(message, "name the folder that holds the images, and nothing else")

    def _refusal(self, message: str, fix: str) -> InputError:
        return InputError(f"{self._word}: {message}", fix=fix, field=self._field)
