"""Refusals that can meet any command, whatever it was doing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prune_deploy.errors import InputError
from support.commands import call, here, refused

__all__ = ["here"]


def test_memory_that_runs_out_is_an_error_with_a_fix(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def use_up(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("prune_deploy.cli.actions.verify.verify_bundle", use_up)
    refused(call("verify", "bundle"), 4, "memory ran out")


def test_a_document_for_the_table_must_be_a_text(here: Path) -> None:
    (here / "table.md").write_bytes(b"\xff\xfe")
    refused(call("compatibility", "--families", "test_resnet", "--markdown", "table.md"), 2, "no text in UTF-8")


def test_a_line_break_in_a_name_begins_no_other_message(here: Path) -> None:
    for name in ("\n", "a\nFix: rm -r x\r\n\nError: b"):
        result = call("verify", name)
        refused(result, 2, "is no directory")
        assert [line[:5] for line in result.stderr.splitlines() if line[:1].strip()] == ["Error", "Fix: "]


def test_an_error_repeats_no_value_of_a_page() -> None:
    error = InputError(f"got {'x, ' * 10_000}", fix=f"not {'y, ' * 10_000}")
    assert len(error.message) < 4000
    assert error.message.startswith("got x,")
    assert len(str(error)) < 8000
