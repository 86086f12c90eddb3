"""Interfaces of pruning methods, backends, sessions and progress.

They state on one page what each must offer, and what it may rely on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from prune_deploy.tensors import Arrays

if TYPE_CHECKING:
    import torch
    from torch import nn

    from prune_deploy.records import WidthPlan
    from prune_deploy.specs import RunOptions

Need = Literal["data", "gradients", "training"]
OPENS_FOLDER = frozenset({"module", "nothing"})
"""Values of `Backend.consumes` that mean a bundle's folder instead of one of its files."""


@dataclass(frozen=True, slots=True)
class GroupLayer:
    """One layer of a dependency group as a method sees it.

    Channel `positions[i]` of `module` (an output channel if `is_output`, else an input channel) goes together with channel
    `roots[i]` of the group. `pruning_fn` is torch-pruning's function for narrowing it.
    """

    name: str
    module: nn.Module
    is_output: bool
    pruning_fn: Callable[..., Any]
    positions: Sequence[int]
    roots: Sequence[int]


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """A dependency group with its real layers.

    A method scores it, one score per root channel.
    """

    name: str
    channels: int
    layers: tuple[GroupLayer, ...]


@runtime_checkable
class Method(Protocol):
    """A pruning criterion.

    `needs` names what `prepare` must be given. `on_step` is called while training, for regularised methods.
    """

    name: str
    summary: str
    source: str
    needs: frozenset[Need]

    def prepare(self, model: nn.Module, data: Iterable[torch.Tensor] | None, plan: WidthPlan | None) -> None:
        """Look at the model, and at `data` if needed.

        It is called once, before any group is scored.
        """

    def scores(self, group: LayerGroup) -> torch.Tensor | None:
        """Return the importance of each root channel, shape (channels,).

        Channels with higher scores are kept. None if the method cannot score the group.
        """

    def on_step(self, model: nn.Module, step: int) -> None:
        """Called after each training step of a regularised pruning."""


ScoreFunction = Callable[[LayerGroup], "torch.Tensor | None"]
"""The simplest method: a plain function from group to scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Answer whether something can be used on this machine.

    `reason` and `fix` are set where it cannot.
    """

    available: bool
    reason: str = ""
    fix: str = ""


class Session(Protocol):
    """An artifact opened on its device, with its inputs bound.

    It never times itself.
    """

    def bind(self, inputs: Arrays) -> None:
        """Bind other inputs by name, of any rank, in the network's order.

        Their first axis is the batch, which may differ from the one before. Images are float32 of shape (batch, channels, height, width).

        Raises:
            InputError: the artifact takes inputs of other names.
        """

    def active(self) -> AbstractContextManager[dict[str, float]]:
        """Put the process-wide settings of this session in force for a block.

        Other sessions of the process may have changed them since. Runs are timed within such a block. It yields what the runtime itself
        counted meanwhile, by name, once the block is over.

        Raises:
            BuildError: at the block's end, if a setting changed meanwhile.
        """

    def run(self) -> None:
        """Start one inference on the bound inputs."""

    def synchronize(self) -> None:
        """Wait until everything started has ended."""

    @property
    def stream(self) -> int | None:
        """The device stream's handle, or None on a CPU."""

    def outputs(self) -> Arrays:
        """Return the last run's outputs by name, on the host.

        Logits of a classifier have the shape (batch, classes) and the name `tensors.OUTPUT_NAME`.
        """

    def settings(self) -> dict[str, str]:
        """Return the settings in force, as the runtime itself reports them.

        Examples are threads, provider, precision of matrix products, and versions.
        """

    def check(self) -> None:
        """Check that all runs so far were what the label says.

        It is called after runs, outside of timed regions.

        Raises:
            PruneDeployError: they were not. The error's `status` is the case's.
        """

    def device_bytes(self) -> int | None:
        """Return the peak device memory of one run in bytes.

        It is measured by running once. None on a CPU.
        """


class Backend(Protocol):
    """A runtime, which opens artifacts.

    Producing the artifacts is the work of `prune_deploy.export`.

    - `name` is what a user types, `title` the runtime's name for readers.
    - `consumes` is "module" or "nothing" for a backend that opens a bundle's folder. For others it is the role of the artifact
      that they open: "onnx", "engine", or a role that another package writes.
    - `variants` are the ways to run that it knows, "" the plain one. `reported` are those that a user gets who names only the
      backend.
    - Sessions of a backend that `needs_own_process` may not share one.
    - `compiles` marks a backend whose first run compiles, so that its first launch and a second one, with warm caches, are told
      apart.
    """

    name: str
    summary: str
    title: str
    consumes: str
    variants: tuple[str, ...]
    reported: tuple[str, ...]
    needs_own_process: bool
    compiles: bool

    def available(self) -> Availability:
        """Return whether the runtime works here."""

    def environment(self, options: RunOptions) -> Mapping[str, str]:
        """Return environment variables that a process needs from its start.

        The runtime's libraries read them once. A session that needs any has a process of its own.
        """

    def open(self, artifact: Path, inputs: Arrays, options: RunOptions = ...) -> AbstractContextManager[Session]:
        """Open an artifact with `inputs` bound, as by `Session.bind`.

        Raises:
            CannotRunError: the options ask for a device or a variant that does not work here.
        """


Stage = Literal[
    # Looking at what is asked for.
    "check bundle",
    "try model",
    # Making a bundle, in this order.
    "make bundle",
    "load libraries",
    "build model",
    "prune",
    "mask",
    "recover",
    "write weights",
    "export onnx",
    "convert",
    "import int8",
    "calibrate",
    "smooth",
    "rank layers",
    "quantize",
    "check onnx",
    "build engine",
    "check engine",
    "reload",
    # Training it further.
    "load teacher",
    "split images",
    "resume training",
    "validate",
    "train",
    # Looking at what it does.
    "measure",
    "trace",
    "measure memory",
    "evaluate",
]
"""Stages of the work. Parity of an ONNX file and of an engine are two: they run on different devices, long after each other."""


class Progress(Protocol):
    """Receiver of how far the work is.

    Whatever one of its methods raises ends the work.
    """

    def stage(self, stage: Stage, detail: str = "", /) -> None:
        """Begin a stage, which ends the one before it.

        `detail` names what it works on, as `cli/output` completes the stage's words with it: a model, a file, a comparison.
        """

    def advance(self, done: float, total: float, detail: str = "", /) -> None:
        """Report that `done` of `total` of the stage is over.

        `detail` names the part that runs now: TensorRT's phase, a launch's warm-up, an epoch and its loss.
        """

    def note(self, message: str, /) -> None:
        """Report a result or a warning on the way.

        It begins and ends no stage: an epoch's accuracy, a damaged cache.
        """


class Silent:
    """Progress without an observer."""

    def stage(self, stage: Stage, detail: str = "", /) -> None:
        """Do nothing."""

    def advance(self, done: float, total: float, detail: str = "", /) -> None:
        """Do nothing."""

    def note(self, message: str, /) -> None:
        """Do nothing."""
