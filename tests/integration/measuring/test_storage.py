"""Places that cannot be written, disks that fill up: exit code 4, the reason, the fix, and nothing left behind."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prune_deploy.errors import StorageError
from prune_deploy.export import onnx as onnx_export
from prune_deploy.folders import new_folder
from support.commands import COMMAND, SHARED, TINY, Made, bundle, call, here, made, refused, remains

MARKER = "bundle.json"

pytestmark = pytest.mark.release

__all__ = ["bundle", "here", "made"]  # fixtures


HALF = ("--ratio", "0.5")
NO_ENGINE = ("--engine", "none")


def test_a_file_in_the_place_of_the_folder_of_all_bundles(here: Path) -> None:
    Path("engines").write_text("a file")
    refused(call(*TINY, *HALF, *NO_ENGINE), 4, "engines is a file, not a folder")
    assert remains(here) == ["engines"]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("/dev/null/bundle", "/dev/null is a file"),
        ("/proc/bundle", "cannot write /proc/bundle"),
        ("/sys/bundle", "cannot write /sys/bundle"),
        ("x" * 300, "File name too long"),
        ("deep/" * 2 + "x" * 250, "File name too long"),
    ],
)
def test_places_where_no_folder_can_be_made(here: Path, out: str, message: str) -> None:
    refused(call(*TINY, *HALF, *NO_ENGINE, "--out", out), 4, message)
    assert [name for name in remains(here) if name not in ("deep", "deep/deep")] == []


@pytest.mark.parametrize("out", [".", "..", "../here", "/", ""])
def test_the_folder_one_is_in_is_never_replaced(bundle: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    monkeypatch.chdir(bundle)  # a bundle, so that --force would be allowed to
    before = remains(bundle.parent)
    refused(call(*TINY, *HALF, *NO_ENGINE, "--out", out.replace("here", "bundle"), "--force"), 2, "--out DIR")
    assert remains(bundle.parent) == before


AS_NOBODY = """
import os, sys
import prune_deploy.cli.actions.export
from prune_deploy.cli.main import main

if os.geteuid() == 0:  # root may write anywhere; its modules are read while it still may
    os.setgid(65534)
    os.setuid(65534)
main()
"""


def test_a_folder_without_permission_is_told_before_any_work() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        child = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, *TINY, *HALF, *NO_ENGINE], cwd=folder, capture_output=True, text=True, check=False
        )
        assert remains(Path(folder)) == []
        Path(folder).chmod(0o755)
    _, error, fix = child.stderr.splitlines()
    assert child.returncode == 4
    assert re.fullmatch(r"Error: cannot write engines/test_byobnet-10classes-l2-r0\.50: no permission to write in \S+", error)
    assert fix == "Fix: make that place writable, or choose another with --out DIR"


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system in memory that holds so much and no more."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk needs the right to mount: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


PAGE = 4096  # a tmpfs counts whole pages


def pages(path: Path) -> int:
    return -(-path.stat().st_size // PAGE) * PAGE


@pytest.fixture(scope="module")
def tiny_sizes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Bytes on a disk of each file of TINY's bundle without an engine, in the order in which they are written."""
    folder = tmp_path_factory.mktemp("sizes") / "bundle"
    result = call(*TINY, *HALF, *NO_ENGINE, "--out", folder, "--json")
    return {name: pages(folder / name) for name in result.document["files"]}


@pytest.mark.parametrize("full_at", ["weights.safetensors", "recipe.json", "plan.json", "model.onnx", "engine", "bundle.json"])
def test_a_disk_that_fills_up_is_told_as_such_whatever_is_being_written(
    here: Path, tiny_sizes: dict[str, int], full_at: str
) -> None:
    names = list(tiny_sizes)
    options: tuple[str, ...]
    if full_at == "engine":  # of more than a megabyte
        size, options = sum(tiny_sizes.values()) + 300_000, ("--engine", "tensorrt-rtx", "--batch", "1")
    else:  # the files before it fit, and all of it but one page
        size, options = sum(tiny_sizes[name] for name in names[: names.index(full_at) + 1]) - PAGE, NO_ENGINE
    with small_disk(here / "disk", size) as disk:
        result = call(*TINY, *HALF, *options, "--out", disk / "bundle")
        refused(result, 4, "No space left on device")
        assert "Fix: free space on that disk" in result.stderr
        assert f"{disk / 'bundle'}" in result.stderr
        assert full_at in result.stderr.replace(".b1.tensorrt", ".engine.b1.tensorrt")
        assert ".unfinished" not in result.stderr
        assert remains(disk) == []


def test_a_disk_that_fills_up_with_external_data(here: Path, tiny_sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "_EXTERNAL_DATA_BYTES", 1)
    before = sum(tiny_sizes[name] for name in ("weights.safetensors", "recipe.json", "plan.json"))
    with small_disk(here / "disk", before + tiny_sizes["weights.safetensors"] // 2) as disk:
        refused(call(*TINY, *HALF, *NO_ENGINE, "--out", disk / "bundle"), 4, "No space left on device")
        assert remains(disk) == []


@pytest.mark.parametrize("limit_bytes", [100_000, 250_000])
def test_a_limit_on_file_sizes_is_a_storage_error(here: Path, limit_bytes: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        result = call(*TINY, *HALF, *NO_ENGINE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    refused(result, 4, "File too large")
    assert remains(here) == ["engines"]


def test_a_mount_point_is_told_before_any_work(here: Path) -> None:
    with small_disk(here / "disk", 1 << 20) as disk:
        result = call(*TINY, *HALF, *NO_ENGINE, "--out", disk)
        refused(result, 4, f"Fix: for example --out {disk}/bundle")
        assert "building" not in result.stderr


def test_a_mount_point_of_the_same_disk_is_refused_too(here: Path) -> None:
    (here / "volume").mkdir()
    (here / "out").mkdir()
    command = ["mount", "--bind", str(here / "volume"), str(here / "out")]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a bind mount needs the right to mount")
    try:
        with pytest.raises(StorageError, match="busy"), new_folder(here / "out", MARKER) as working:
            (working / "file").write_text("content")
    finally:
        subprocess.run(["umount", str(here / "out")], check=True)
    assert remains(here) == ["out", "volume"]


def test_a_disk_without_room_for_the_output_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        child = subprocess.run([COMMAND, "backends", "--json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert child.returncode == 4
    assert child.stderr.splitlines()[0] == "Error: cannot write standard output: No space left on device"
    assert "Fix: " in child.stderr
    assert "Traceback" not in child.stderr


def test_a_log_that_cannot_be_written_stops_nothing(made: Made) -> None:
    with Path("/dev/full").open("w") as full:
        child = subprocess.run(
            [COMMAND, *SHARED], cwd=made.folder.parent, stdout=subprocess.PIPE, stderr=full, text=True, check=False
        )
    assert child.returncode == 0
    assert json.loads(child.stdout)["reused"] is True
