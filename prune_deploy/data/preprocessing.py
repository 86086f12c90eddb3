"""Preprocessing of images, as the bundle records it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from prune_deploy.errors import InputError, first_line
from prune_deploy.records import Preprocessing

if TYPE_CHECKING:
    import torch

_MOST_16_BIT = 65535
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF", "JPEG2000")
"""Formats of pictures that Pillow decodes by itself. Others, such as EPS, start programs of the system."""

Transform = Callable[[Image.Image], "torch.Tensor"]
"""Function from an image of any size and mode to a tensor.

The tensor is float32 of shape (channels, height, width).
"""


def transform_of(preprocessing: Preprocessing) -> Transform:
    """Return a bundle's preprocessing: resize, crop, scale and normalise.

    It is timm's evaluation transform.

    Raises:
        InputError: the network takes neither one nor three channels.
    """
    from timm.data import create_transform

    channels = preprocessing.input_size[0]
    if channels not in (1, 3):
        raise InputError(
            f"the model takes {channels} channels, which an image file does not have",
            fix="use images only with models of one or three channels",
        )
    transform = create_transform(
        input_size=preprocessing.input_size,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        is_training=False,
    )

    def apply(image: Image.Image) -> torch.Tensor:
        tensor: torch.Tensor = transform(in_channels(image, channels))
        return tensor

    return apply


def in_channels(image: Image.Image, channels: int) -> Image.Image:
    """Return an image in eight bits, with one channel or three.

    Values of 16 bits are scaled by their range, not cut off. Transparency is dropped, as torchvision's and timm's loaders do.

    Raises:
        InputError: its values have no known range, as those of a TIFF in floating point.
    """
    mode = "L" if channels == 1 else "RGB"
    if not image.mode.startswith(("I", "F")):
        return image.convert(mode)
    if not image.mode.startswith("I;16"):
        raise InputError(
            f"the values of an image of Pillow's mode {image.mode} have no known range", fix="save it in 8 or 16 bits per channel"
        )
    values = np.asarray(image).astype(np.float64)
    return Image.fromarray(np.rint(values * (255 / _MOST_16_BIT)).astype(np.uint8)).convert(mode)


def open_image(path: Path) -> Image.Image:
    """Return the image in a file, decoded and upright.

    Of several frames it is the first. A camera's rotation (EXIF) is applied.

    Raises:
        InputError: it cannot be read, is no image of a known format, or is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file" if path.exists() else f"there is no {path}", fix="give a JPEG, PNG or WebP file")
    Image.init()  # all formats: Pillow loads the rarer ones when it is told to
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise InputError(f"{path} is no image of a known format", fix="give a JPEG, PNG or WebP file") from None
    except Exception as error:  # Pillow's decoders raise all kinds of errors for damaged files
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise InputError(f"cannot read {path}: {reason}", fix="check the path; the file may be damaged") from error
