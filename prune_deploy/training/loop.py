"""Training loop: AdamW or SGD over epochs of images, each validated.

It can stop at any step and continue with the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from timm.optim import create_optimizer_v2
from torch import nn

from prune_deploy.errors import InputError, OutputError, first_line
from prune_deploy.interfaces import Progress
from prune_deploy.records import Epoch
from prune_deploy.signals import StopRequest, deferred
from prune_deploy.specs import FinetuneSpec
from prune_deploy.training.callbacks import Callback
from prune_deploy.training.checkpoint import History, State, restore, tensors_of
from prune_deploy.training.images import Batch, Images
from prune_deploy.training.objective import learning_rate, loss_of

_LARGEST_NORM = 5.0
"""Norm to which gradients are scaled down.

Where channels have just been removed, or weights are fresh, the first steps' gradients are many times those that follow. One such
step disturbs AdamW's and SGD's averages for a long time.
"""

_MOMENTUM = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything that a training needs in addition to its network.

    `teacher` is the dense model, where some of the loss comes from its outputs.
    """

    spec: FinetuneSpec
    train: Images
    validation: Images
    classes: int
    device: str = "cpu"
    teacher: nn.Module | None = None
    callbacks: Sequence[Callback] = ()


class Trainer:
    """Trainer of a network, in place.

    `history` is its progress.
    """

    def __init__(self, model: nn.Module, setup: Setup, progress: Progress) -> None:
        self.history = History()
        # Depthwise convolutions train twice as fast on a CPU with the channels last.
        self._model = model.to(setup.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._setup, self._progress = setup, progress
        self._teacher = None if setup.teacher is None else setup.teacher.to(setup.device).eval()
        spec = setup.spec
        # timm's "sgd" is Nesterov's. Weights decay, biases and norms do not.
        self._optimizer = create_optimizer_v2(
            model, opt=spec.optimizer, lr=spec.start_lr, weight_decay=spec.weight_decay, momentum=_MOMENTUM
        )
        self._half = _half_type(setup)
        self._scaler = torch.amp.GradScaler(setup.device, enabled=self._half is torch.float16)
        self._per_epoch = setup.train.steps(spec.batch)
        self._steps = self._per_epoch * spec.epochs

    def resume(self, state: State) -> None:
        """Continue from a state instead of from the beginning.

        Raises:
            InputError: the state is of another network or another training.
        """
        fix = "begin anew with `restart=True`"
        epochs = len(state.history.epochs)
        if not 0 <= state.history.step - epochs * self._per_epoch <= self._per_epoch or epochs > self._setup.spec.epochs:
            raise InputError(f"the checkpoint has {state.history.step} steps, which are not those of {epochs} epochs", fix=fix)
        restore(self._model, self._optimizer, state.tensors)
        if state.scaler:
            try:
                self._scaler.load_state_dict(state.scaler)
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise InputError(f"the checkpoint's scale of gradients is damaged: {first_line(error)}", fix=fix) from error
        self.history = state.history

    def run(self, save: Callable[[State], None]) -> History:
        """Train until the last epoch is over.

        `save` gets the state after each epoch and when a signal asks to stop.

        Raises:
            OutputError: the loss or an output is not a finite number.
            InputError: the network does not have an output for each class.
            KeyboardInterrupt: a signal asked to stop, and the state has been saved.
        """
        with deferred(unhandled=True) as stop, _repeatable(self._setup.device):
            try:
                if self.history.top1_before is None:
                    self._progress.stage("validate", "before training")
                    self.history = replace(self.history, top1_before=self._top1(stop))
                epochs, done = self._setup.spec.epochs, self.history.step
                self._progress.stage("train", f"{epochs} epochs of {self._per_epoch} steps")
                self._progress.advance(done, self._steps)
                while len(self.history.epochs) < epochs:
                    self._epoch(stop)
                    save(self._state())
            except KeyboardInterrupt:
                if self.history.step:
                    save(self._state())
                raise
        self._model.zero_grad(set_to_none=True)
        self._model.eval().to(memory_format=torch.contiguous_format)
        return self.history

    def _state(self) -> State:
        scaler = self._scaler.state_dict() if self._scaler.is_enabled() else {}
        return State(history=self.history, tensors=tensors_of(self._model, self._optimizer), scaler=scaler)

    def _epoch(self, stop: StopRequest) -> None:
        """Train the rest of an epoch, and validate it."""
        spec, number = self._setup.spec, len(self.history.epochs)
        first = self.history.step - number * self._per_epoch
        begun, before = time.perf_counter(), self.history.seconds
        self._model.train()
        for batch in self._setup.train.shuffled(spec.batch, number, first):
            stop.check()
            self._step(batch)
            self.history = replace(self.history, seconds=before + time.perf_counter() - begun)
            self._report_step(number + 1)
        top1 = self._top1(stop)
        epoch = Epoch(
            number=number + 1,
            loss=self._mean_loss,
            top1=top1,
            lr=learning_rate(spec, number * self._per_epoch, self._steps),
            seconds=before + time.perf_counter() - begun,
        )
        self.history = History(step=self.history.step, top1_before=self.history.top1_before, epochs=(*self.history.epochs, epoch))
        for callback in self._setup.callbacks:
            callback.on_epoch_end(self._model, epoch)
        message = f"loss {epoch.loss:.4g}, top-1 {100 * epoch.top1:.1f} %, {epoch.seconds:.1f} s"
        self._progress.note(f"epoch {epoch.number}/{spec.epochs}: {message}")

    def _report_step(self, epoch: int) -> None:
        """Report the step, the mean loss and the last top-1."""
        epochs = self.history.epochs
        top1 = f"  top-1 {100 * epochs[-1].top1:.1f} %" if epochs else ""
        message = f"epoch {epoch}/{self._setup.spec.epochs}  loss {self._mean_loss:.3f}{top1}"
        self._progress.advance(self.history.step, self._steps, message)

    @property
    def _mean_loss(self) -> float:
        return self.history.loss_sum / max(self.history.seen, 1)

    def _step(self, batch: Batch) -> None:
        """Run one step of the optimizer.

        A batch with fewer than two readable images is skipped.
        """
        spec, history = self._setup.spec, self.history
        loss = self._learn(batch) if len(batch.labels) > 1 else 0.0
        seen = len(batch.labels) if len(batch.labels) > 1 else 0
        if not np.isfinite(loss):
            raise OutputError(
                f"the loss is {loss} after {history.step} steps", fix=f"lower `lr`, for example `lr={spec.start_lr / 10:g}`"
            )
        self.history = replace(history, step=history.step + 1, loss_sum=history.loss_sum + loss * seen, seen=history.seen + seen)
        for callback in self._setup.callbacks:
            callback.on_step(self._model, self.history.step)

    def _learn(self, batch: Batch) -> float:
        spec, step = self._setup.spec, self.history.step
        # Dropout's and stochastic depth's numbers follow from the step, so a continued training draws the same ones.
        torch.manual_seed(int(np.random.SeedSequence([spec.seed, step]).generate_state(1)[0]))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(spec, step, self._steps)
        inputs, labels = (tensor.to(self._setup.device, non_blocking=True) for tensor in batch)
        with self._autocast():
            logits = self._model(inputs)
            with torch.no_grad():
                answers = None if self._teacher is None else self._teacher(inputs)
        self._require_classes(logits)
        loss = loss_of(logits, labels, answers, spec)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._model.parameters(), _LARGEST_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return float(loss.detach())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._setup.device, dtype=self._half or torch.bfloat16, enabled=self._half is not None)

    @torch.no_grad()
    def _top1(self, stop: StopRequest) -> float:
        """Return the share of validation images that it classifies correctly, in FP32."""
        self._model.eval()
        correct, images = 0, 0
        for batch in self._setup.validation.in_order(self._setup.spec.batch):
            stop.check()
            if not len(batch.labels):
                continue
            logits = self._model(batch.inputs.to(self._setup.device))
            self._require_classes(logits)
            if not bool(torch.isfinite(logits).all()):
                raise OutputError(
                    "the network's outputs are not finite numbers",
                    fix="lower `lr`; before the first step: see prune-deploy verify",
                )
            correct += int((logits.argmax(dim=1).cpu() == batch.labels).sum())
            images += len(batch.labels)
        if not images:
            raise InputError("none of the validation images can be read", fix="check the files for damage")
        return correct / images

    def _require_classes(self, logits: torch.Tensor) -> None:
        if logits.shape[-1] != self._setup.classes:
            raise InputError(
                f"the network gives {logits.shape[-1]} scores, the data has {self._setup.classes} classes",
                fix="prune it with `ignore=('head',)`, which keeps a score for each class",
            )


def _half_type(setup: Setup) -> torch.dtype | None:
    """Return the half precision of mixed training, None on a CPU.

    BF16 needs no scaling of gradients. Older GPUs have only FP16.
    """
    if setup.device == "cpu" or not setup.spec.amp:
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


@contextmanager
def _repeatable(device: str) -> Iterator[None]:
    """Make the block repeatable.

    It draws from generators of its own, and cuDNN uses only kernels that add in a fixed order.
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        with torch.random.fork_rng(devices=[] if device == "cpu" else [torch.cuda.current_device()]):
            yield
    finally:
        torch.backends.cudnn.deterministic = before
