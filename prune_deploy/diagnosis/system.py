"""Checks of the system: Python, compiler, headers, make, disk, memory, processor."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from prune_deploy.diagnosis.finding import Diagnosis, Which, ok, problem, system_install, warning
from prune_deploy.environment import cpu_model, read_cpuinfo, usable_cpus, usable_memory_bytes

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
GIB = 2**30
DISK_PROBLEM_BYTES, DISK_WARNING_BYTES = 2 * GIB, 10 * GIB
MEMORY_WARNING_BYTES = 6 * GIB
"""Bytes of available memory below which there is a warning.

Pruning and exporting ViT-Large peaks at 4.4 GB in one process. The rest is for everything else that runs.
"""


def check_python(version: tuple[int, int, int] = sys.version_info[:3]) -> Diagnosis:
    """Check for Python 3.11 to 3.13.

    Older versions lack features that the code uses, and newer ones are untested.
    """
    name, text = "Python", ".".join(map(str, version))
    fix = "make clean && make PYTHON=/path/to/python3.12 setup"
    if version[:2] < OLDEST_PYTHON:
        return problem(name, f"{text} is older than 3.11", fix=fix, blocks_export=True)
    if version[:2] > NEWEST_PYTHON:
        return warning(name, f"{text} is newer than 3.13, the last one tested", fix=fix)
    return ok(name, text)


def check_compiler(which: Which = shutil.which, variables: Mapping[str, str] = os.environ) -> Diagnosis:
    """Check the C++ compiler that torch.compile will call.

    It is $CXX, else g++ and no other (torch/_inductor/config.py, `cpp.cxx`).
    """
    name = "C++ compiler"
    chosen = variables.get("CXX", "").strip()
    if chosen and which(shlex.split(chosen)[0]):
        return ok(name, f"{chosen}, named by CXX")
    if chosen:
        return problem(name, f"CXX names {chosen}, which is not found: no torch.compile", fix="unset CXX")
    if which("g++"):
        return ok(name, "g++")
    other = next((program for program in ("clang++", "c++") if which(program)), None)
    if other is not None:
        detail = f"{other} is here, but torch.compile looks for g++ unless told"
        return problem(name, detail, fix=f"export CXX={other}")
    fix = system_install("g++", "gcc-c++", which=which)
    return problem(name, "none found: no torch.compile; everything else works", fix=fix)


def check_headers(include: Path | None = None, which: Which = shutil.which) -> Diagnosis:
    """Check for Python.h.

    The generated code of torch.compile and Triton includes it.
    """
    folder = Path(sysconfig.get_path("include")) if include is None else include
    if (folder / "Python.h").is_file():
        return ok("Python headers", "Python.h found")
    version = "{}.{}".format(*sys.version_info[:2])
    return problem(
        "Python headers",
        f"Python.h of Python {version} is missing: no torch.compile; everything else works",
        fix=system_install(f"python{version}-dev", f"python{version}-devel", which=which),
    )


def check_make(which: Which = shutil.which) -> Diagnosis:
    """Check for make, which the project's own targets need.

    Those are `make demo` and `make test`. The command itself works without it.
    """
    if which("make"):
        return ok("make", "found")
    fix = system_install("make", "make", which=which)
    return warning("make", "not found: `make demo` and `make test` cannot run", fix=fix)


def check_disk(folder: Path = Path(), free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free) -> Diagnosis:
    """Check the free space where bundles go.

    Weights, ONNX and engine each hold the parameters, 3.6 GB for the dense ViT-Large in FP32.
    """
    free = free_bytes(_output_folder(folder))
    detail = f"{free / GIB:.1f} GiB free for bundles"
    fix = "free space, or write to another disk: prune-deploy export --out DIR"
    if free < DISK_PROBLEM_BYTES:
        return problem("disk", f"only {detail}", fix=fix, blocks_export=True)
    if free < DISK_WARNING_BYTES:
        return warning("disk", f"{detail}: a few large models", fix=fix)
    return ok("disk", detail)


def check_output_folder(folder: Path = Path(), writable: Callable[[Path], bool] | None = None) -> Diagnosis:
    """Check that ./engines can be written, or the current folder without it."""
    if (writable or _can_write)(_output_folder(folder)):
        return ok("output folder", "./engines can be written")
    return problem(
        "output folder",
        "./engines cannot be written",
        fix="change to a folder of your own, or name one: prune-deploy export --out DIR",
        blocks_export=True,
    )


def check_memory(total_bytes: int | None = None, available_bytes: int | None = None) -> Diagnosis:
    """Check the memory this process can get, within a container's limit."""
    memory = psutil.virtual_memory()
    total = usable_memory_bytes(memory.total) if total_bytes is None else total_bytes
    available = min(memory.available if available_bytes is None else available_bytes, total)
    detail = f"{available / GIB:.1f} of {total / GIB:.1f} GiB available"
    if available >= MEMORY_WARNING_BYTES:
        return ok("memory", detail)
    return warning(
        "memory",
        f"{detail}; exporting ViT-Large takes about 4.5 GiB",
        fix="close other programs, raise the container's limit, or start small: prune-deploy export --model resnet50 --ratio 0.5",
    )


def check_cpu(cpuinfo: Mapping[str, str] | None = None) -> Diagnosis:
    """Report the processor and its vector instructions.

    They decide how fast FP32 and INT8 run on it. The result is always "ok".
    """
    entry = dict(read_cpuinfo() if cpuinfo is None else cpuinfo)
    flags = set(entry.get("flags", "").split())
    features = {"AVX2": {"avx2"}, "AVX-512": {"avx512f"}, "VNNI": {"avx512_vnni", "avx_vnni"}, "AMX": {"amx_tile"}}
    words = [f"{feature} {'yes' if flags & names else 'no'}" for feature, names in features.items()] if flags else []
    count = usable_cpus()
    return ok("CPU", ", ".join([cpu_model(entry), f"{count} usable CPU{'s' * (count != 1)}", *words]))


def _can_write(folder: Path) -> bool:
    """Return whether a file can be written, by trying.

    Permission bits do not reflect network file systems, read-only mounts and quotas.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
    except OSError:
        return False
    return True


def _output_folder(folder: Path) -> Path:
    engines = folder / "engines"
    return engines if engines.exists() else folder
