"""Request for a sweep: blocks of models, methods and ratios.

Each block expands into variants.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Literal

from prune_deploy.errors import InputError
from prune_deploy.specs.checked import checked
from prune_deploy.specs.data import parse_data
from prune_deploy.specs.engine import EngineSpec
from prune_deploy.specs.measure import MeasureSpec
from prune_deploy.specs.model import SHORT_CODES, ModelSpec
from prune_deploy.specs.precision import Precision, parse_precisions, require_calibration
from prune_deploy.specs.prune import MaskKind, MaskSpec, PruneSpec
from prune_deploy.specs.quantize import QuantizeSpec

Bundles = Literal["keep", "discard"]

_NAME = re.compile(r"[^A-Za-z0-9._-]+")

_MOST_VARIANTS = 10_000
"""Variants of a block: months of measuring. A request for more is a mistake, and would be planned for minutes."""

_MOST_CASES = 100_000
"""Cases of a sweep, for the same reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One network of a run: a model with its pruning or mask.

    `protocol` distinguishes settings that share method and ratio.
    """

    model: ModelSpec
    prune: PruneSpec | None = None
    mask: MaskSpec | None = None
    protocol: str = ""

    @property
    def method(self) -> str:
        """The reduction in one word.

        It is a pruning method, a kind of mask, or "dense".
        """
        if self.prune is not None:
            return self.prune.method
        return f"mask-{self.mask.kind}" if self.mask is not None else "dense"

    @property
    def ratio(self) -> float | None:
        """The requested ratio.

        It is None for the dense model and for other kinds of amounts.
        """
        return self.prune.ratio if self.prune is not None else (self.mask.ratio if self.mask is not None else None)

    @property
    def name(self) -> str:
        """A name that also serves as a folder's name.

        Its parts are model, method, ratio, protocol, and the seed if it is not 0.
        """
        parts = [SHORT_CODES.get(self.model.name, self.model.name), self.method.replace("2:4", "2to4")]
        if self.ratio is not None:
            parts.append(f"r{self.ratio:.2f}" if round(self.ratio, 2) == self.ratio else f"r{self.ratio:g}")
        if self.protocol:
            parts.append(self.protocol)
        if self.model.seed:
            parts.append(f"s{self.model.seed}")
        return _NAME.sub("-", "-".join(parts))


@checked
@dataclass(frozen=True, slots=True)
class Block:
    """Models × (methods and masks) × ratios × seeds with common settings.

    Each model's dense form comes with it. `settings` holds all other pruning options, and its own ratio, method, steps and seed
    are ignored. With `iterative` the ratios are stages of one pruning, each starting from the result of the one before. `seeds`
    seed random weights and random scores.
    """

    models: tuple[str, ...]
    _: KW_ONLY
    methods: tuple[str, ...] = ()
    masks: tuple[MaskKind, ...] = ()
    ratios: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (0,)
    protocol: str = ""
    iterative: bool = False
    num_classes: int | None = None
    input_size: tuple[int, int, int] | None = None
    weights: str = "random"
    settings: PruneSpec = field(default_factory=lambda: PruneSpec(ratio=0.5))

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("a sweep needs models", fix="for example `models=('resnet18', 'resnet50')`", field="models")
        if (self.methods or set(self.masks) - {"2:4"}) and not self.ratios:
            raise InputError("methods and masks need ratios", fix="for example `ratios=(0.3, 0.5)`", field="ratios")
        if self.ratios and not self.methods and not self.masks:
            raise InputError("ratios need methods or masks", fix="for example `methods=('l1',)`", field="methods")
        if list(self.ratios) != sorted(set(self.ratios)):
            raise InputError(f"`ratios` must ascend, got {self.ratios}", fix="for example `ratios=(0.3, 0.5)`", field="ratios")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds must be named once each: {self.seeds}", fix="for example `seeds=(0, 1, 2)`", field="seeds")
        if self.size > _MOST_VARIANTS:
            raise InputError(
                f"{self.size:,} models are more than the {_MOST_VARIANTS:,} a block may have", fix="make several sweeps"
            )

    @property
    def size(self) -> int:
        """An upper bound of the number of variants."""
        return len(self.models) * len(self.seeds) * (1 + (len(self.methods) + len(self.masks)) * len(self.ratios))

    def variants(self) -> Iterator[Variant]:
        """Yield all variants of the block.

        They come model by model, the dense one first.
        """
        for name in self.models:
            for seed in self.seeds:
                model = ModelSpec(
                    name=name, num_classes=self.num_classes, input_size=self.input_size, weights=self.weights, seed=seed
                )
                yield Variant(model=model)
                for mask in self.masks:
                    for ratio in (0.5,) if mask == "2:4" else self.ratios:
                        yield Variant(model=model, mask=MaskSpec(kind=mask, ratio=ratio), protocol=self.protocol)
                for method in self.methods:
                    yield from (
                        Variant(model=model, prune=self._pruning(method, step, ratio, seed), protocol=self.protocol)
                        for step, ratio in enumerate(self.ratios, start=1)
                    )

    def _pruning(self, method: str, step: int, ratio: float, seed: int) -> PruneSpec:
        # A single stage of 1.0 is as iterative as two: PruneSpec allows ratio 1 only with several steps.
        steps = max(step, 2 if ratio == 1 else 1) if self.iterative else 1
        return replace(self.settings, method=method, ratio=ratio, steps=steps, seed=seed)


@checked
@dataclass(frozen=True, slots=True)
class SweepSpec:
    """Request for a whole sweep: its networks, and their measurement.

    - `engine` is the request for engines, where a backend needs them.
    - `together` is the number of variants that are measured beside their dense model in one comparison.
    - `bundles` are kept in the run's folder, or discarded once a model's cases have ended.
    - `build_limit_s` bounds the making of one variant.
    - `trace` runs the profiler over every measured case afterwards.
    - With `data` (see `parse_data`) each variant's accuracy on at most `data_samples` of its images is taken, once for each
      backend and precision.
    - `quantize` is the request for INT8.
    """

    blocks: tuple[Block, ...]
    _: KW_ONLY
    backends: tuple[str, ...]
    precisions: tuple[Precision, ...] = ("fp32",)
    batches: tuple[int, ...] = (1,)
    measure: MeasureSpec = field(default_factory=lambda: MeasureSpec(rigor="quick"))
    engine: EngineSpec = field(default_factory=EngineSpec)
    together: int = 4
    bundles: Bundles = "keep"
    build_limit_s: float = 1200.0
    trace: bool = False
    data: str | None = None
    data_samples: int | None = None
    quantize: QuantizeSpec | None = None

    def __post_init__(self) -> None:
        if not self.blocks or not self.backends or not self.precisions or not self.batches:
            raise InputError("a sweep needs models, backends, precisions and batches", fix="for example `models=('resnet18',)`")
        if self.together < 1:
            raise InputError(
                f"`together` must be at least 1, got {self.together}",
                fix="4 variants beside the dense model is usual",
                field="together",
            )
        if not (math.isfinite(self.build_limit_s) and self.build_limit_s > 0):
            raise InputError(
                f"`build_limit_s` must be positive, got {self.build_limit_s}",
                fix="for example `build_limit_s=1200`",
                field="build_limit_s",
            )
        cases = sum(block.size for block in self.blocks) * len(self.backends) * len(self.precisions) * len(self.batches)
        if cases > _MOST_CASES:
            raise InputError(f"{cases:,} cases are more than the {_MOST_CASES:,} a sweep may have", fix="make several sweeps")
        require_calibration(parse_precisions(self.precisions), self.quantize)
        if self.data is not None:
            parse_data(self.data)
        elif self.data_samples is not None:
            raise InputError(
                "`data_samples` without `data`",
                fix="name the images with `data='digits'` or `data='imagefolder:DIR'`",
                field="data",
            )
        if self.data_samples is not None and self.data_samples < 1:
            raise InputError(
                f"`data_samples` must be at least 1, got {self.data_samples}",
                fix="leave it out for all images",
                field="data_samples",
            )

    def models(self) -> list[tuple[ModelSpec, list[Variant]]]:
        """Return each model with its variants, the dense one first.

        A variant that two blocks request occurs once.

        Raises:
            InputError: two variants have one name.
        """
        found: dict[ModelSpec, dict[str, Variant]] = {}
        for block in self.blocks:
            for variant in block.variants():
                there = found.setdefault(variant.model, {}).setdefault(variant.name, variant)
                if there != variant:
                    raise InputError(
                        f"two blocks of the sweep ask for {variant.name} with different settings",
                        fix="give one of them a protocol",
                    )
        names = [next(iter(variants)) for variants in found.values()]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{twice} would be two models, of other classes, sizes or weights", fix="make two sweeps of it")
        return [(model, list(variants.values())) for model, variants in found.items()]

    def stages(self) -> dict[str, tuple[float, ...]]:
        """Return the ratios that lead to each variant of an iterative block.

        The variant's own ratio is the last. Keys are the variants' names.
        """
        return {
            variant.name: tuple(ratio for ratio in block.ratios if ratio <= variant.prune.ratio)
            for block in self.blocks
            if block.iterative
            for variant in block.variants()
            if variant.prune is not None and variant.prune.ratio is not None
        }
