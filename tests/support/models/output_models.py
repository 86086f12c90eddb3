"""Small networks whose outputs are maps, images, or several tensors."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from support.models import tiny_models as tiny

SIZE = (3, 32, 32)


class Body(nn.Module):
    """A stem and a block of 32 channels, for all that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = tiny.conv_bn(3, 32), tiny.conv_bn(32, 32)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.block(self.stem(x))
        return result


class Segmentation(Body):
    """A map of 24 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(32, 24, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.out(self.features(x))
        return result


class ConvolutionalClassifier(Segmentation):
    """Its head is a convolution, its last Linear a gate's."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(32, 16), nn.Linear(16, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = x * self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]
        result: torch.Tensor = self.out(x).mean((2, 3))
        return result


class ImageToImage(Body):
    """A residual image of 16 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(32, 16, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.out(self.features(x))
        return result


class HeadFirst(Body):
    """The head is declared before the neck."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.neck = nn.Linear(32, 24), nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.neck(self.features(x).mean((2, 3))).relu())
        return result


class Pair(NamedTuple):
    """Two outputs by name."""

    classes: torch.Tensor
    boxes: torch.Tensor


@dataclass
class Found:
    """Two outputs of a dataclass, and a number beside them."""

    classes: torch.Tensor
    boxes: list[torch.Tensor]
    scale: float


class Detector(Body):
    """Two heads, in whatever `pack` makes of them."""

    def __init__(self, pack: Any) -> None:
        super().__init__()
        self.classes, self.boxes, self.pack = nn.Conv2d(32, 24, 1), nn.Conv2d(32, 16, 1), pack

    def forward(self, x: torch.Tensor) -> Any:
        x = self.features(x)
        return self.pack(self.classes(x), self.boxes(x))


PACKS: dict[str, Any] = {
    "list": lambda classes, boxes: [classes, boxes],
    "tuple": lambda classes, boxes: (classes, boxes),
    "dict": lambda classes, boxes: {"classes": classes, "boxes": boxes},
    "OrderedDict": lambda classes, boxes: OrderedDict(classes=classes, boxes=boxes),
    "named tuple": Pair,
    "dataclass": lambda classes, boxes: Found(classes, [boxes], 0.5),
    "nested": lambda classes, boxes: {"all": (classes, {"boxes": boxes}), "none": None},
}
