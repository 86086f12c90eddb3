"""What a training is asked for, what it minimises, how its rate runs, and how it is drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax, softmax

from prune_deploy.errors import InputError
from prune_deploy.records import Epoch, Parent, Training, from_json, to_json
from prune_deploy.reporting.renderers.training_plot import top1_interval, training_plot
from prune_deploy.specs import FinetuneSpec
from prune_deploy.training import loop
from prune_deploy.training.objective import learning_rate, loss_of


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": "imagenet"}, "unknown data"),
        ({"val_data": "imagefolder"}, "needs a folder"),
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"batch": 1}, "`batch` must be at least 2, got 1"),
        ({"samples": 1}, "`samples` must be at least 2"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"optimizer": "adam"}, "unknown `optimizer` 'adam'"),
        ({"lr": 0.0}, "`lr` must be positive"),
        ({"lr": math.nan}, "`lr` must be positive"),
        ({"distill": 1.5}, "`distill` must be a share"),
        ({"label_smoothing": -0.1}, "`label_smoothing` must be a share"),
        ({"weight_decay": math.inf}, "`weight_decay` must be 0 or more"),
        ({"warmup_epochs": -1.0}, "`warmup_epochs` must be 0 or more"),
        ({"temperature": 0.0}, "`temperature` must be positive"),
        ({"augment": True, "smallest_crop": 0.0}, "`smallest_crop` must be a share above 0"),
        ({"augment": True, "smallest_crop": 1.1}, "`smallest_crop` must be a share above 0"),
        ({"augment": True, "smallest_crop": math.nan}, "`smallest_crop` must be a share above 0"),
        ({"smallest_crop": 0.7}, "there are none"),
    ],
)
def test_bad_settings_are_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        FinetuneSpec(**({"data": "digits"} | fields))
    assert caught.value.fix


def test_the_rate_rises_in_a_line_and_falls_by_a_half_cosine() -> None:
    spec = FinetuneSpec(data="digits", epochs=10, warmup_epochs=2.0, lr=1.0)
    rates = [learning_rate(spec, step, 100) for step in range(100)]
    assert rates[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert rates[20] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_a_warm_up_longer_than_the_training_is_cut() -> None:
    spec = FinetuneSpec(data="digits", epochs=1, warmup_epochs=5.0, lr=1.0)
    rates = [learning_rate(spec, step, 10) for step in range(10)]
    assert max(rates) == 1.0 == rates[5]
    one = [learning_rate(spec, 0, 1)]
    assert one == [1.0]


def test_the_loss_is_the_textbook_s() -> None:
    """Cross-entropy with smoothing, and T² times the divergence of softened probabilities, both averaged over images."""
    generator = np.random.default_rng(0)
    logits, answers, labels = generator.normal(size=(6, 5)), generator.normal(size=(6, 5)), generator.integers(0, 5, 6)
    spec = FinetuneSpec(data="digits", distill=0.3, temperature=4.0, label_smoothing=0.1)
    targets = np.full((6, 5), 0.1 / 5)
    targets[np.arange(6), labels] += 0.9
    own = -(targets * log_softmax(logits, axis=1)).sum(1).mean()
    taught = softmax(answers / 4, axis=1) * (log_softmax(answers / 4, axis=1) - log_softmax(logits / 4, axis=1))
    expected = 0.7 * own + 0.3 * 16 * taught.sum(1).mean()
    tensors = torch.tensor(logits), torch.tensor(labels), torch.tensor(answers)
    assert float(loss_of(*tensors, spec)) == pytest.approx(expected, rel=1e-5)
    assert float(loss_of(*tensors[:2], None, spec)) == pytest.approx(own, rel=1e-5)


def training(epochs: int = 3) -> Training:
    """A training of made figures."""
    seen = tuple(Epoch(number=n + 1, loss=2 / (n + 1), top1=0.5 + 0.4 * n / epochs, lr=0.001, seconds=1.5) for n in range(epochs))
    return Training(
        spec=FinetuneSpec(data="digits", epochs=epochs),
        parent=Parent(name="parent", key="1", weights_sha256="2"),
        images=898,
        validated=899,
        validation="the test split of digits",
        top1_before=0.2,
        epochs=seen,
        device="cpu",
    )


@pytest.mark.parametrize("epochs", [1, 100])
def test_a_training_is_drawn_the_same_each_time(epochs: int) -> None:
    drawn = training_plot(training(epochs))
    picture = Image.open(io.BytesIO(drawn))
    assert picture.format == "PNG"
    assert picture.size[0] > 1000
    colours = picture.convert("RGB").getcolors(1 << 20)
    assert colours is not None
    assert len(colours) > 50
    assert training_plot(training(epochs)) == drawn


def test_a_training_is_a_record() -> None:
    assert from_json(Training, to_json(training()), source="it") == training()
    assert training().top1_after == training().epochs[-1].top1


def test_the_interval_of_a_share_is_wilson_s() -> None:
    z, share, images = 2.241403, 0.8, 10
    centre, reach = share + z**2 / 20, z * math.sqrt(share * 0.2 / images + z**2 / 400)
    assert top1_interval(share, images) == pytest.approx(((centre - reach) / 1.5023887, (centre + reach) / 1.5023887), rel=1e-5)


def test_a_training_draws_from_one_gpu_and_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forking the generators of all GPUs would make a context on each."""
    forked: list[list[int]] = []

    @contextmanager
    def fork(devices: list[int]) -> Iterator[None]:
        forked.append(devices)
        yield

    monkeypatch.setattr(torch.random, "fork_rng", fork)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    for device in ("cpu", "cuda"):
        with loop._repeatable(device):
            assert torch.backends.cudnn.deterministic
    assert forked == [[], [1]]
