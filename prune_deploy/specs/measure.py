"""Request for a measurement: run options, budget and rigor."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from prune_deploy.errors import InputError, setting
from prune_deploy.specs.checked import checked
from prune_deploy.specs.precision import Precision

Device = Literal["cpu", "cuda"]
Rigor = Literal["quick", "full"]
Mode = Literal["latency", "device", "throughput"]
Placement = Literal["isolated", "shared"]
InputKind = Literal["images", "normal", "uniform", "zeros"]
Across = Literal["", "backends", "precisions"]
"""Dimension of one comparison in addition to models.

It is nothing, all backends, or all precisions of one backend.
"""

CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]

DEFAULT_BUDGET_S: dict[Rigor, float] = {"quick": 30.0, "full": 120.0}
"""Seconds per comparison, start-up and warm-up included.

The least that a rigor asks for is done even where it takes longer.
"""


@checked
@dataclass(frozen=True, slots=True)
class RunOptions:
    """All options that change speed.

    Except for `variant` and `precision`, they are the same for all candidates of a comparison.

    - `threads` is the number inside one operator, None the runtime's own choice.
    - `cpu_freezing` makes the weights constants of the graph that torch.compile compiles, on the CPU.
    - `variant` is a backend's own way to run ("cuda-graph" of trt), "" the default.
    - `precision` is the case's label. Modules are cast to it, and a session whose layers do not compute in it is refused. With
      None an artifact is taken as it is, and no label is checked. Products round their operands to TF32 with tf32 alone.
    """

    device: Device = "cpu"
    _: KW_ONLY
    threads: int | None = None
    channels_last: bool = False
    cudnn_benchmark: bool = False
    compile_mode: CompileMode = "default"
    cpu_freezing: bool = False
    variant: str = ""
    precision: Precision | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise InputError(
                f"`threads` must be at least 1, got {self.threads}",
                fix="leave it out for the runtime's own choice",
                field="threads",
            )


@checked
@dataclass(frozen=True, slots=True)
class MeasureSpec:
    """Settings of a comparison's measurement.

    - `budget_s` is for one comparison, None the default of the rigor.
    - `open_limit_s` bounds the start of one candidate, compilation included.
    - `memory_limit_mib` ends a worker whose resident memory exceeds it.
    - `lock_clocks_mhz` holds the GPU's clock (needs root).
    - `seed` seeds the input images, the order of the candidates and the bootstrap intervals.
    - `placement` None means one process per candidate on a CPU, one process for all on a GPU.
    """

    rigor: Rigor = "full"
    _: KW_ONLY
    mode: Mode = "latency"
    placement: Placement | None = None
    budget_s: float | None = None
    open_limit_s: float = 600.0
    memory_limit_mib: int | None = None
    lock_clocks_mhz: int | None = None
    inputs: InputKind = "images"
    seed: int = 0
    options: RunOptions = field(default_factory=RunOptions)

    def __post_init__(self) -> None:
        for name, value in (("budget_s", self.budget_s), ("open_limit_s", self.open_limit_s)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(
                    f"`{name}` must be a positive number of seconds, got {value}",
                    fix=f"for example {setting(name, 120)}",
                    field=name,
                )
        for name, number in (("memory_limit_mib", self.memory_limit_mib), ("lock_clocks_mhz", self.lock_clocks_mhz)):
            if number is not None and number < 1:
                raise InputError(f"`{name}` must be positive, got {number}", fix=f"leave `{name}` out", field=name)

    @property
    def seconds(self) -> float:
        """The budget of one comparison in seconds."""
        return DEFAULT_BUDGET_S[self.rigor] if self.budget_s is None else self.budget_s

    @property
    def memory_limit_bytes(self) -> int | None:
        """The memory limit of one worker in bytes."""
        return None if self.memory_limit_mib is None else self.memory_limit_mib << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to time: a bundle's artifact at one batch size.

    It has one precision and runs through one backend.
    """

    bundle: str
    backend: str
    precision: str
    batch: int
    options: RunOptions

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError(f"`batch` must be positive, got {self.batch}", fix="for example `batch=8`", field="batch")
