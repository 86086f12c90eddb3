"""Folders of images: the order is torchvision's, and every walk ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from prune_deploy.data import folders, open_images
from prune_deploy.data.files import calibration_sha256, list_images
from prune_deploy.errors import InputError


def _filled(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"image")
    return folder


def test_classes_and_images_are_those_of_torchvision(tmp_path: Path) -> None:
    names = ("b/2.png", "b/1.JPG", "b/x/0.png", "b/a/9.png", "a/z.webp", "a/notes.txt", "c/readme.md", "top.png", "b.d/1.png")
    folder = _filled(tmp_path / "images", *names)
    (folder / "linked").symlink_to(folder / "a")
    found, theirs = open_images(f"imagefolder:{folder}"), ImageFolder(str(folder), allow_empty=True)
    assert list(found.classes) == theirs.classes
    assert list(found.labels) == theirs.targets
    assert [str(folder / name) for name in found.names] == [path for path, _ in theirs.samples]


@pytest.mark.timeout(60)
def test_links_that_lead_in_a_circle_are_refused(tmp_path: Path) -> None:
    folder = _filled(tmp_path / "images", "a/1.png", "a/b/1.png")
    (folder / "a" / "b" / "back").symlink_to(folder / "a")
    for walk in (lambda: list_images(folder), lambda: open_images(f"imagefolder:{folder}")):
        with pytest.raises(InputError, match="leads back above itself") as caught:
            walk()
        assert caught.value.fix


def test_a_folder_nested_without_end_is_refused(tmp_path: Path) -> None:
    _filled(tmp_path, "a/" * 70 + "1.png")
    with pytest.raises(InputError, match="too deep"):
        list_images(tmp_path)


def test_a_folder_of_other_things_is_refused_before_all_of_it_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system's root is refused, a large data set is not."""
    monkeypatch.setattr(folders, "_TELLING", 100)
    images = [f"a/{number}.png" for number in range(150)]
    assert len(list_images(_filled(tmp_path / "images", *images))) == 150
    others = _filled(tmp_path / "others", *images[:5], *(f"a/{number}.txt" for number in range(150)))
    for word in (f"imagefolder:{others}", str(others)):
        with pytest.raises(InputError, match=r"at least 15[56] files and folders, of which 5 are images") as caught:
            calibration_sha256(word, 8)
        assert "the folder that holds the images" in caught.value.fix
    with pytest.raises(InputError, match=r"`data='imagefolder:.*of which 5 are images"):
        open_images(f"imagefolder:{others}")


def test_more_images_than_any_set_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_MOST_ENTRIES", 20)
    with pytest.raises(InputError, match="of which 21 are images"):
        list_images(_filled(tmp_path, *(f"{number}.png" for number in range(21))))


@pytest.mark.timeout(60)
def test_what_is_no_image_file_is_neither_waited_for_nor_hashed_for_hours(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="no plain file"):
        calibration_sha256(str(tmp_path), 8)
    (tmp_path / "pipe.png").unlink()
    (tmp_path / "large.png").touch()
    os.truncate(tmp_path / "large.png", 1 << 42)  # sparse: it takes no room
    with pytest.raises(InputError, match="too many for an image") as caught:
        calibration_sha256(str(tmp_path), 8)
    assert caught.value.field == "calibration"


def test_names_that_are_no_text_are_hashed_too(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff.png")).write_bytes(b"image")
    one = calibration_sha256(str(tmp_path), 8)
    (tmp_path / os.fsdecode(b"a\xff.png")).rename(tmp_path / os.fsdecode(b"a\xfe.png"))
    assert calibration_sha256(str(tmp_path), 8) != one
