"""Preprocessing of images, as the bundle records it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from prune_deploy.errors import InputError, first_line
from prune_deploy.records import Preprocessing

if TYPE_CHECKING:
    import torch

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
        tensor: torch.Tensor = transform(image.convert("L" if channels == 1 else "RGB"))
        return tensor

    return apply


def open_image(path: Path) -> Image.Image:
    """Return the image in a file, decoded.

    Raises:
        InputError: it cannot be read, is no image, or is damaged.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except UnidentifiedImageError:
        raise InputError(f"{path} is no image that Pillow can read", fix="give a JPEG, PNG or WebP file") from None
    except Exception as error:  # Pillow's decoders raise all kinds of errors for damaged files
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise InputError(f"cannot read {path}: {reason}", fix="check the path; the file may be damaged") from error
