"""Images and their folders: damaged, odd or no images at all."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fuzz.mutations import changed_bytes
from fuzz.oracle import attempt, use
from fuzz.places import ODD, put
from prune_deploy.data import Batches, open_images
from prune_deploy.data.calibration import calibration_images
from prune_deploy.data.files import calibration_sha256, list_images
from prune_deploy.data.preprocessing import open_image, transform_of
from support.fashion_mnist import SMALL, published, write
from support.training import HOW

_MODES = {
    "PNG": ("RGB", "L", "P", "1", "RGBA", "I;16"),
    "JPEG": ("RGB", "L", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("RGB",),
}
_OTHERS = {"GIF": ("P",), "PPM": ("RGB",), "TIFF": ("RGB", "F", "I;16", "CMYK", "LAB"), "JPEG2000": ("RGB",)}


def _encoded() -> dict[str, bytes]:
    """Return small images of every format and mode, by their names."""
    files = {}
    gradient = Image.fromarray(np.arange(16 * 16 * 3, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8))
    for form, modes in (_MODES | _OTHERS).items():
        for mode in modes:
            image = Image.new(mode, (16, 16)) if mode in ("I;16", "F", "LAB") else gradient.convert(mode)
            stream = io.BytesIO()
            image.save(stream, form)
            files[f"{form} {mode}"] = stream.getvalue()
    return files


_IMAGES = _encoded()


@given(data=st.data())
@settings(max_examples=300)
def test_a_mutated_image_is_refused_or_prepared(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(data.draw(changed_bytes(_IMAGES[data.draw(st.sampled_from(sorted(_IMAGES)))])))
    image = attempt(lambda: open_image(path), tmp_path)
    if image is not None:
        use(lambda: transform_of(HOW)(image), tmp_path)


@given(data=st.data())
@settings(max_examples=100)
def test_a_mutated_idx_file_is_refused_or_read(data: st.DataObject, tmp_path: Path) -> None:
    folder = tmp_path / "fashion"
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, compressed=data.draw(st.booleans()))
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    kind = data.draw(st.sampled_from(("mutated", "mutated", "mutated", *ODD)))
    content = data.draw(changed_bytes(path.read_bytes())) if kind == "mutated" else b""
    path.unlink()
    put(path, "whole" if kind == "mutated" else kind, content)
    word = f"fashion-mnist:{folder}"
    with published():
        for split, count in SMALL.items():
            images = attempt(lambda split=split: open_images(word, split), tmp_path)  # type: ignore[misc]
            if images is not None:
                assert len(images.labels) == count
                use(lambda images=images: list(Batches(images, HOW, 2)), tmp_path)  # type: ignore[misc]
        use(lambda: calibration_sha256(word, 4), tmp_path)
        use(lambda: calibration_images(word, HOW, 2, 4), tmp_path)


@given(data=st.data())
@settings(max_examples=80)
def test_an_odd_folder_of_images_is_refused_or_read(data: st.DataObject, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = ("a/1.png", "a/2.jpg", "b/1.png", "b/c/d.webp", "a", "b", "1.png", "a/\udcff.png", "a/x.txt", "c")
    for name in data.draw(st.lists(st.sampled_from(names), max_size=6, unique=True)):
        kind = data.draw(st.sampled_from(("whole", "whole", "damaged", *ODD)))
        with contextlib.suppress(OSError):  # what was drawn before may be in the way
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            put(folder / name, kind, _IMAGES["PNG RGB"])
    images = attempt(lambda: open_images(f"imagefolder:{folder}"), tmp_path)
    if images is not None:
        use(lambda: list(Batches(images, HOW, 2)), tmp_path)
    for word in (str(folder), f"imagefolder:{folder}"):
        use(lambda word=word: calibration_sha256(word, 4), tmp_path)  # type: ignore[misc]
        use(lambda word=word: calibration_images(word, HOW, 2, 4), tmp_path)  # type: ignore[misc]
    use(lambda: list_images(folder), tmp_path)
