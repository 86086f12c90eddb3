"""Files from unknown sources: what is no plain file is neither waited for nor read without end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prune_deploy.errors import InputError
from prune_deploy.files import read_file, resolved
from support import ROOT


def test_a_plain_file_and_a_link_to_one_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "file") == read_file(tmp_path / "link") == b"content"


def test_anything_else_is_bad_input_with_a_fix(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing")
    for name in ("fifo", "folder", "zero", "loop", "dangling", "nothing", "x" * 300):
        with pytest.raises(InputError, match=name[:20]) as caught:
            read_file(tmp_path / name, fix="restore it")
        assert caught.value.fix == "restore it"


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(1 << 40)  # sparse: it takes no room
    with pytest.raises(InputError, match="1,099,511,627,776 bytes"):
        read_file(tmp_path / "large")


def test_links_are_followed_as_far_as_they_lead(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    assert resolved(tmp_path / "link") == resolved(tmp_path / "file")
    assert resolved(tmp_path / "loop" / "below").name == "below"


def test_no_module_resolves_a_path_that_may_be_a_circle_of_links() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "prune_deploy").rglob("*.py")]
    assert len(sources) > 200
    assert not any(".resolve()" in source for source in sources)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000])
def test_a_name_that_no_file_has_is_bad_input(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_file(tmp_path / name)
