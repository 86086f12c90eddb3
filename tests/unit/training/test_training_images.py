"""Images of a training: all of them once an epoch, the same however they are read, and never those that top-1 is taken on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from prune_deploy.data import ImageSet
from prune_deploy.errors import InputError
from prune_deploy.records import Preprocessing
from prune_deploy.specs import FinetuneSpec
from prune_deploy.training import images as module
from prune_deploy.training.images import Images, augmentation
from prune_deploy.training.split import divide

HOW = Preprocessing(input_size=(1, 8, 8), interpolation="bilinear", crop_pct=1.0, crop_mode="center", mean=(0.0,), std=(1.0,))


def shades(count: int, broken: tuple[int, ...] = ()) -> ImageSet:
    """Gradients, each image as bright as its number; `broken` ones cannot be read."""

    def read(index: int) -> Image.Image:
        if index in broken:
            raise InputError("damaged", fix="mend it")
        return Image.linear_gradient("L").resize((12, 12)).point(lambda value: value * index // count)

    return ImageSet(
        "shades", ("dark", "light"), [number % 2 for number in range(count)], [f"{n}.png" for n in range(count)], read
    )


def everything(images: Images, epoch: int = 0, batch: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(images.shuffled(batch, epoch))
    return torch.cat([each.inputs for each in batches]), torch.cat([each.labels for each in batches])


def test_few_images_are_kept_and_many_are_read_anew_with_the_same_result() -> None:
    kept, read = (Images(shades(11), range(11), HOW, cache_bytes=size) for size in (1 << 20, 0))
    for ours, theirs in zip(everything(kept, epoch=2), everything(read, epoch=2), strict=True):
        assert torch.equal(ours, theirs)


def test_workers_read_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = everything(Images(shades(9), range(9), HOW, cache_bytes=0))
    monkeypatch.setattr(module, "_WORTH_WORKERS", 1)
    monkeypatch.setattr(module, "usable_cpus", lambda: 3)
    images = Images(shades(9, broken=(4,)), range(9), HOW, cache_bytes=0)
    inputs, labels = everything(images)
    assert len(labels) == 8
    assert images.unreadable == {"4.png"}
    assert {tuple(row.flatten().tolist()) for row in inputs} < {tuple(row.flatten().tolist()) for row in plain[0]}


@pytest.mark.parametrize(("count", "batch"), [(11, 4), (9, 4), (65, 64), (5, 8), (898, 64)])
def test_an_epoch_is_each_image_once_in_an_order_of_its_own_and_no_batch_holds_a_single_one(count: int, batch: int) -> None:
    images = Images(shades(count), range(count), HOW)
    sizes = [len(each.labels) for each in images.shuffled(batch, 0)]
    assert len(sizes) == images.steps(batch)
    assert 2 <= min(sizes) <= max(sizes) <= batch
    first, second = everything(images, 0, batch)[0], everything(images, 1, batch)[0]
    rows = [sorted(tuple(row.flatten().tolist()) for row in each) for each in (first, second)]
    assert rows[0] == rows[1]
    assert not torch.equal(first, second)
    assert torch.equal(first, everything(images, 0, batch)[0])


def test_an_epoch_can_be_entered_in_its_midst() -> None:
    images = Images(shades(11), range(11), HOW)
    whole, rest = list(images.shuffled(4, 3)), list(images.shuffled(4, 3, first=2))
    assert len(rest) == len(whole) - 2
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(whole[2:], rest, strict=True))


@pytest.mark.parametrize("cache_bytes", [1 << 20, 0])
def test_unreadable_images_take_no_part_and_are_named(cache_bytes: int) -> None:
    images = Images(shades(8, broken=(3, 6)), range(8), HOW, cache_bytes=cache_bytes)
    assert len(everything(images)[1]) == 6
    assert images.unreadable == {"3.png", "6.png"}
    assert images.readable == 6


def test_a_set_of_unreadable_images_is_refused() -> None:
    with pytest.raises(InputError, match="none of the images of shades can be read"):
        Images(shades(3, broken=(0, 1, 2)), range(3), HOW)


def test_crops_follow_from_seed_epoch_and_image_alone() -> None:
    crops = augmentation(HOW, flip=True)
    images = Images(shades(9), range(9), HOW, seed=7, augmented=crops)
    torch.manual_seed(1)
    first = everything(images)[0]
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn), "the network's random numbers are its own"
    assert torch.equal(everything(images)[0], first)
    entered = next(iter(images.shuffled(4, 0, first=1)))
    assert torch.equal(entered.inputs, first[3:6])
    plain = everything(Images(shades(9), range(9), HOW, seed=7))[0]
    other = everything(Images(shades(9), range(9), HOW, seed=8, augmented=crops))[0]
    assert first.shape == plain.shape
    assert not torch.equal(first, plain)
    assert not torch.equal(first.sort(0)[0], other.sort(0)[0])


def test_only_with_flips_images_are_mirrored() -> None:
    picture = Image.new("L", (64, 64))
    picture.paste(255, (0, 0, 32, 64))  # bright on the left
    for flip in (True, False):
        crops = augmentation(HOW, flip=flip)
        torch.manual_seed(0)
        lit = [crops(picture)[0].mean(0) for _ in range(40)]
        mirrored = [bool(columns[0] < columns[-1]) for columns in lit if columns[0] != columns[-1]]
        assert len(mirrored) > 10
        assert any(mirrored) is flip


def test_crops_are_as_large_as_asked_for() -> None:
    ramp = Image.fromarray(np.arange(64, dtype=np.uint8).repeat(64).reshape(64, 64))  # brightness tells the row
    heights: dict[float, list[float]] = {}
    for share in (0.1, 0.9):
        crops = augmentation(HOW, flip=False, smallest_crop=share)
        torch.manual_seed(0)
        drawn = [crops(ramp)[0].mean(1) for _ in range(40)]
        heights[share] = [float(rows[-1] - rows[0]) for rows in drawn]
    assert min(heights[0.9]) > 2 * min(heights[0.1])
    assert min(heights[0.9]) > 0.7 * max(heights[0.9])


def folder(place: Path, classes: tuple[str, ...], each: int) -> str:
    """A folder of plain images, `each` of them of every class."""
    for number, name in enumerate(classes):
        (place / name).mkdir(parents=True)
        for index in range(each):
            Image.new("RGB", (8, 8), (80 * number, index, 0)).save(place / name / f"{index}.png")
    return f"imagefolder:{place}"


def test_digits_are_validated_on_their_test_split() -> None:
    division = divide(FinetuneSpec(data="digits"))
    assert (len(division.train_numbers), len(division.validation_numbers)) == (898, 899)
    assert set(division.train.names).isdisjoint(division.validation.names)
    assert division.message == "the test split of digits"


def test_a_tenth_of_a_folder_is_held_out_always_the_same(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", ("a", "b"), 15)
    first, again, other = (divide(FinetuneSpec(data=data, seed=seed)) for seed in (0, 0, 1))
    assert len(first.validation_numbers) == 3
    assert sorted([*first.train_numbers, *first.validation_numbers]) == list(range(30))
    assert first.validation_numbers == again.validation_numbers != other.validation_numbers
    assert first.message.startswith("3 of the 30 images of imagefolder:")


def test_images_to_validate_on_can_be_named_if_their_classes_are_the_same(tmp_path: Path) -> None:
    data = folder(tmp_path / "train", ("a", "b"), 4)
    division = divide(FinetuneSpec(data=data, val_data=folder(tmp_path / "val", ("a", "b"), 2)))
    assert (len(division.train_numbers), len(division.validation_numbers)) == (8, 4)
    with pytest.raises(InputError, match="has a class 'c' where"):
        divide(FinetuneSpec(data=data, val_data=folder(tmp_path / "other", ("a", "c"), 2)))
    with pytest.raises(InputError, match=r"has 1 classes, .* has 2"):
        divide(FinetuneSpec(data=data, val_data=folder(tmp_path / "fewer", ("a",), 2)))


def test_samples_are_always_the_same_ones_and_never_held_out(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", ("a", "b"), 15)
    few, again = (divide(FinetuneSpec(data=data, samples=5)) for _ in range(2))
    assert len(few.train_numbers) == 5
    assert few.train_numbers == again.train_numbers
    assert set(few.train_numbers).isdisjoint(few.validation_numbers)
    with pytest.raises(InputError, match="leaves 1 images"):
        divide(FinetuneSpec(data=folder(tmp_path / "two", ("a", "b"), 1)))
