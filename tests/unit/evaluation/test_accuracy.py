"""Accuracy: counted right whatever the batch, with the interval of the textbook, and never of images that do not fit the network."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from prune_deploy.backends.pytorch.session import TorchSession
from prune_deploy.data import Batches, ImageSet, open_images
from prune_deploy.errors import InputError, OutputError
from prune_deploy.evaluation.accuracy import accuracy
from prune_deploy.records import CaseRecord, Preprocessing, from_json, to_json
from prune_deploy.reporting.figures.rows import row
from prune_deploy.reporting.figures.run_warnings import accuracies
from prune_deploy.specs import Block, RunOptions, SweepSpec, parse_data
from prune_deploy.tensors import named_input
from support.run_records import case_record

STEP = 25
SMALL = Preprocessing(input_size=(1, 8, 8), interpolation="bilinear", crop_pct=1.0, crop_mode="center", mean=(0.0,), std=(1.0,))


class ReadsGrey(nn.Module):
    """Scores class c by how near the image's grey is to STEP × c: its guesses come in the order of their distance."""

    levels: torch.Tensor

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.register_buffer("levels", torch.arange(classes) * STEP / 255)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return -(images.mean((1, 2, 3))[:, None] - self.levels).abs()


def grey(shown: list[int], labels: list[int], broken: tuple[int, ...] = ()) -> ImageSet:
    """Plain images of the classes `shown`, labelled otherwise where `labels` say so; `broken` ones cannot be read."""

    def read(index: int) -> Image.Image:
        if index in broken:
            raise InputError("damaged", fix="mend it")
        return Image.new("L", (8, 8), shown[index] * STEP)

    return ImageSet("greys", tuple(map(str, range(10))), labels, [f"grey {index}.png" for index in range(len(labels))], read)


def session(module: nn.Module, batch: int) -> TorchSession:
    return TorchSession(module.eval(), named_input(np.zeros((batch, 1, 8, 8), dtype=np.float32)), RunOptions())


def test_right_answers_are_counted_and_what_fills_up_the_last_batch_is_not() -> None:
    shown = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    labels = [0, 1, 2, 3, 4, 5, 6, 7, 6, 2]  # the last but one is the third guess, the last one the eighth
    for batch in (1, 4, 10, 32):
        found = accuracy(session(ReadsGrey(), batch), Batches(grey(shown, labels), SMALL, batch))
        assert (found.images, found.top1, found.top5, found.batch) == (10, 0.8, 0.9, batch)


def test_the_interval_is_wilson_s() -> None:
    """(p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n) with p = 0.8, n = 10, z = 2.241403 (97.5 %, both sides)."""
    found = accuracy(session(ReadsGrey(), 5), Batches(grey(list(range(10)), [0, 1, 2, 3, 4, 5, 6, 7, 6, 2]), SMALL, 5))
    centre, reach, stretch = 0.8 + 0.2511943, 2.241403 * (0.016 + 0.0125597) ** 0.5, 1.5023887
    assert (found.low, found.high) == pytest.approx(((centre - reach) / stretch, (centre + reach) / stretch), rel=1e-6)
    assert found.confidence == 0.975


@pytest.mark.parametrize(("classes", "top5"), [(40, 0.8), (5, None)])
def test_of_equal_scores_the_first_classes_count_and_five_classes_have_no_top_5(classes: int, top5: float | None) -> None:
    class Undecided(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (torch.arange(classes) % 2).float().expand(len(images), -1)

    labels = [1, 1, 3, 9, 11] if classes == 40 else [1, 1, 3, 0, 2]
    alike = ImageSet("alike", tuple(map(str, range(classes))), labels, list("vwxyz"), lambda _: Image.new("L", (8, 8)))
    found = accuracy(session(Undecided(), 2), Batches(alike, SMALL, 2))
    assert (found.top1, found.top5) == (0.4, top5)


def test_unreadable_images_are_counted_and_named() -> None:
    batches = Batches(grey([1, 2, 3, 4], [1, 2, 3, 9], broken=(1, 3)), SMALL, 3)
    found = accuracy(session(ReadsGrey(), 3), batches)
    assert (found.images, found.top1) == (2, 1.0)
    assert (found.unreadable, found.unreadable_names) == (2, ("grey 1.png", "grey 3.png"))
    with pytest.raises(InputError, match="none of the images of greys can be read"):
        accuracy(session(ReadsGrey(), 3), Batches(grey([1], [1], broken=(0,)), SMALL, 3))


def test_a_network_with_other_classes_has_no_accuracy() -> None:
    with pytest.raises(InputError, match="has 7 classes, greys has 10"):
        accuracy(session(ReadsGrey(7), 2), Batches(grey([1, 2], [1, 2]), SMALL, 2))


def test_agreement_is_the_share_of_images_with_the_same_first_class_whatever_their_labels() -> None:
    shown = [0, 1, 2, 3, 4]
    batches = Batches(grey(shown, [9, 9, 9, 9, 9], broken=(3,)), SMALL, 3)
    found = accuracy(session(ReadsGrey(), 3), batches, np.array([0, 1, 7, 4]))
    assert (found.images, found.top1, found.agreement) == (4, 0.0, 0.75)
    assert accuracy(session(ReadsGrey(), 3), batches).agreement is None
    with pytest.raises(InputError, match="5 images of greys could be read first, then 4"):
        accuracy(session(ReadsGrey(), 3), batches, np.array(shown))


def test_what_must_be_said_beside_an_accuracy_goes_with_it() -> None:
    found = accuracy(session(ReadsGrey(), 5), Batches(grey([1, 2], [1, 9]), SMALL, 5))
    assert found.warnings == ()
    noted = replace(found, random_weights=True, warnings=("latency only",))
    assert noted.all_warnings == ("latency only", "weights are random: chance level, 10 %, is expected")


def test_outputs_that_are_no_numbers_are_no_answers() -> None:
    class Broken(ReadsGrey):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) / 0 * 0

    with pytest.raises(OutputError, match="not finite"):
        accuracy(session(Broken(), 2), Batches(grey([1, 2], [1, 2]), SMALL, 2))


def test_some_images_are_always_the_same_and_from_all_over_the_set() -> None:
    images = open_images("digits")
    assert len(images.sample(None)) == len(images.labels) == 899
    assert list(images.sample(2000)) == list(images.sample(None))
    some = images.sample(100)
    assert len(set(some)) == 100
    assert some == images.sample(100)
    assert len({images.labels[number] for number in some}) == 10
    assert min(some) < 50 < 850 < max(some)


def test_nothing_is_learnt_from_the_digits_that_are_asked_for() -> None:
    train, test = open_images("digits", "train"), open_images("digits")
    assert len(train.labels) + len(test.labels) == 1797
    assert not set(train.names) & set(test.names)
    assert train.read(0).getextrema() == (0, 239)  # the first digit's brightest pixel is 15 of 16


def test_only_one_batch_is_in_memory() -> None:
    shown: list[int] = []

    def read(index: int) -> Image.Image:
        shown.append(index)
        return Image.new("L", (8, 8))

    many = ImageSet("many", ("a",), [0] * 10, ["x"] * 10, read)
    reader = iter(Batches(many, SMALL, 3))
    next(reader)
    assert shown == [0, 1, 2]
    assert [len(batch.labels) for batch in reader] == [3, 3, 1]


def test_a_folder_s_classes_are_numbered_by_name_and_a_broken_image_is_found_out(tmp_path: Path) -> None:
    for name, shade in (("b", 25), ("a", 0), ("c", 50)):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("L", (20, 10), shade).save(tmp_path / name / f"{number}.png")
    whole = (tmp_path / "c" / "1.png").read_bytes()
    (tmp_path / "c" / "1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    images = open_images(f"imagefolder:{tmp_path}")
    assert (images.classes, list(images.labels)) == (("a", "b", "c", "empty"), [0, 0, 1, 1, 2, 2])
    found = accuracy(session(ReadsGrey(4), 4), Batches(images, SMALL, 4))
    assert (found.images, found.top1, found.unreadable_names) == (5, 1.0, ("c/1.png",))


def test_cifar_is_opened_only_if_it_is_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.arange(2 * 3072, dtype=np.int64).reshape(2, 3072).astype(np.uint8)
    for name, content in (
        ("test_batch", {"data": pixels, "labels": [7, 3]}),
        ("batches.meta", {"label_names": list("0123456789")}),
    ):
        (folder / name).write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="its checksums differ") as refusal:
        open_images(f"cifar10:{tmp_path}")
    assert "download=True" in refusal.value.fix
    digests = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    cifar = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar, "train_list", [])
    monkeypatch.setattr(cifar, "test_list", [["test_batch", digests["test_batch"]]])
    monkeypatch.setattr(cifar, "meta", {**cifar.meta, "md5": digests["batches.meta"]})
    images = open_images(f"cifar10:{tmp_path}")
    assert (list(images.labels), len(images.classes), images.read(1).size) == ([7, 3], 10, (32, 32))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("imagenet", "unknown data 'imagenet'"),
        ("", "unknown data ''"),
        ("digits:here", "take no folder"),
        ("imagefolder", "needs a folder"),
        ("cifar10:", "needs a folder"),
    ],
)
def test_words_that_mean_no_data(data: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        SweepSpec(blocks=(Block(models=("resnet18",)),), backends=("ort",), data=data)
    assert refusal.value.fix
    with pytest.raises(InputError):
        parse_data(data)


def test_folders_that_hold_no_data(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "empty" / "class").mkdir(parents=True)
    for word, message in (("nowhere", "there is no folder"), ("bare", "no folder of a class"), ("empty", "holds no images")):
        with pytest.raises(InputError, match=message):
            open_images(f"imagefolder:{tmp_path / word}")
    with pytest.raises(InputError, match="holds no CIFAR100"):
        open_images(f"cifar100:{tmp_path}")


@pytest.mark.parametrize(("samples", "message"), [(0, "at least 1"), (5, "without `data`")])
def test_numbers_of_images_that_mean_nothing(samples: int, message: str) -> None:
    data = "digits" if samples == 0 else None
    with pytest.raises(InputError, match=message):
        SweepSpec(blocks=(Block(models=("resnet18",)),), backends=("ort",), data=data, data_samples=samples)


def test_a_record_keeps_its_accuracy_and_a_row_shows_it() -> None:
    found = accuracy(session(ReadsGrey(), 5), Batches(grey([1, 2], [1, 9]), SMALL, 5))
    record = case_record(accuracy=found)
    assert from_json(CaseRecord, to_json(record), source="here") == record
    figures = row(record)
    assert (figures.top1, figures.top1_low, figures.top1_high, figures.top5) == (0.5, found.low, found.high, 0.5)
    assert (figures.accuracy_images, figures.data, figures.accuracy_note) == (2, "greys", "")
    assert accuracies([figures]) == ["Top-1: of 2 images of greys, with the 97.5 % interval of a share"]
