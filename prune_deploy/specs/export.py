"""Request for an export: model, pruning, engine."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from prune_deploy.errors import InputError, setting
from prune_deploy.specs.precision import Precision, need_calibration, parse_precisions, require_calibration
from prune_deploy.specs.quantize import QuantizeSpec

Scope = Literal["local", "global", "isomorphic"]
Rounding = Literal["down", "nearest", "up"]
WhenEmpty = Literal["unit", "skip"]
EngineLibrary = Literal["auto", "tensorrt", "tensorrt-rtx", "none"]
MaskKind = Literal["l1-unstructured", "global-unstructured", "ln-structured", "2:4"]
"""Ways to zero weights and keep shapes, as torch.nn.utils.prune calls them.

2:4 keeps the larger two of each four inputs.
"""

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

TARGETS: tuple[str, ...] = ("sm75", "sm80", "sm86", "sm89", "sm120")
"""Compute capabilities an engine can be built for without owning the card."""

LOCAL_TARGETS: tuple[str, ...] = ("sm87", "sm90", "sm100", "sm103", "sm110", "sm121")
"""Compute capabilities that need TensorRT on the card itself.

TensorRT-RTX does not build for them.
"""

CARDS: dict[str, str] = {
    "t4": "sm75",
    "rtx2080": "sm75",
    "a100": "sm80",
    "a2000": "sm86",
    "a4000": "sm86",
    "a5000": "sm86",
    "a6000": "sm86",
    "a10": "sm86",
    "rtx3060": "sm86",
    "rtx3080": "sm86",
    "rtx3090": "sm86",
    "l4": "sm89",
    "l40": "sm89",
    "rtx4060": "sm89",
    "rtx4080": "sm89",
    "rtx4090": "sm89",
    "rtx5080": "sm120",
    "rtx5090": "sm120",
}
"""Card names accepted as a target, and their compute capability.

Source: NVIDIA, CUDA GPUs page.
"""

DEFAULT_TARGET = "sm86"
DEFAULT_BATCHES: tuple[int, ...] = (1, 8, 64)
DEFAULT_IGNORE: tuple[str, ...] = ("head",)
IGNORE_WORDS: tuple[str, ...] = ("head", "norm", "attention", "none")
IN_MEMORY = "<memory>"
"""Value of `PruneSpec.plan` for widths that are handed over in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Request for a network: a timm name, its classes, input and weights.

    `input_size` is (channels, height, width) in pixels. `weights` is "random" (seeded), "pretrained" or a file's path.
    `num_classes` and `input_size` of None mean the model's own. `seed` seeds random weights.
    """

    name: str
    num_classes: int | None = None
    input_size: tuple[int, int, int] | None = None
    weights: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("the model's name is empty", fix="name a timm model or a short code; see: prune-deploy models")
        if self.num_classes is not None and self.num_classes < 1:
            raise InputError(
                f"`num_classes` must be at least 1, got {self.num_classes}", fix="ask for one class or more", field="num_classes"
            )
        if self.input_size is not None and (len(self.input_size) != 3 or min(self.input_size) < 1):
            raise InputError(
                f"`input_size` must be three positive numbers, got {self.input_size}",
                fix="for example `input_size=(3, 224, 224)`",
                field="input_size",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSpec:
    """Request for a pruning: the amount to remove and the rule.

    - Exactly one of `ratio` (share of each group's channels, 0 < ratio < 1), `target_macs`, `target_params` ("0.5x", "2.0G",
      "50M") and `plan` (the path of a WidthPlan file, or `IN_MEMORY`) is given.
    - `group_cap` is the largest share that one group may lose.
    - Kept widths become multiples of `round_to`. Where that would empty a group, `when_empty` keeps one multiple ("unit") or
      leaves the group alone ("skip", as torch-pruning does).
    - `heads` removes whole attention heads instead of narrowing each.
    - `bottleneck` leaves residual streams alone.
    - `seed` seeds the scores of methods that draw random numbers.
    - `steps` > 1 prunes iteratively. Then a ratio of 1 is legal: it asks for the least that can remain of each group.
    """

    ratio: float | None = None
    target_macs: str | None = None
    target_params: str | None = None
    plan: str | None = None
    method: str = "l2"
    scope: Scope = "local"
    group_cap: float = 1.0
    round_to: int = 8
    rounding: Rounding = "down"
    when_empty: WhenEmpty = "unit"
    ignore: tuple[str, ...] = DEFAULT_IGNORE
    heads: bool = False
    bottleneck: bool = False
    steps: int = 1
    seed: int = 0
    allow_shortfall: bool = False

    def __post_init__(self) -> None:
        self._check_amount()
        to_the_end = self.ratio == 1 and self.steps > 1
        if self.ratio is not None and not (math.isfinite(self.ratio) and 0 < self.ratio < 1) and not to_the_end:
            raise InputError(
                f"`ratio` must lie between 0 and 1, both excluded, got {self.ratio}", fix="for example `ratio=0.5`", field="ratio"
            )
        if not (math.isfinite(self.group_cap) and 0 < self.group_cap <= 1):
            raise InputError(
                f"`group_cap` must be above 0 and at most 1, got {self.group_cap}",
                fix="for example `group_cap=0.9`",
                field="group_cap",
            )
        for name, number, fix in (
            ("round_to", self.round_to, "`round_to=8` aligns widths for FP16"),
            ("steps", self.steps, "`steps=1` prunes at once"),
        ):
            if number < 1:
                raise InputError(f"`{name}` must be at least 1, got {number}", fix=fix, field=name)
        if not self.ignore or ("none" in self.ignore and len(self.ignore) > 1):
            raise InputError(
                f"`ignore` got {','.join(self.ignore) or 'an empty list'}",
                fix="use `ignore=('none',)` alone, or name what to keep, for example `ignore=('head', 'norm')`",
                field="ignore",
            )

    def _check_amount(self) -> None:
        given = [
            name
            for name, value in (
                ("`ratio`", self.ratio),
                ("`target_macs`", self.target_macs),
                ("`target_params`", self.target_params),
                ("`plan`", self.plan),
            )
            if value is not None
        ]
        if len(given) != 1:
            raise InputError(
                "exactly one of `ratio`, `target_macs`, `target_params` and `plan` says how much to remove, "
                f"got {' and '.join(given) or 'none'}",
                fix="for example `ratio=0.5` (or `prune=None` to export the model unpruned)",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSpec:
    """Weights to set to zero, with all shapes kept.

    No dense runtime gets faster from it. `ratio` is the share of weights (of whole output channels for "ln-structured") that
    become zero. "2:4" is always one half.
    """

    kind: MaskKind
    ratio: float = 0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ratio) and 0 < self.ratio < 1):
            raise InputError(
                f"`ratio` must lie between 0 and 1, both excluded, got {self.ratio}", fix="for example `ratio=0.5`", field="ratio"
            )
        if self.kind == "2:4" and self.ratio != 0.5:
            raise InputError(
                f"a 2:4 mask zeroes one half, not {self.ratio}", fix="leave `ratio` out, or ask for another `mask`", field="ratio"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """Engines to build: library, GPU, batch sizes and limits.

    - `batches` get one optimisation profile each (min = opt = max).
    - `workspace_mib` bounds the builder's scratch memory in MiB.
    - `optimization_level` is TensorRT's 0-5, None its default.
    - `sparse_weights` lets the builder use kernels for 2:4 sparse weights. None means that it may if the weights have a 2:4 mask.
    """

    library: EngineLibrary = "auto"
    target: str = DEFAULT_TARGET
    batches: tuple[int, ...] = DEFAULT_BATCHES
    workspace_mib: int | None = None
    optimization_level: int | None = None
    sparse_weights: bool | None = None

    def __post_init__(self) -> None:
        if self.target not in TARGETS + LOCAL_TARGETS:
            raise InputError(f"unknown target {self.target!r}", fix=f"one of {', '.join(TARGETS)} or a card: {', '.join(CARDS)}")
        if not self.batches or min(self.batches) < 1:
            raise InputError(
                f"`batches` must list positive numbers, got {self.batches}",
                fix="for example `batches=(1, 8, 64)`",
                field="batches",
            )
        if len(set(self.batches)) != len(self.batches):
            raise InputError(f"`batches` lists a number twice: {self.batches}", fix="name each batch size once", field="batches")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise InputError(
                f"`workspace_mib` must be at least 1 MiB, got {self.workspace_mib}",
                fix="256 MiB suits most models",
                field="workspace_mib",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBuild(EngineSpec):
    """One engine to build, in the precision of its ONNX file."""

    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        EngineSpec.__post_init__(self)  # `super()` would look for the class that `slots` has replaced
        parse_precisions((self.precision,))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSpec:
    """Request for a whole export: model, pruning or mask, precisions and engines.

    The dense model has neither pruning nor mask. Each of `precisions` gets its ONNX file, all derived from the FP32 one, which
    always exists, and an engine. `engine` is the request for the engines, `quantize` that for INT8.
    """

    model: ModelSpec
    prune: PruneSpec | None
    engine: EngineSpec
    mask: MaskSpec | None = None
    precisions: tuple[Precision, ...] = ("fp32",)
    quantize: QuantizeSpec | None = None

    def __post_init__(self) -> None:
        if self.prune is not None and self.mask is not None:
            raise InputError("a model is either pruned or masked", fix="drop `mask`, or `ratio` and its like")
        require_calibration(parse_precisions(self.precisions), self.quantize)
        if self.quantize is not None and not need_calibration(self.precisions):
            raise InputError(
                "calibration without int8",
                fix="add int8 to `precisions`, or drop `calibration` and what belongs to it",
                field="precisions",
            )

    @property
    def engines(self) -> tuple[EngineBuild, ...]:
        """The engine of each precision, completed from the other fields."""
        asked = {each.name: getattr(self.engine, each.name) for each in fields(EngineSpec)}
        if self.engine.sparse_weights is None:
            asked["sparse_weights"] = self.mask is not None and self.mask.kind == "2:4"
        return tuple(EngineBuild(**asked, precision=precision) for precision in self.precisions)


def resolve_target(text: str) -> str:
    """Return the compute capability ("sm86") of a target or card.

    Names are like "a2000", "RTX A2000" and "sm86".

    Raises:
        InputError: the name is neither a known target nor a known card.
    """
    key = text.lower().replace(" ", "").replace("-", "").replace("_", "")
    for candidate in (key, key.removeprefix("nvidia"), key.removeprefix("nvidia").removeprefix("rtx")):
        if candidate in TARGETS + LOCAL_TARGETS:
            return candidate
        if candidate in CARDS:
            return CARDS[candidate]
    raise InputError(f"unknown target {text!r}", fix=f"one of {', '.join(TARGETS)} or a card: {', '.join(CARDS)}")


def parse_amount(text: str, dense: int, field: str) -> int:
    """Return the absolute target for an amount, given the dense count.

    Amounts are "0.5x", "2.0G", "50M" or a plain number. `field` is the setting that holds it.

    Raises:
        InputError: the text is not an amount, or is not below the dense count and above zero.
    """
    scales = {"x": dense, "k": 1e3, "m": 1e6, "g": 1e9}
    tail = text[-1:].lower()
    try:
        value = float(text[:-1]) * scales[tail] if tail in scales else float(text)
    except ValueError:
        fix = f"for example {setting(field, '0.5x')}, 2.0G or 50M"
        raise InputError(f"`{field}` got {text!r}, not an amount", fix=fix, field=field) from None
    if not math.isfinite(value) or not 0 < value < dense:
        raise InputError(
            f"{setting(field, text)} asks for {value:,.0f}, but the dense model has {dense:,}",
            fix="ask for less than the dense model has and more than nothing",
            field=field,
        )
    return int(value)


def weights_path(weights: str) -> Path | None:
    """Return the file behind `ModelSpec.weights`.

    It is None for "random" and "pretrained".
    """
    return None if weights in ("random", "pretrained") else Path(weights)
