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
    return tmp_path / LOCK_FILE


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
