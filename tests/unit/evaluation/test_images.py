"""Images of all modes: what a network sees of them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prune_deploy.data.preprocessing import in_channels, open_image, transform_of
from prune_deploy.errors import InputError
from prune_deploy.records import Preprocessing

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
PLAIN = Preprocessing(
    input_size=(3, 16, 16), interpolation="bilinear", crop_pct=1.0, crop_mode="center", mean=(0.0,) * 3, std=(1.0,) * 3
)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled_by_their_range(tmp_path: Path, ending: str) -> None:
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    opened = open_image(saved(tmp_path / f"deep.{ending}", deep))
    assert opened.mode == "I;16"
    for channels in (1, 3):
        values = np.asarray(in_channels(opened, channels))
        assert np.array_equal(values if channels == 1 else values[..., 1], RAMP)
    seen = transform_of(PLAIN)(opened).numpy()
    assert np.allclose(seen[0], RAMP / 255, atol=1e-6), "not white all over"


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_without_a_known_range_are_refused(tmp_path: Path, mode: str) -> None:
    opened = open_image(saved(tmp_path / "odd.tif", Image.new(mode, (16, 16), 1)))
    with pytest.raises(InputError, match=f"mode {mode} have no known range"):
        in_channels(opened, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"])
def test_other_modes_are_eight_bits(mode: str) -> None:
    image = Image.fromarray(RAMP).convert("RGB")
    image = image.convert("P") if mode == "PA" else image if mode == "LAB" else image.convert(mode)
    for channels, expected in ((1, "L"), (3, "RGB")):
        assert in_channels(image, channels).mode == expected


def test_a_camera_s_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    assert open_image(saved(tmp_path / "turned.jpg", image, exif=exif)).size == (10, 20)


def test_of_several_frames_the_first_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert in_channels(open_image(path), 3).getpixel((0, 0)) == (255, 0, 0)


def test_formats_that_start_other_programs_are_no_images(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    with pytest.raises(InputError, match="no image of a known format"):
        open_image(path)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "fifo.png")
    for name, message in (("fifo.png", "is no file"), ("nothing.png", "there is no")):
        with pytest.raises(InputError, match=message):
            open_image(tmp_path / name)
