"""The training loop: it learns, it can be stopped at any step and goes on with the same bits, and it says when it cannot."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from prune_deploy.errors import InputError, OutputError
from prune_deploy.pruning import methods
from prune_deploy.training import loop
from prune_deploy.training.callbacks import KeepZeros, Stepwise
from prune_deploy.training.checkpoint import Checkpoint, State
from prune_deploy.training.loop import Trainer
from support.fakes.recorded_progress import RecordedProgress
from support.models.tiny_models import Plain, conv_bn, lively
from support.training import coloured, settings, setup


class Dropping(Plain):
    """With dropout, whose random numbers have to be the same after an interruption."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout2d(super().features(x), 0.3, self.training)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def nowhere(_: State) -> None:
    """Save nothing."""


def after(step: int, action: Callable[[], None]) -> Stepwise:
    """A callback that acts once, after a step."""

    def act(_: nn.Module, now: int) -> None:
        if now == step:
            action()

    return Stepwise(act)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_it_learns_and_says_how(optimizer: str) -> None:
    progress, made = RecordedProgress(), setup(optimizer=optimizer, epochs=8)
    model = lively(Plain())
    before = weights(model)
    history = Trainer(model, made, progress).run(nowhere)
    assert progress.stages == [("validate", "before training"), ("train", "8 epochs of 4 steps")]
    assert [(done, total) for done, total, _ in progress.advances] == [(step, 32) for step in range(33)]
    assert progress.advances[5][2].startswith("epoch 2/8  loss ")
    assert [message.split(",")[:2] for message in progress.notes] == [
        [f"epoch {each.number}/8: loss {each.loss:.4g}", f" top-1 {100 * each.top1:.1f} %"] for each in history.epochs
    ]
    assert [epoch.number for epoch in history.epochs] == list(range(1, 9))
    assert history.epochs[-1].loss < 0.5 * history.epochs[0].loss
    assert history.top1_before is not None
    assert history.epochs[-1].top1 > 0.7 > history.top1_before
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert not torch.equal(before["first.1.running_mean"], model.get_buffer("first.1.running_mean"))


def test_top1_is_counted_by_hand_and_the_loss_is_of_all_images() -> None:
    made = setup(epochs=1, lr=1e-12)
    model = lively(Plain())
    history = Trainer(model, made, RecordedProgress()).run(nowhere)
    (batch,) = made.validation.in_order(10)
    right = (model(batch.inputs).argmax(1) == batch.labels).float().mean()
    assert history.epochs[0].top1 == pytest.approx(float(right))
    (whole,) = made.train.in_order(30)
    model.train()
    with torch.no_grad():  # batches' statistics differ a little from those of all images
        expected = nn.functional.cross_entropy(model(whole.inputs), whole.labels)
    assert history.epochs[0].loss == pytest.approx(float(expected), rel=0.15)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stop", [1, 4, 6, 12])
def test_a_stopped_training_goes_on_and_ends_with_the_same_bits(tmp_path: Path, optimizer: str, stop: int) -> None:
    made = setup(optimizer=optimizer)
    undisturbed = lively(Dropping())
    whole = Trainer(undisturbed, made, RecordedProgress()).run(nowhere)
    checkpoint = Checkpoint(tmp_path / "training", settings(made))
    interrupted = replace(made, callbacks=[after(stop, lambda: signal.raise_signal(signal.SIGINT))])
    with pytest.raises(KeyboardInterrupt):
        Trainer(lively(Dropping()), interrupted, RecordedProgress()).run(checkpoint.write)
    torch.manual_seed(99)  # another process has other numbers
    model, progress = lively(Dropping(), seed=5), RecordedProgress()
    state = checkpoint.read()
    assert state is not None
    trainer = Trainer(model, made, progress)
    trainer.resume(state)
    history = trainer.run(checkpoint.write)
    assert progress.stages == [("train", "3 epochs of 4 steps")]
    assert progress.advances[0][:2] == (stop, 12)
    assert same(weights(model), weights(undisturbed))
    assert [(e.number, e.loss, e.top1, e.lr) for e in history.epochs] == [(e.number, e.loss, e.top1, e.lr) for e in whole.epochs]


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_learns_and_goes_on_with_the_scale_of_its_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: torch.dtype
) -> None:
    """PyTorch's CPU has both types and the same scaler, so what a GPU would do can be walked through."""
    monkeypatch.setattr(loop, "_half_type", lambda _: half)
    made = setup(epochs=4, optimizer="sgd")
    plain = Trainer(lively(Plain()), made, RecordedProgress())
    history = plain.run(nowhere)
    assert history.epochs[-1].loss < history.epochs[0].loss
    checkpoint, stopped = Checkpoint(tmp_path / "training", settings(made)), lively(Plain())
    interrupted = replace(made, callbacks=[after(6, lambda: signal.raise_signal(signal.SIGTERM))])
    with pytest.raises(KeyboardInterrupt):
        Trainer(stopped, interrupted, RecordedProgress()).run(checkpoint.write)
    state = checkpoint.read()
    assert state is not None
    assert bool(state.scaler) is (half is torch.float16)
    model = lively(Plain(), seed=3)
    trainer = Trainer(model, made, RecordedProgress())
    trainer.resume(state)
    trainer.run(checkpoint.write)
    assert same(weights(model), weights(plain._model))


def test_the_caller_s_random_numbers_are_left_alone() -> None:
    model = lively(Dropping())
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    Trainer(model, setup(epochs=1), RecordedProgress()).run(nowhere)
    assert torch.equal(torch.rand(3), expected)


def test_other_seeds_give_other_weights() -> None:
    models = [lively(Plain()) for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        Trainer(model, setup(epochs=1, seed=seed), RecordedProgress()).run(nowhere)
    assert same(weights(models[0]), weights(models[1]))
    assert not same(weights(models[0]), weights(models[2]))


def test_zeros_of_a_mask_stay_and_everything_else_moves() -> None:
    model = lively(nn.Sequential(conv_bn(3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)))
    layers = {name: module for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
    with torch.no_grad():
        for layer in layers.values():
            layer.weight[layer.weight.abs() < layer.weight.abs().median()] = 0.0
    zeros = {name: layer.weight == 0 for name, layer in layers.items()}
    Trainer(model, replace(setup(optimizer="sgd"), callbacks=[KeepZeros(model)]), RecordedProgress()).run(nowhere)
    assert all(torch.equal(layer.weight == 0, zeros[name]) for name, layer in layers.items())
    assert all(bool((layer.weight[zeros[name]].view(torch.int32) == 0).all()) for name, layer in layers.items()), "-0.0"


def test_channels_are_last_in_memory_while_it_trains_and_no_longer() -> None:
    model, last = lively(nn.Sequential(conv_bn(3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))), []
    (convolution,) = (module for module in model.modules() if isinstance(module, nn.Conv2d))

    def look(_: nn.Module, _step: int) -> None:
        last.append(convolution.weight.is_contiguous(memory_format=torch.channels_last))

    Trainer(model, replace(setup(epochs=1), callbacks=[Stepwise(look)]), RecordedProgress()).run(nowhere)
    assert last == [True] * 4
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())


def test_a_pruning_method_can_look_on() -> None:
    method, seen = methods.create("l2"), []
    made = replace(setup(epochs=2), callbacks=[Stepwise(method.on_step), Stepwise(lambda _, step: seen.append(step))])
    Trainer(lively(Plain()), made, RecordedProgress()).run(nowhere)
    assert seen == list(range(1, 9))


def test_a_teacher_teaches_what_labels_do_not_say() -> None:
    teacher = lively(Plain(), seed=1)
    (batch,) = coloured(10).in_order(10)
    expected = teacher(batch.inputs).softmax(1).detach()
    distances = []
    for distill in (0.0, 1.0):
        model = lively(Plain())
        made = replace(setup(epochs=25, distill=distill, lr=0.01), teacher=teacher if distill else None)
        Trainer(model, made, RecordedProgress()).run(nowhere)
        distances.append(float((model(batch.inputs).softmax(1) - expected).detach().abs().max()))
    assert distances[1] < 0.2 < distances[0]
    assert same(weights(teacher), weights(lively(Plain(), seed=1)))


def test_a_loss_that_is_no_number_ends_it_and_says_what_helps() -> None:
    class Overflowing(Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * (float("inf") if self.training else 1.0)

    with pytest.raises(OutputError, match="the loss is nan after 0 steps") as caught:
        Trainer(lively(Overflowing()), setup(), RecordedProgress()).run(nowhere)
    assert "lower `lr`" in caught.value.fix
    with pytest.raises(OutputError, match="outputs are not finite"):
        Trainer(lively(Plain()), setup(lr=1e38, batch=30, warmup_epochs=0.0, optimizer="sgd"), RecordedProgress()).run(nowhere)


def test_a_network_of_other_classes_is_refused_before_the_first_step() -> None:
    progress = RecordedProgress()
    with pytest.raises(InputError, match="gives 5 scores, the data has 7"):
        Trainer(lively(Plain()), replace(setup(), classes=7), progress).run(nowhere)
    assert progress.advances == []
