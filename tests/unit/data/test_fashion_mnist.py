"""Fashion-MNIST: files are found, read whole, or refused."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from prune_deploy.data import Batches, calibration_images, fashion_mnist, open_images
from prune_deploy.data.files import calibration_sha256
from prune_deploy.errors import InputError
from prune_deploy.records import Preprocessing
from prune_deploy.specs import FinetuneSpec, parse_calibration, parse_data
from prune_deploy.training.split import divide
from support.fashion_mnist import SMALL, labels, pixels, published, write

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
REAL = fashion_mnist.PACKAGE_FOLDER


@pytest.fixture
def small() -> Iterator[None]:
    with published():
        yield


@pytest.fixture
def folder(small: None, tmp_path: Path) -> Path:
    """A folder of small files, uncompressed."""
    write(tmp_path / "small")
    return tmp_path / "small"


def how(channels: int, side: int) -> Preprocessing:
    return Preprocessing(
        input_size=(channels, side, side),
        interpolation="bilinear",
        crop_pct=1.0,
        crop_mode="center",
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("below", [".", "FashionMNIST/raw"])
def test_both_splits_are_read_as_they_were_written(below: str, compressed: bool, small: None, tmp_path: Path) -> None:
    write(tmp_path / "data" / below / "here" if below == "." else tmp_path / "data" / below, compressed=compressed)
    word = f"fashion-mnist:{tmp_path / 'data' / ('here' if below == '.' else '')}"
    for split in ("train", "test"):
        images = open_images(word, split)
        assert (len(images.names), list(images.labels)) == (SMALL[split], labels(split).tolist())
        found = np.stack([np.asarray(images.read(number)) for number in range(SMALL[split])])
        np.testing.assert_array_equal(found, pixels(split))
        assert (len(images.classes), images.classes[0], images.classes[-1]) == (10, "T-shirt/top", "Ankle boot")


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 28), (1, 17), (3, 64)])
def test_grey_images_become_the_models_input(channels: int, side: int, folder: Path) -> None:
    (batch,) = Batches(open_images(f"fashion-mnist:{folder}"), how(channels, side), 64)
    assert batch.inputs.shape == (SMALL["test"], channels, side, side)
    assert all((batch.inputs[:, 0] == batch.inputs[:, channel]).all() for channel in range(channels))
    if side == fashion_mnist.SIDE:
        np.testing.assert_allclose(batch.inputs[:, 0], pixels("test") / 255, atol=1e-6)


def test_training_and_calibration_take_other_images_than_evaluation(folder: Path) -> None:
    word = f"fashion-mnist:{folder}"
    division = divide(FinetuneSpec(data=word))
    assert (len(division.train_numbers), len(division.validation_numbers)) == (SMALL["train"], SMALL["test"])
    calibrated = calibration_images(word, how(1, 28), SMALL["train"]).numpy()
    np.testing.assert_allclose(calibrated[:, 0], pixels("train") / 255, atol=1e-6)


def test_calibration_is_known_by_content_and_not_by_place(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "other" / "FashionMNIST" / "raw", compressed=True)
    first, other = (calibration_sha256(f"fashion-mnist:{place}", 8) for place in (folder, tmp_path / "other"))
    assert first == other
    assert first != calibration_sha256(f"fashion-mnist:{folder}", 9)


def test_without_a_folder_the_package_s_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "PACKAGE_FOLDER", folder)
    assert len(open_images("fashion-mnist").labels) == SMALL["test"]
    assert len(open_images("fashion-mnist", "train").labels) == SMALL["train"]


def test_files_that_are_not_there_name_both_ways_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "PACKAGE_FOLDER", tmp_path / "nowhere")
    for word in ("fashion-mnist", f"fashion-mnist:{tmp_path}"):
        for look in (lambda word: open_images(word, field="calibration"), lambda word: calibration_sha256(word, 8)):
            with pytest.raises(InputError, match=rf"`calibration='{word}'`: .* holds no t") as error:
                look(word)
            assert error.value.field == "calibration"
            assert "dataset-fashion-mnist" in error.value.fix
            assert "from torchvision.datasets import FashionMNIST" in error.value.fix
    with pytest.raises(InputError, match="there is no folder"):
        open_images(f"fashion-mnist:{tmp_path / 'nowhere'}")


def test_labels_without_images_and_images_without_labels(folder: Path) -> None:
    (folder / LABELS).rename(folder / "kept")
    with pytest.raises(InputError, match=f"holds no {LABELS}"):
        open_images(f"fashion-mnist:{folder}")
    (folder / "kept").rename(folder / LABELS)
    (folder / IMAGES).unlink()
    with pytest.raises(InputError, match=f"holds no {IMAGES}"):
        open_images(f"fashion-mnist:{folder}")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (IMAGES, lambda whole: whole[:-1], r"has 15,695 of 15,696 bytes"),
        (IMAGES, lambda whole: whole + b"\0", "has more than 15,696 bytes"),
        (IMAGES, lambda whole: whole[:10], "10 bytes, too few for an idx file"),
        (IMAGES, lambda _: b"", "0 bytes, too few"),
        (IMAGES, lambda whole: b"\xff" + whole[1:], "no idx file of 3 axes of bytes: it begins with 0xff000803"),
        (IMAGES, lambda whole: struct.pack(">I", 0x801) + whole[4:], "it begins with 0x00000801"),
        (IMAGES, lambda whole: whole[:4] + struct.pack(">I", 19) + whole[8:], "announces 19x28x28 values, .* 20x28x28"),
        (IMAGES, lambda whole: whole[:4] + b"\xff" * 12 + whole[16:], "announces 4294967295x"),
        (IMAGES, lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]), "its checksum is another"),
        (LABELS, lambda whole: whole[:-1] + b"\x0b", "its checksum is another"),
        (LABELS, lambda whole: whole[:4] + struct.pack(">I", 21) + whole[8:] + b"\0", "announces 21 values, .* has 20"),
    ],
)
def test_a_damaged_file_is_refused(name: str, change: object, message: str, compressed: bool, folder: Path) -> None:
    assert callable(change)
    changed = change((folder / name).read_bytes())
    (folder / name).unlink()
    path = folder / (f"{name}.gz" if compressed else name)
    path.write_bytes(gzip.compress(changed) if compressed else changed)
    with pytest.raises(InputError, match=message) as error:
        open_images(f"fashion-mnist:{folder}")
    assert str(path) in error.value.message
    assert "reinstall" in error.value.fix
    assert len(open_images(f"fashion-mnist:{folder}", "train").labels) == SMALL["train"], "the other split is whole"


def test_a_damaged_compressed_file_is_refused(small: None, tmp_path: Path) -> None:
    write(tmp_path / "small", compressed=True)
    path = tmp_path / "small" / f"{IMAGES}.gz"
    whole = path.read_bytes()
    for content in (whole[:-20], whole[:5], b"no gzip file", whole[:200] + b"\xff" * 50 + whole[250:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{path} is no whole gzip file"):
            open_images(f"fashion-mnist:{tmp_path / 'small'}")


def test_an_endless_file_is_not_read_to_its_end(folder: Path) -> None:
    (folder / IMAGES).unlink()
    (folder / IMAGES).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="no plain file"):
        open_images(f"fashion-mnist:{folder}")
    (folder / IMAGES).unlink()
    with (folder / IMAGES).open("wb") as stream:
        stream.truncate(1 << 42)
    with pytest.raises(InputError, match="begins with 0x00000000"):
        open_images(f"fashion-mnist:{folder}")


def test_words() -> None:
    for parse in (parse_data, parse_calibration):
        assert parse("fashion-mnist") == ("fashion-mnist", None)
        assert parse("fashion-mnist:some/where") == ("fashion-mnist", Path("some/where"))
        with pytest.raises(InputError, match="needs a folder") as error:
            parse("fashion-mnist:")
        assert "fashion-mnist:data/fashion-mnist" in error.value.fix


def test_debian_s_files_are_the_published_ones() -> None:
    if not REAL.is_dir() and os.environ.get("CI") != "true":
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    train, test = open_images("fashion-mnist", "train"), open_images("fashion-mnist")
    assert (len(train.labels), len(test.labels)) == (60_000, 10_000)
    assert np.bincount(np.frombuffer(bytes(test.labels), np.uint8)).tolist() == [1000] * 10
    digest = hashlib.sha256(gzip.decompress((REAL / f"{IMAGES}.gz").read_bytes())).hexdigest()
    assert digest == fashion_mnist.PUBLISHED["test"].images.sha256
    assert test.classes[test.labels[0]] == "Ankle boot"
    assert np.asarray(train.read(0)).mean() == pytest.approx(97.25, abs=0.01)
