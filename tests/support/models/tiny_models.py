"""Networks small enough to prune in milliseconds.

There is one per pattern that pruning has to understand.
"""

from __future__ import annotations

import time

import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional

SIZE = (3, 16, 16)
"""Input of the convolutional ones, (channels, height, width)."""
VIT_SIZE = (3, 32, 32)
SWIN_SIZE = (3, 32, 32)


def conv_bn(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and ReLU, keeping width and height."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Pooled(nn.Module):
    """Base class: global average pooling and a classifier on top of `features`.

    The classifier has 5 classes.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, 5)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature map, shape (batch, width, height, width)."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(x).mean((2, 3)))
        return logits


class Plain(Pooled):
    """Two convolutions in a row: groups `first.0` (16) and `second.0` (24)."""

    def __init__(self) -> None:
        super().__init__(24)
        self.first = conv_bn(3, 16)
        self.second = conv_bn(16, 24)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(self.first(x))
        return result


class Residual(Pooled):
    """A bottleneck with a grouped convolution, then an inverted residual.

    The latter has a depthwise convolution and squeeze-excitation.
    """

    def __init__(self) -> None:
        super().__init__(32)
        self.stem = conv_bn(3, 32)
        self.reduce = conv_bn(32, 16, 1)
        self.grouped = conv_bn(16, 16, groups=4)
        self.restore = nn.Sequential(nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32))
        self.expand = conv_bn(32, 48, 1)
        self.depthwise = conv_bn(48, 48, groups=48)
        self.squeeze = nn.Conv2d(48, 8, 1)
        self.excite = nn.Conv2d(8, 48, 1)
        self.project = nn.Sequential(nn.Conv2d(48, 32, 1, bias=False), nn.BatchNorm2d(32))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = functional.relu(x + self.restore(self.grouped(self.reduce(x))))
        inner = self.depthwise(self.expand(x))
        gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(inner.mean((2, 3), keepdim=True)))))
        return functional.relu(x + self.project(inner * gate))


class Concat(Pooled):
    """Two branches side by side.

    The consumer's inputs 0-15 come from `left`, 16-39 from `right`.
    """

    def __init__(self) -> None:
        super().__init__(16)
        self.left = conv_bn(3, 16)
        self.right = conv_bn(3, 24)
        self.both = conv_bn(40, 16)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.both(torch.cat([self.left(x), self.right(x)], dim=1))
        return result


class Flattened(nn.Module):
    """A classifier on the flattened map.

    Channel c of `conv` feeds inputs 64c to 64c + 63.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv_bn(3, 16)
        self.pool = nn.AvgPool2d(2)
        self.hidden = nn.Linear(16 * 64, 32)
        self.head = nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(functional.relu(self.hidden(self.pool(self.conv(x)).flatten(1))))
        return logits


class Chunked(Pooled):
    """One convolution whose halves become a gate and a value.

    Each half has its own batch norm.
    """

    def __init__(self) -> None:
        super().__init__(16)
        self.stem = conv_bn(3, 16)
        self.pair = nn.Conv2d(16, 32, 1)
        self.norm_value = nn.BatchNorm2d(16)
        self.norm_gate = nn.BatchNorm2d(16)
        self.last = conv_bn(16, 16)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.pair(self.stem(x)).chunk(2, dim=1)
        result: torch.Tensor = self.last(self.norm_value(value) * torch.sigmoid(self.norm_gate(gate)))
        return result


class HardView(Pooled):
    """`second` must keep its 24 channels, because forward spells them out.

    Its neighbours can be narrowed.
    """

    def __init__(self) -> None:
        super().__init__(16)
        self.first = conv_bn(3, 16)
        self.second = conv_bn(16, 24)
        self.third = conv_bn(24, 16)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x))
        x = x.view(-1, 24, x.shape[2], x.shape[3]) * 1.0
        result: torch.Tensor = self.third(x)
        return result


class FoldsBatch(nn.Module):
    """A wrong width goes into the batch axis instead of failing.

    `-1` absorbs it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_bn(3, 16)
        self.second = conv_bn(16, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x)).mean((2, 3))
        logits: torch.Tensor = self.head(x.new_ones(x.numel() // 16, 16) * x.reshape(-1, 16))
        return logits


class Sleeper(Plain):
    """A forward pass that takes its time."""

    awake = False
    """Whether any of them slept to the end."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(30)
        Sleeper.awake = True
        return super().features(x)


class Untraceable(Plain):
    """A forward pass that fails even when nothing is pruned."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no way through\nand more lines")


def vit(**options: object) -> nn.Module:
    """Return timm's vision transformer in a small size.

    It has 3 heads of 16, two blocks and 16 patches.
    """
    settings: dict[str, object] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5}
    model: nn.Module = VisionTransformer(**(settings | options))
    return model


def swin(**options: object) -> nn.Module:
    """Return timm's Swin with two stages of two blocks, windows of 4.

    The second block of each stage is shifted.
    """
    settings: dict[str, object] = {
        "img_size": 32,
        "patch_size": 2,
        "window_size": 4,
        "embed_dim": 32,
        "depths": (2, 2),
        "num_heads": (2, 4),
        "num_classes": 5,
    }
    model: nn.Module = SwinTransformer(**(settings | options))
    return model


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """Return the model in eval mode with random parameters and statistics.

    All of them are random, so that no mistake hides behind zeros, ones or symmetry.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (2 / fan_in) ** 0.5)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
            else:
                parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model.eval()


def images(size: tuple[int, int, int], batch: int = 2) -> torch.Tensor:
    """Return random inputs of shape (batch, *size)."""
    return torch.randn(batch, *size, generator=torch.Generator().manual_seed(1))
