"""Requests for engines: library, GPU, batch sizes and limits."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from prune_deploy.errors import InputError
from prune_deploy.specs.checked import checked
from prune_deploy.specs.precision import Precision, parse_precisions

EngineLibrary = Literal["auto", "tensorrt", "tensorrt-rtx", "none"]

TARGETS: tuple[str, ...] = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
"""Compute capabilities an engine can be built for without owning the card."""

LOCAL_TARGETS: tuple[str, ...] = ("sm87", "sm90", "sm100", "sm103", "sm110")
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


@checked
@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Engines to build: library, GPU, batch sizes and limits.

    - `batches` get one optimisation profile each (min = opt = max).
    - `workspace_mib` bounds the builder's scratch memory in MiB.
    - `optimization_level` is TensorRT's 0-5, None its default.
    - `sparse_weights` lets the builder use kernels for 2:4 sparse weights. None means that it may if the weights have a 2:4 mask.
    """

    library: EngineLibrary = "auto"
    _: KW_ONLY
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
