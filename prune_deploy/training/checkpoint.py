"""Checkpoint of a training: tensors as safetensors, everything else as JSON.

Pickles are never used. `state.json` names the file of tensors that belongs to it and is written last. A kill at any moment
therefore leaves the previous checkpoint intact.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from prune_deploy.errors import InputError, StorageError, setting, storage_errors
from prune_deploy.files import read_file, write_text
from prune_deploy.records import SCHEMA_VERSION, Epoch, Parent, from_json, to_json
from prune_deploy.specs import FinetuneSpec

STATE_FILE = "state.json"
_NAMED = 3
_MOST_STEPS = 10**12
_MOST_IMAGES = 10**15
_OPTIMIZER_STATE: dict[type[torch.optim.Optimizer], set[str]] = {
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.SGD: {"momentum_buffer"},
}
_RESTART = "finish it with the settings it was begun with, or begin anew with `restart=True`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings that decide the weights a training ends with.

    A training with other settings cannot continue from its checkpoints.
    """

    spec: FinetuneSpec
    parent: Parent
    train_sha256: str
    validation_sha256: str
    teacher: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Progress of a training.

    It holds the steps of the optimizer and the finished epochs. Of the unfinished epoch it holds the sum of its images' losses,
    their number and its seconds. Random numbers follow from the seed and the step, so no generator's state is needed.
    """

    step: int = 0
    loss_sum: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    top1_before: float | None = None
    epochs: tuple[Epoch, ...] = ()

    def __post_init__(self) -> None:
        counted = 0 <= self.step <= _MOST_STEPS and 0 <= self.seen <= _MOST_IMAGES
        if not (counted and math.isfinite(self.loss_sum) and 0 <= self.seconds < math.inf and 0 <= (self.top1_before or 0) <= 1):
            raise ValueError(f"no training has taken {self.step} steps with a loss of {self.loss_sum}")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that a training continues from.

    `tensors` are the network's and the optimizer's. `scaler` is that of FP16's gradients.
    """

    history: History
    tensors: dict[str, torch.Tensor]
    scaler: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    settings: Settings
    history: History
    tensors: str
    scaler: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


class Checkpoint:
    """Checkpoint of one training in a folder of its own."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self._settings = settings

    def read(self) -> State | None:
        """Return the last state that was written, or None.

        Raises:
            InputError: it is damaged, or of a training with other settings.
        """
        if not (self.folder / STATE_FILE).is_file():
            return None
        document = read_document(self.folder)
        if document.settings != self._settings:
            raise InputError(
                f"{self.folder} holds an unfinished training with {_difference(document.settings, self._settings)}", fix=_RESTART
            )
        path = self.folder / document.tensors
        try:
            tensors = safetensors.torch.load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise InputError(f"{path} is not a whole safetensors file: {error}", fix="begin anew with `restart=True`") from error
        return State(history=document.history, tensors=tensors, scaler=document.scaler)

    def prepare(self) -> None:
        """Make the folder.

        This detects a folder that cannot be written before an epoch is spent.

        Raises:
            StorageError: it cannot be made.
        """
        with storage_errors(self.folder, every=True):
            self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, state: State) -> None:
        """Write a state and remove the one before.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        self.prepare()
        path = (
            self.folder / f"step-{state.history.step}-{secrets.token_hex(4)}.safetensors"
        )  # never the one that is being replaced
        _save(state.tensors, path)
        document = _Document(settings=self._settings, history=state.history, tensors=path.name, scaler=state.scaler)
        write_text(self.folder / STATE_FILE, to_json(document))
        for old in self.folder.glob("step-*.safetensors"):
            if old != path:
                old.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove it, if it exists."""
        discard(self.folder)

    def tidy(self) -> None:
        """Remove the folder if nothing has been written to it."""
        with suppress(OSError):  # it holds something, or does not exist
            self.folder.rmdir()


def read_document(folder: Path) -> _Document:
    """Return the content of state.json.

    Raises:
        InputError: it is damaged, or names a file outside the folder.
    """
    path = folder / STATE_FILE
    try:
        document = from_json(_Document, read_file(path), source=str(path))
    except InputError as error:
        raise InputError(error.message, fix="begin anew with `restart=True`") from error
    if document.tensors != Path(document.tensors).name:
        raise InputError(f"{path} names a file outside its folder: {document.tensors}", fix="begin anew with `restart=True`")
    return document


def discard(folder: Path) -> None:
    """Remove a folder of checkpoints, and no other folder.

    Raises:
        InputError: the folder holds something else.
    """
    if not folder.exists():
        return
    unknown = [path.name for path in folder.iterdir() if path.name != STATE_FILE and not _is_ours(path)]
    if unknown:
        raise InputError(
            f"{folder} holds {unknown[0]}, which is no part of a training", fix="move it away, or choose another `out`"
        )
    with storage_errors(folder, every=True):
        shutil.rmtree(folder)


def _is_ours(path: Path) -> bool:
    return path.match("step-*.safetensors") or path.name.startswith(".unfinished-")


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    try:
        with storage_errors(path, every=True):
            safetensors.torch.save_file(tensors, path)
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    except (safetensors.SafetensorError, StorageError) as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        if isinstance(error, StorageError):
            raise
        # safetensors wraps what the operating system says in text.
        raise StorageError(
            f"cannot write {path}: {error}", fix="free space on that disk, or choose another with `out=DIR`"
        ) from error


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the tensors that training changes, on the CPU.

    Those that share memory are copied apart, as safetensors requires.
    """
    named = {f"model.{name}": tensor for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    for index, state in optimizer.state_dict()["state"].items():
        named |= {f"optimizer.{index}.{key}": value for key, value in state.items() if isinstance(value, torch.Tensor)}
    result: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in named.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return result


@torch.no_grad()
def restore(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put the tensors of `tensors_of` back.

    Raises:
        InputError: they belong to another network or another optimizer.
    """
    held = {f"model.{name}": tensor for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    saved = {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    if {name: tensor.shape for name, tensor in held.items()} != {name: tensor.shape for name, tensor in saved.items()}:
        raise InputError("the checkpoint's tensors are not those of this network", fix="begin anew with `restart=True`")
    for name, tensor in held.items():
        tensor.copy_(saved[name])
    states = _optimizer_states(optimizer, tensors)
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def _optimizer_states(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    """Return the optimizer's tensors by the numbers of their parameters.

    A step would fail on others.
    """
    parameters = {str(index): each for index, each in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    expected = next((keys for kind, keys in _OPTIMIZER_STATE.items() if isinstance(optimizer, kind)), None)
    states: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            states.setdefault(index, {})[key] = tensor
    for index, state in states.items():
        fits = index in parameters and expected in (None, set(state))
        if not fits or not all(each.numel() == 1 or each.shape == parameters[index].shape for each in state.values()):
            raise InputError(f"the checkpoint's tensors {index} are not this optimizer's", fix="begin anew with `restart=True`")
    return {int(index): state for index, state in states.items()}


def _difference(stored: Settings, requested: Settings) -> str:
    """Describe the difference between two settings for a reader."""
    if stored.parent != requested.parent:
        return (
            f"another parent, {stored.parent.name}"
            if stored.parent.name != requested.parent.name
            else "other weights of its parent"
        )
    if options := different_options(stored.spec, requested.spec):
        return f"other settings: {options}"
    return "another teacher" if stored.teacher != requested.teacher else "other images: those of the folder have changed"


def different_options(stored: FinetuneSpec, requested: FinetuneSpec) -> str:
    """List the first few options that two requests differ in.

    An entry reads "`lr=0.1` there, 0.2 asked for". The text is empty if none differs.
    """
    values = ((option.name, getattr(stored, option.name), getattr(requested, option.name)) for option in fields(FinetuneSpec))
    different = [f"{setting(name, old)} there, {new} asked for" for name, old, new in values if old != new]
    more = f" and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
    return "; ".join(different[:_NAMED]) + more
