"""Small trainings on coloured images."""

from __future__ import annotations

from typing import Any

from PIL import Image

from prune_deploy.data import ImageSet
from prune_deploy.records import Parent, Preprocessing
from prune_deploy.specs import FinetuneSpec
from prune_deploy.training.checkpoint import Settings
from prune_deploy.training.images import Images
from prune_deploy.training.loop import Setup

HOW = Preprocessing(
    input_size=(3, 16, 16), interpolation="bilinear", crop_pct=1.0, crop_mode="center", mean=(0.5,) * 3, std=(0.25,) * 3
)


COLOURS = ((250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 10), (10, 250, 250))


PARENT = Parent(name="parent", key="0", weights_sha256="1")


def coloured(count: int = 30, seed: int = 0) -> Images:
    """Plain images of five colours, which are their classes."""
    labels = [number % 5 for number in range(count)]

    def read(index: int) -> Image.Image:
        return Image.new("RGB", (16, 16), tuple(value + index % 3 for value in COLOURS[labels[index]]))

    names = [f"image {number}" for number in range(count)]
    return Images(ImageSet("colours", tuple("rgbyc"), labels, names, read), range(count), HOW, seed=seed)


def setup(**changes: Any) -> Setup:
    settled: dict[str, Any] = {"data": "digits", "epochs": 3, "batch": 8} | changes
    spec = FinetuneSpec(**settled)
    return Setup(spec=spec, train=coloured(seed=spec.seed), validation=coloured(10), classes=5)


def settings(made: Setup) -> Settings:
    return Settings(
        spec=made.spec, parent=PARENT, train_sha256=made.train.sha256, validation_sha256=made.validation.sha256, teacher=""
    )
