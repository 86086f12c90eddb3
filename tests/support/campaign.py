"""A campaign of faults, which strike commands at random moments.

They are kills, signals and full disks.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from support.commands import COMMAND, HANGING_S

TALLY: Counter[tuple[str, str]] = Counter()
"""How often each fault struck each command in time, by (fault, command)."""

_MARK = "PRUNE_DEPLOY_CAMPAIGN"
_ORPHAN_LIMIT_S = 60.0


@dataclass(frozen=True)
class Subject:
    """One command, and the path that it makes below its folder.

    `resumes` marks one that the same arguments continue or repeat. Any other gets a new name for what it makes.
    """

    name: str
    arguments: tuple[str, ...]
    makes: str = ""
    resumes: bool = True

    def command(self, number: int) -> list[str]:
        """Return the command line of its run number `number`."""
        made = () if not self.makes else ("--out", self.made(number))
        return [str(COMMAND), self.name, *self.arguments, *made]

    def made(self, number: int) -> str:
        """Return the path that run number `number` makes."""
        return self.makes if self.resumes else f"{self.makes}-{number}"


@dataclass
class Place:
    """A folder to work in, with a temporary folder of its own.

    `bundle` must stay as it is, whatever happens.
    """

    folder: Path
    bundle: str = "bundle"
    runs: int = 0
    before: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scratch.mkdir()
        self.before = self._of_bundle()

    @property
    def scratch(self) -> Path:
        """Return the temporary folder of the commands."""
        return self.folder / "scratch"

    def start(self, subject: Subject, limit_bytes: int | None = None) -> subprocess.Popen[str]:
        """Start a run, whose files cannot grow beyond a limit."""
        self.runs += 1
        environment = {
            **os.environ,
            _MARK: str(self.folder),
            "TMPDIR": str(self.scratch),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }
        return subprocess.Popen(
            subject.command(self.runs),
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=None if limit_bytes is None else _limited(limit_bytes),
        )

    def assert_whole(self, subject: Subject) -> None:
        """Assert that nothing half-made is left, and nobody lives on.

        The bundle is as it was.
        """
        assert [str(path) for path in self.folder.rglob(".unfinished-*")] == []
        assert self._of_bundle() == self.before
        deadline = time.monotonic() + _ORPHAN_LIMIT_S
        while (left := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == []

    def temporary_folders(self) -> set[Path]:
        """Return the temporary folders that nobody is to read."""
        return {path for path in self.scratch.glob("prune-deploy-*/scratch-*") if not (path / ".kept").exists()}

    def age(self) -> None:
        """Let temporary folders look old enough to be swept up."""
        for path in self.temporary_folders():
            os.utime(path, (0, 0))

    def _of_bundle(self) -> dict[str, tuple[int, int]]:
        files = (path for path in (self.folder / self.bundle).rglob("*") if path.is_file())
        return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}

    def _processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == str(self.folder):
                    found.append(process)
            except psutil.Error:
                continue
        return found


def _limited(limit_bytes: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))


def undisturbed(place: Place, subject: Subject) -> tuple[float, set[str], int]:
    """Run a command to its end.

    Returns its seconds, the files it made, and the largest one's bytes.
    """
    begin = time.monotonic()
    child = place.start(subject)
    _, message = child.communicate(timeout=HANGING_S)
    assert child.returncode == 0, message
    seconds = time.monotonic() - begin
    place.assert_whole(subject)
    files = files_of(place, subject, place.runs)
    sizes = [path.stat().st_size for path in files.values()]
    return seconds, set(files), max(sizes, default=1 << 12)


def files_of(place: Place, subject: Subject, number: int) -> dict[str, Path]:
    """Return the files that a run made, by their names in it."""
    if not subject.makes:
        return {}
    root = place.folder / subject.made(number)
    if root.is_file():
        return {"": root}
    return {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file() and path.suffix != ".log"}


def strike(place: Place, subject: Subject, fault: str, seconds: float, largest: int, moments: random.Random) -> None:
    """Let one fault hit a command, and assert how it ends."""
    before = place.temporary_folders()
    limit = int(largest * moments.uniform(0.01, 0.9)) if fault == "full disk" else None
    child = place.start(subject, limit)
    if fault != "full disk":
        try:
            child.wait(moments.uniform(0.02, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            child.send_signal(getattr(signal, fault))
    _, message = child.communicate(timeout=HANGING_S)
    told = f"{fault} ended {subject.name} with {child.returncode}: {message}"
    assert "Traceback" not in message, told
    expected = {"SIGKILL": -signal.SIGKILL, "full disk": 4}.get(fault, 130)
    if message == "" and fault in ("SIGINT", "SIGTERM", "SIGHUP") and child.returncode == -getattr(signal, fault):
        return  # it came before the program's first line, and nothing had begun
    if child.returncode != 0:
        TALLY[fault, subject.name] += 1
    assert child.returncode in (0, expected), told
    if child.returncode == 4:
        assert "\nFix: " in message, told
    if fault == "SIGKILL":
        return  # the next run sweeps up after it
    place.assert_whole(subject)
    assert place.temporary_folders() <= before, "it removed its own"


def assert_swept_up(place: Place, subject: Subject) -> None:
    """Assert that the next command removes what killed ones left for it."""
    place.age()
    undisturbed(place, subject)
    assert place.temporary_folders() == set()


def heal(place: Place, subject: Subject, files: set[str]) -> None:
    """Run the same command again, and assert that it makes everything."""
    child = place.start(subject)
    _, message = child.communicate(timeout=HANGING_S)
    assert child.returncode == 0, message
    assert set(files_of(place, subject, place.runs)) == files
    place.assert_whole(subject)
