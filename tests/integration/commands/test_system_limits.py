"""The operating system refuses: a short error with a fix.

These refusals can meet any command.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prune_deploy.errors import OutOfMemoryError, refusal_by_the_system
from support.commands import TINY, bundle, call, here, made, refused

__all__ = ["bundle", "here", "made"]  # fixtures

LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        (*TINY, "--ratio", "0.5", "--weights", LONG),
        ("compare", LONG, LONG),
        ("report", LONG),
        ("sweep", "--resume", LONG),
        ("sweep", "--spec", LONG),
        ("verify", LONG),
        ("run", LONG, "--image", "x.jpg"),
        ("eval", LONG, "--data", f"imagefolder:{LONG}"),
    ],
    ids=lambda arguments: arguments[0] + arguments[-2],
)
def test_names_longer_than_a_file_system_has(here: Path, arguments: tuple[str, ...]) -> None:
    refused(call(*arguments), 2, "File name too long", here)


def test_a_folder_of_images_with_such_a_name(bundle: Path) -> None:
    refused(call("eval", bundle, "--data", f"imagefolder:{LONG}"), 2, "File name too long")


def test_a_message_does_not_repeat_an_endless_value(here: Path) -> None:
    result = call("report", "x" * 100_000)
    refused(result, 2, "…")
    assert len(result.stderr) < 1_000


@contextmanager
def open_files_left(number: int) -> Iterator[None]:
    """Let this process open that many more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    held: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(number):
            os.close(held.pop())
        yield
    finally:
        for each in held:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_few_open_files(bundle: Path) -> None:
    other = shutil.copytree(bundle, bundle.with_name("other"))
    with open_files_left(3):
        result = call("compare", bundle, other, "--backend", "ort", "--batch", "1")
    assert (result.code, result.stderr.splitlines()[-1]) == (4, "Fix: raise it: ulimit -n 1024"), result.stderr


def test_memory_that_the_system_does_not_give() -> None:
    assert isinstance(refusal_by_the_system(OSError(12, "Cannot allocate memory")), OutOfMemoryError)
    assert refusal_by_the_system(OSError(22, "Invalid argument")) is None
