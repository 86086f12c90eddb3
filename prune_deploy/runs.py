"""Runs on disk: run.json, records.jsonl, and raw samples beside them.

The records file grows by whole lines. A run survives a kill at any moment.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import ClassVar, TypeVar

from prune_deploy.errors import CannotRunError, InputError, VerificationError, storage_errors
from prune_deploy.files import UNFINISHED, as_folder, read_file, write_bytes, write_text
from prune_deploy.notebook import Tabular
from prune_deploy.records import CaseRecord, Explanation, RunRecord, Trace, from_json, to_json
from prune_deploy.specs import Case

PROFILES_DIR = Path("profiles")
RUN_FILE = "run.json"
RECORDS_FILE = "records.jsonl"
SAMPLES_DIR = "samples"
TRACES_DIR = "traces"
EXPLANATIONS_DIR = "explanations"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run(Tabular):
    """Run as read from disk, its records in the order they ended.

    `dropped_lines` counts lines that a kill left half-written.
    """

    folder: Path
    record: RunRecord
    cases: tuple[CaseRecord, ...]
    dropped_lines: int


def new_run_id(command: str, subject: str) -> str:
    """Return a run's name: time, command, subject, and four digits.

    The digits distinguish two runs in one second.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{command}-{re.sub(r'[^A-Za-z0-9._-]+', '-', subject)[:60]}-{secrets.token_hex(2)}"


def create_run(folder: Path, record: RunRecord) -> None:
    """Make the folder of a run and write run.json.

    Raises:
        InputError: something lies there already.
        StorageError: the disk is full or the place cannot be written.
    """
    with storage_errors(folder, every=True):
        if folder.exists() and not (folder.is_dir() and all(path.name.startswith(UNFINISHED) for path in folder.iterdir())):
            raise InputError(f"{folder} is there already", fix="choose another place with `out=DIR`")
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RUN_FILE, to_json(record))


class SoleWriter:
    """The right to write in a run's folder.

    It lasts until `release` or the end of the process. The lock is on the folder itself, so it holds between containers too, whatever
    their folders for temporary files are. Within one process a second one of the same folder is the same right.

    Raises:
        CannotRunError: another process has it.
        StorageError: the folder cannot be opened.
    """

    _held: ClassVar[dict[tuple[int, int], tuple[int, int]]] = {}

    def __init__(self, folder: Path) -> None:
        with storage_errors(folder, every=True):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        found = os.fstat(descriptor)
        self._place: tuple[int, int] | None = (found.st_dev, found.st_ino)
        first, count = self._held.get(self._place, (descriptor, 0))
        if count:
            os.close(descriptor)
        else:
            self._lock(descriptor, folder)
        self._held[self._place] = (first, count + 1)

    def _lock(self, descriptor: int, folder: Path) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise CannotRunError(
                f"another process is writing in {folder}", fix="wait for its end, or choose another place with `out=DIR`"
            ) from None
        except OSError:  # not every network file system has locks
            return

    def release(self) -> None:
        """Give the right back. It is safe to call again."""
        if self._place is None:
            return
        descriptor, count = self._held.pop(self._place)
        if count > 1:
            self._held[self._place] = (descriptor, count - 1)
        else:
            os.close(descriptor)
        self._place = None

    def __enter__(self) -> SoleWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def append_cases(folder: Path, records: Sequence[CaseRecord]) -> None:
    """Append the finished cases of one comparison, each as one whole line.

    They are on the disk when this returns.

    Raises:
        StorageError: the disk is full or the place cannot be written.
    """
    path = folder / RECORDS_FILE
    with storage_errors(path):
        lines = _lines(records)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            written = os.write(descriptor, lines)
            if written != len(lines):  # the disk is full: remove the half line, so that a later one begins correctly
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lines(records: Sequence[CaseRecord]) -> bytes:
    return b"".join((to_json(record, indent=None) + "\n").encode() for record in records)


def close_run(folder: Path) -> RunRecord:
    """Close an open run: its cases are those that it has now.

    Raises:
        InputError: the folder is no run.
        StorageError: the disk is full or the place cannot be written.
    """
    run = read_run(folder)
    record = replace(run.record, cases=tuple(each.case for each in run.cases), is_open=False)
    write_text(folder / RUN_FILE, to_json(record))
    return record


def mend_records(run: Run, expected: Mapping[str, Collection[str]] | None = None) -> tuple[CaseRecord, ...]:
    """Return the records of finished comparisons, and remove all others.

    `expected` gives the labels of the cases that each comparison has. A comparison is finished when all of them have a record.
    Without it, as in an open run, it is finished when it has as many cases as its records say. Other records, left in
    records.jsonl by a kill, are removed from it.

    Raises:
        InputError: a record belongs to no comparison of this run.
        StorageError: the file cannot be written.
    """
    records: dict[tuple[str, str, Case], CaseRecord] = {}
    for record in run.cases:
        if expected is not None and record.label not in expected.get(record.comparison, ()):
            raise InputError(
                f"{run.folder / RECORDS_FILE} has a record of another run: {record.label} in {record.comparison or 'no comparison'}",
                fix="restore the file, or begin anew with `out=DIR`",
            )
        records.setdefault((record.comparison, record.label, record.case), record)
    together: dict[str, list[CaseRecord]] = {}
    for record in records.values():
        together.setdefault(record.comparison, []).append(record)
    finished = {name for name, cases in together.items() if _is_finished(cases, None if expected is None else expected[name])}
    kept = tuple(record for record in records.values() if record.comparison in finished)
    if kept != run.cases or run.dropped_lines:
        write_bytes(run.folder / RECORDS_FILE, _lines(kept))
    return kept


def _is_finished(records: Sequence[CaseRecord], labels: Collection[str] | None) -> bool:
    """True if these are all the records of their comparison."""
    if labels is None:
        return len(records) >= records[0].comparison_cases
    return {record.label for record in records} >= set(labels)


def write_samples(folder: Path, name: str, content: bytes) -> tuple[str, str]:
    """Write packed samples, and return their name within the run and SHA-256.

    Raises:
        StorageError: the disk is full or the place cannot be written.
    """
    relative = f"{SAMPLES_DIR}/{name}.npz"
    with storage_errors(folder, every=True):
        (folder / SAMPLES_DIR).mkdir(exist_ok=True)
    write_bytes(folder / relative, content)
    return relative, hashlib.sha256(content).hexdigest()


def read_samples(folder: Path, record: CaseRecord) -> bytes:
    """Return the packed samples that a record was computed from.

    Raises:
        InputError: the file is missing.
        VerificationError: it is not the file that the record names.
    """
    path = folder / record.samples_file
    if Path(record.samples_file).is_absolute() or ".." in Path(record.samples_file).parts:
        raise InputError(f"{folder} names a file outside the run: {record.samples_file}", fix="do not use this run")
    content = read_file(path, fix="restore the run's samples, or measure again")
    if hashlib.sha256(content).hexdigest() != record.samples_sha256:
        raise VerificationError(f"{path} is not the file that was measured: its hash differs", fix="restore it, or measure again")
    return content


def trace_stem(record: CaseRecord) -> str:
    """Return the name that a case's traces have in a run.

    The files are traces/<stem>.json.gz for Perfetto, and traces/<stem>.layers.json as a Trace.
    """
    case = record.case
    if not record.across:
        return f"{record.comparison}-{record.label}"
    # A comparison across backends or precisions contains each bundle several times.
    return "-".join(filter(None, (record.comparison, case.backend, case.options.variant, case.precision, record.label)))


def read_traces(folder: Path) -> dict[str, Trace]:
    """Return the traces of a run by their stems.

    Raises:
        InputError: a file is damaged.
    """
    return _read_all(Trace, folder / TRACES_DIR, ".layers.json")


def read_explanations(folder: Path) -> dict[str, Explanation]:
    """Return the explanations of a run by their names.

    Raises:
        InputError: a file is damaged.
    """
    return _read_all(Explanation, folder / EXPLANATIONS_DIR, ".json")


def _read_all(cls: type[T], folder: Path, ending: str) -> dict[str, T]:
    files = sorted(folder.glob(f"*{ending}"))
    return {path.name.removesuffix(ending): from_json(cls, read_file(path), source=str(path)) for path in files}


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run from its folder.

    An incomplete last line, as a kill leaves it, is dropped and counted.

    Raises:
        InputError: the folder is no run, or a whole line is damaged.
    """
    folder = as_folder(folder)
    path = folder / RUN_FILE
    if not path.is_file():
        raise InputError(f"{folder} is no run: it has no {RUN_FILE}", fix="name a run made by prune-deploy bench, profiles/…")
    record = from_json(RunRecord, read_file(path), source=str(path))
    records = folder / RECORDS_FILE
    content = read_file(records) if records.exists() else b""
    *lines, rest = content.split(b"\n")
    cases = tuple(
        from_json(CaseRecord, line, source=f"{records}, line {number}") for number, line in enumerate(lines, start=1) if line
    )
    return Run(folder, record, cases, dropped_lines=1 if rest else 0)
