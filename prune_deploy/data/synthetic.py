"""Synthetic images, for everything that needs no labels."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate


def synthetic_images(count: int, input_size: tuple[int, int, int], generator: torch.Generator) -> torch.Tensor:
    """Generate `count` images of shape (count, channels, height, width).

    They have zero mean and about unit variance, as a network's input. Each is a smooth random field, a random tint and a little
    noise. The first pooling averages pure noise away. Networks would then answer all such images alike, and a comparison on them
    would detect nothing.
    """
    channels, height, width = input_size
    coarse = torch.randn(count, channels, 7, 7, generator=generator)
    smooth = interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    tint = torch.randn(count, channels, 1, 1, generator=generator)
    noise = torch.randn(count, channels, height, width, generator=generator)
    return 0.9 * smooth + 0.6 * tint + 0.3 * noise
