"""Two sweeps do not measure each other."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from prune_deploy.errors import CannotRunError
from prune_deploy.workflows.machine_lock import LOCK_FILE, machine


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"prune-deploy-{os.getuid()}" / LOCK_FILE


def test_the_second_is_refused_and_told_by_whom(own_machine: Path) -> None:
    with machine(share=False):
        with pytest.raises(CannotRunError, match=f"process {os.getpid()}") as refused, machine(share=False):
            pass
        assert "`share_machine=True`" in refused.value.fix
    with machine(share=False):
        assert own_machine.read_text() == f"{os.getpid()}\n"


def test_whoever_shares_neither_waits_nor_holds() -> None:
    with machine(share=False), machine(share=True):
        pass
    with machine(share=True), machine(share=False):
        pass


def test_it_is_free_again_after_an_error() -> None:
    with pytest.raises(RuntimeError), machine(share=False):
        raise RuntimeError
    with machine(share=False):
        pass


def test_a_link_in_its_place_is_not_followed(own_machine: Path, tmp_path: Path) -> None:
    """The folder for temporary files is everybody's: a link there must not choose a file of ours to overwrite."""
    precious = tmp_path / "precious"
    precious.write_text("thesis")
    own_machine.parent.mkdir()
    own_machine.symlink_to(precious)
    with pytest.raises(CannotRunError, match="cannot lock the machine"), machine(share=False):
        pass
    assert precious.read_text() == "thesis"


@pytest.mark.parametrize("thing", ["directory", "fifo"])
def test_another_thing_in_its_place_is_said_with_a_fix(own_machine: Path, thing: str) -> None:
    own_machine.parent.mkdir()
    own_machine.mkdir() if thing == "directory" else os.mkfifo(own_machine)
    with pytest.raises(CannotRunError, match="cannot lock the machine") as refused, machine(share=False):
        pass
    assert "remove what lies there" in refused.value.fix


def test_a_planted_folder_is_not_used(own_machine: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    own_machine.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotRunError, match="not a folder of this user"), machine(share=False):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []
