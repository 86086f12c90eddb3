"""The picture of the report is small, and kept without a browser."""

from __future__ import annotations

import importlib.util
import io
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from support import ROOT

LIMIT_BYTES = 300_000


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, writing to an empty folder."""
    spec = importlib.util.spec_from_file_location("generate_picture", ROOT / "docs" / "generate_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "PICTURE", tmp_path / "images" / "report.png")
    return module


def test_the_committed_picture_is_small_and_of_the_script_s_size(picture: ModuleType) -> None:
    path = ROOT / "docs" / "images" / "report.png"
    assert path.stat().st_size < LIMIT_BYTES
    with Image.open(path) as image:
        assert image.size == picture.SIZE_PX


def test_without_a_browser_the_picture_is_kept_and_the_script_says_so(
    picture: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture.PICTURE.parent.mkdir()
    picture.PICTURE.write_bytes(b"old")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert picture.main() == 0
    assert "no Chromium found: images/report.png stays as it is" in capsys.readouterr().err
    assert picture.PICTURE.read_bytes() == b"old"


def test_a_palette_makes_a_picture_smaller_and_keeps_its_size(picture: ModuleType) -> None:
    drawn = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(drawn, "PNG")
    shrunk = picture.shrink(drawn.getvalue())
    with Image.open(io.BytesIO(shrunk)) as image:
        assert image.size == (256, 256)
        assert image.mode == "P"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (Debian: apt install chromium)")
def test_chromium_draws_the_report(picture: ModuleType) -> None:
    assert picture.main() == 0
    with Image.open(picture.PICTURE) as image:
        assert image.size == picture.SIZE_PX
        assert len(image.getcolors() or []) > 16
