"""Request for a network: name, classes, input and weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from prune_deploy.errors import InputError, described
from prune_deploy.specs.checked import checked

SHORT_CODES: dict[str, str] = {
    "c": "convnext_large",
    "e": "efficientnet_b4",
    "s": "swin_large_patch4_window7_224",
    "v": "vit_large_patch16_224",
    "m": "mobilenetv4_conv_large",
    "r": "resnet152d",
    "x": "resnext101_32x8d",
}
"""One-letter names of the seven reference models.

They are those of PyTorch-Pruning's vision benchmark, and default to 10 classes.
"""


SHORT_CODE_PARAMS: dict[str, int] = {
    "c": 196_245_706,
    "e": 17_566_546,
    "s": 195_010_846,
    "v": 303_311_882,
    "m": 31_322_674,
    "r": 58_183_530,
    "x": 86_762_826,
}
"""Parameters of the dense reference models with 10 classes.

They are stated here, because counting them takes an import of seconds. A test counts them.
"""


@checked
@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Request for a network: a timm name, its classes, input and weights.

    `input_size` is (channels, height, width) in pixels. `weights` is "random" (seeded), "pretrained" or a file's path.
    `num_classes` and `input_size` of None mean the model's own, and 0 classes an
    embedding in place of scores. `seed` seeds random weights.
    """

    name: str
    _: KW_ONLY
    num_classes: int | None = None
    input_size: tuple[int, int, int] | None = None
    weights: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("the model's name is empty", fix="name a timm model or a short code; see: prune-deploy models")
        if self.num_classes is not None and self.num_classes < 0:
            raise InputError(
                f"`num_classes` must be at least 0, got {self.num_classes}",
                fix="ask for one class or more, or for 0 to get embeddings",
                field="num_classes",
            )
        if self.input_size is not None:
            require_input_size(self.input_size)


def require_input_size(size: Sequence[int]) -> None:
    """Refuse what is not the size of one image.

    Raises:
        InputError: it has not three numbers, or one of them is not positive.
    """
    if len(size) != 3 or min(size) < 1:
        raise InputError(
            f"`input_size` must be three positive numbers, got {size}",
            fix="give channels, height and width of one image, for example `input_size=(3, 224, 224)`",
            field="input_size",
        )


def as_model_spec(model: object) -> ModelSpec:
    """Return the request for a network.

    It may be given by its name.

    Raises:
        InputError: it is neither a name nor a ModelSpec.
    """
    if isinstance(model, ModelSpec):
        return model
    if isinstance(model, str):
        return ModelSpec(name=model)
    raise InputError(
        f"the name of a timm model is asked for, got {described(model)}",
        fix="for example 'resnet50'; `prune` and `export_bundle` take the model that `build_model` returned",
        field="model",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """Network with everything decided that a `ModelSpec` may leave open.

    The fields are those of `ModelSpec`. `name` is timm's.
    """

    name: str
    num_classes: int
    input_size: tuple[int, int, int]
    weights: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        _ = self.spec  # the same values are refused

    @property
    def spec(self) -> ModelSpec:
        """The request that names all of it."""
        return ModelSpec(
            name=self.name, num_classes=self.num_classes, input_size=self.input_size, weights=self.weights, seed=self.seed
        )


RANDOM_WEIGHTS = "the weights are random: sizes and latency are real, answers are not"
"""Said wherever somebody might take a random network's answers for real."""


def weights_path(weights: str) -> Path | None:
    """Return the file behind `ModelSpec.weights`.

    It is None for "random" and "pretrained".
    """
    return None if weights in ("random", "pretrained") else Path(weights)
