"""Result of a check, with a fix that can be typed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["ok", "warning", "problem"]
"""Outcome of a check.

- ok: nothing to do.
- warning: works, within a limit worth knowing.
- problem: something this package does cannot work here.
"""

Which = Callable[[str], str | None]
"""Function that finds a program on the path, like `shutil.which`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Result of one check.

    `fix` is a command to type, or a sentence where there is none. Only "ok" has no fix. `blocks_export` marks a problem that
    keeps `export` from running on the CPU, the one job every machine should do.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""
    blocks_export: bool = False

    def __post_init__(self) -> None:
        if (self.status == "ok") == bool(self.fix):
            raise ValueError(f"{self.name}: status {self.status!r} does not go with fix {self.fix!r}")
        if self.blocks_export and self.status != "problem":
            raise ValueError(f"{self.name}: only a problem can block, got {self.status!r}")


def ok(name: str, detail: str) -> Diagnosis:
    """Return a result with nothing to do."""
    return Diagnosis(name=name, status="ok", detail=detail)


def warning(name: str, detail: str, *, fix: str) -> Diagnosis:
    """Return a result that works, within a limit worth knowing."""
    return Diagnosis(name=name, status="warning", detail=detail, fix=fix)


def problem(name: str, detail: str, *, fix: str, blocks_export: bool = False) -> Diagnosis:
    """Return a result that keeps something in this package from working here."""
    return Diagnosis(name=name, status="problem", detail=detail, fix=fix, blocks_export=blocks_export)


def pip(*arguments: str) -> str:
    """Return a pip command line for the interpreter that runs now.

    In an unactivated venv a plain `pip` would change another environment.
    """
    return f"{python_command()} -m pip {shlex.join(arguments)}"


def python_command(executable: str = sys.executable, which: Which = shutil.which) -> str:
    """Return the shortest command for the running interpreter.

    It can be typed from the current folder.
    """
    path, folder, home = Path(executable), Path.cwd(), Path.home()
    if which("python") == executable:
        return "python"
    if path.is_relative_to(folder):
        return shlex.quote(str(path.relative_to(folder)))
    if path.is_relative_to(home):
        return f"~/{shlex.quote(str(path.relative_to(home)))}"
    return shlex.quote(executable)


def system_install(apt: str, dnf: str, *, which: Which = shutil.which, is_root: bool | None = None) -> str:
    """Return this distribution's command to install a system package.

    The package has a name in Debian (`apt`) and one in Fedora (`dnf`).
    """
    root = os.geteuid() == 0 if is_root is None else is_root
    prefix = "" if root else "sudo "
    if which("apt-get"):
        return f"{prefix}apt-get install {apt}"
    if which("dnf"):
        return f"{prefix}dnf install {dnf}"
    return f"install {apt} with the system's package manager"
