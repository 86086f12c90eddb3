"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017) from its published idx files.

They are found where Debian's package or torchvision puts them, and are never downloaded.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prune_deploy.errors import InputError, first_line, setting
from prune_deploy.files import open_plain

PACKAGE = "dataset-fashion-mnist"
"""Debian's package of the files."""

PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Folder that Debian's package installs them into."""

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SIDE = 28
"""Width and height of an image in pixels."""

_SUBFOLDERS = ("", "FashionMNIST/raw")
_UNSIGNED_BYTES = 0x800
_DAMAGED = f"restore it: reinstall Debian's {PACKAGE}, or download it again with torchvision's FashionMNIST"


@dataclass(frozen=True, slots=True)
class IdxFile:
    """Published file of unsigned bytes.

    `shape` is what its header announces, and `sha256` is the hash of the whole uncompressed file.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        """The magic number, which holds the number of axes, and their lengths."""
        return struct.pack(f">{1 + len(self.shape)}I", _UNSIGNED_BYTES + len(self.shape), *self.shape)


@dataclass(frozen=True, slots=True)
class Part:
    """The images of a split and their labels."""

    images: IdxFile
    labels: IdxFile


PUBLISHED = {
    "train": Part(
        IdxFile(
            "train-images-idx3-ubyte",
            (60_000, SIDE, SIDE),
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        IdxFile("train-labels-idx1-ubyte", (60_000,), "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    ),
    "test": Part(
        IdxFile(
            "t10k-images-idx3-ubyte",
            (10_000, SIDE, SIDE),
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        IdxFile("t10k-labels-idx1-ubyte", (10_000,), "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
}
"""The files of each split."""


def find(folder: Path | None, split: str) -> tuple[Path, Path]:
    """Return the paths of a split's images and labels, compressed or not.

    They lie in `folder` itself or in its `FashionMNIST/raw`, without a folder where Debian's package installs them.

    Raises:
        InputError: they are not there.
    """
    part = PUBLISHED[split]
    base = PACKAGE_FOLDER if folder is None else folder
    images, labels = (_first_existing(base, file.name) for file in (part.images, part.labels))
    if images is None or labels is None:
        absent = part.images.name if images is None else part.labels.name
        place = "data" if folder is None else str(folder)
        download = f"from torchvision.datasets import FashionMNIST; FashionMNIST({place!r}, download=True)"
        raise InputError(
            f"{base} holds no {absent} of Fashion-MNIST",
            fix=f"install Debian's package {PACKAGE} and name no folder, or download it with torchvision and name its folder: "
            f'python -c "{download}"',
        )
    return images, labels


@contextmanager
def naming(data: str, field: str) -> Iterator[None]:
    """Name the word and its setting in the block's InputErrors."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{setting(field, data)}: {error.message}", fix=error.fix, field=field) from error


def _first_existing(base: Path, name: str) -> Path | None:
    places = (base / sub / f"{name}{suffix}" for sub in _SUBFOLDERS for suffix in ("", ".gz"))
    return next((place for place in places if _exists(place)), None)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, or a folder that may not be searched
        return False


def read(folder: Path | None, split: str) -> tuple[bytes, bytes]:
    """Return a split's pixels and labels, a byte each.

    The pixels are those of one image after the other, row by row.

    Raises:
        InputError: the files are missing, damaged, or differ from the published ones.
    """
    part = PUBLISHED[split]
    images, labels = find(folder, split)
    return _content(images, part.images), _content(labels, part.labels)


def _content(path: Path, file: IdxFile) -> bytes:
    """Return what follows a file's header."""
    expected = len(file.header) + math.prod(file.shape)
    with open_plain(path, fix=_DAMAGED) as stream:
        # One byte more tells a longer file from a whole one, and a small file that unpacks to gigabytes stays small.
        whole = _unpacked(stream, path, expected + 1) if path.suffix == ".gz" else stream.read(expected + 1)
    _require_header(whole[: len(file.header)], path, file)
    if len(whole) != expected:
        size = f"more than {expected:,}" if len(whole) > expected else f"{len(whole):,} of {expected:,}"
        raise InputError(f"{path} has {size} bytes", fix=_DAMAGED)
    if hashlib.sha256(whole).hexdigest() != file.sha256:
        raise InputError(f"{path} differs from Fashion-MNIST as published: its checksum is another", fix=_DAMAGED)
    return whole[len(file.header) :]


def _unpacked(stream: IO[bytes], path: Path, most_bytes: int) -> bytes:
    try:
        with gzip.open(stream) as unpacked:
            return unpacked.read(most_bytes)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is no whole gzip file: {first_line(error)}", fix=_DAMAGED) from error


def _require_header(header: bytes, path: Path, file: IdxFile) -> None:
    """Raise an InputError unless a file begins as published."""
    if len(header) < len(file.header):
        raise InputError(f"{path} has {len(header)} bytes, too few for an idx file", fix=_DAMAGED)
    magic, *shape = struct.unpack(f">{len(header) // 4}I", header)
    if magic != _UNSIGNED_BYTES + len(file.shape):
        raise InputError(f"{path} is no idx file of {len(file.shape)} axes of bytes: it begins with {magic:#010x}", fix=_DAMAGED)
    if tuple(shape) != file.shape:
        found, published = ("x".join(map(str, each)) for each in (shape, file.shape))
        raise InputError(f"{path} announces {found} values, Fashion-MNIST has {published}", fix=_DAMAGED)
