"""Checks of the system, each fault staged."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prune_deploy.diagnosis import Diagnosis, system


def programs(*names: str) -> Callable[[str], str | None]:
    """A path on which only these programs are found."""
    return lambda name: f"/usr/bin/{name}" if name in names else None


def judged(check: Diagnosis | None) -> tuple[str, bool]:
    assert check is not None
    return check.status, check.blocks_export


@pytest.mark.parametrize(
    ("version", "expected"),
    [((3, 10, 9), ("problem", True)), ((3, 11, 0), ("ok", False)), ((3, 13, 9), ("ok", False)), ((3, 14, 0), ("warning", False))],
)
def test_python(version: tuple[int, int, int], expected: tuple[str, bool]) -> None:
    assert judged(system.check_python(version)) == expected


@pytest.mark.parametrize(
    ("found", "cxx", "status", "fix"),
    [
        (("g++",), None, "ok", ""),
        (("clang++",), "clang++ -O2", "ok", ""),
        (("g++",), "icpx", "problem", "unset CXX"),
        (("clang++", "c++"), None, "problem", "export CXX=clang++"),
        (("c++",), "", "problem", "export CXX=c++"),
        (("dnf",), None, "problem", "dnf install gcc-c++"),
    ],
)
def test_compiler(found: tuple[str, ...], cxx: str | None, status: str, fix: str) -> None:
    check = system.check_compiler(programs(*found), {} if cxx is None else {"CXX": cxx})
    assert judged(check) == (status, False)
    assert check.fix.removeprefix("sudo ") == fix


def test_headers(tmp_path: Path) -> None:
    missing = system.check_headers(tmp_path, programs("apt-get"))
    assert judged(missing) == ("problem", False)
    assert missing.fix.endswith(f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-dev")
    (tmp_path / "Python.h").touch()
    assert system.check_headers(tmp_path).status == "ok"


def test_make() -> None:
    assert judged(system.check_make(programs("make"))) == ("ok", False)
    assert judged(system.check_make(programs())) == ("warning", False)


@pytest.mark.parametrize(("gib", "expected"), [(1.9, ("problem", True)), (2, ("warning", False)), (10, ("ok", False))])
def test_disk(gib: float, expected: tuple[str, bool], tmp_path: Path) -> None:
    assert judged(system.check_disk(tmp_path, lambda _: int(gib * system.GIB))) == expected


def test_disk_is_measured_where_bundles_go(tmp_path: Path) -> None:
    asked: list[Path] = []
    system.check_disk(tmp_path, lambda path: asked.append(path) or 0)  # type: ignore[func-returns-value]
    (tmp_path / "engines").mkdir()
    system.check_disk(tmp_path, lambda path: asked.append(path) or 0)  # type: ignore[func-returns-value]
    assert asked == [tmp_path, tmp_path / "engines"]


def test_output_folder(tmp_path: Path) -> None:
    assert judged(system.check_output_folder(tmp_path)) == ("ok", False)
    assert list(tmp_path.iterdir()) == []
    assert judged(system.check_output_folder(tmp_path, lambda _: False)) == ("problem", True)
    (tmp_path / "engines").write_text("a file where a folder should be")
    assert judged(system.check_output_folder(tmp_path)) == ("problem", True)


def test_memory() -> None:
    assert judged(system.check_memory(16 * system.GIB, 8 * system.GIB)) == ("ok", False)
    assert judged(system.check_memory(16 * system.GIB, 3 * system.GIB)) == ("warning", False)
    assert "4.0 of 4.0 GiB" in system.check_memory(4 * system.GIB, 64 * system.GIB).detail


def test_cpu_names_its_vector_instructions() -> None:
    check = system.check_cpu({"model name": "Xeon", "flags": "fpu avx2 avx512f avx512_vnni"})
    assert check.detail.startswith("Xeon, ")
    assert check.detail.endswith("AVX2 yes, AVX-512 yes, VNNI yes, AMX no")
    assert "VNNI" not in system.check_cpu({}).detail
