"""Every error this package raises on purpose, as one tree.

    PruneDeployError                 exit code 1
    ├── PruningError                 1   nothing was removed, or less than asked
    ├── ParityError                  1   an artifact does not compute what the module computes
    ├── BuildError                   1   ONNX export or engine build failed
    ├── VerificationError            1   a bundle's content is not what its record says
    ├── OutputError                  1   a run gave something that is not a finite number
    ├── RegressionError              1   a gate found that something got slower
    ├── LimitError                   1   a limit of time or memory was passed
    ├── GraphBreakError              1   torch.compile did not get the model as one graph
    ├── RecompiledError              1   torch.compile compiled again while it was timed
    ├── EagerFallbackError           1   torch.compile ran the model eagerly
    ├── InputError                   2   usage and bad input: unknown model, not a bundle, corrupt file
    ├── UndecidedError               3   a gate that cannot be decided
    └── CannotRunError               4   nothing asked for can run here; disk full; unwritable
        ├── StorageError             4
        └── OutOfMemoryError         4   memory of the machine or of the GPU ran out

Each carries a `fix`, what the reader can do about it, and the `status` of a case that it ends. Only `prune_deploy.cli` prints errors
or turns them into exit codes.

Texts name settings in Python's words, as a code span: "`ratio` must lie between 0 and 1, got 2", "for example `ratio=0.5`". `setting`
writes such a span. An error about one setting also carries its name as `field`. Records hold these texts as they are. The command line
and the reports turn spans into options, `--ratio 0.5`, through the table in `prune_deploy.specs.options`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

LONGEST_TEXT = 4000
"""Characters of an error's message and of its fix. A value that it repeats may be a file's worth."""

_LONGEST_VALUE = 60


class PruneDeployError(Exception):
    """Base of all errors raised on purpose.

    The message states what is wrong, and `fix` what to do about it. `field` is the Python name of the setting that is wrong, None
    where no single one is.
    """

    exit_code: ClassVar[int] = 1
    status: ClassVar[str] = "failed"

    def __init__(self, message: str, *, fix: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = _shortened(message)
        self.fix = _shortened(fix)
        self.field = field

    def __str__(self) -> str:
        return f"{self.message}\nFix: {self.fix}"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT // 2]}…{text[-LONGEST_TEXT // 4 :]}"


class PruningError(PruneDeployError):
    """The pruning removed nothing or too little, or could not be planned."""


class ParityError(PruneDeployError):
    """An artifact's outputs differ too much from the eager module's.

    The threshold is that of its precision.
    """


class BuildError(PruneDeployError):
    """The ONNX export or the engine build failed."""


class VerificationError(PruneDeployError):
    """A bundle's files are not the files its record describes."""


class OutputError(PruneDeployError):
    """A run gave outputs that are not finite numbers."""


class RegressionError(PruneDeployError):
    """A gate found that something got slower than it may."""


class LimitError(PruneDeployError):
    """A limit of time or memory was passed.

    The process that passed it was ended.
    """

    status = "timeout"


class GraphBreakError(PruneDeployError):
    """torch.compile did not get the model as one graph."""

    status = "graph_break"


class RecompiledError(PruneDeployError):
    """torch.compile compiled again after the first run.

    The timed runs are then not of one program.
    """

    status = "recompiled"


class EagerFallbackError(PruneDeployError):
    """torch.compile compiled nothing and ran the model eagerly."""

    status = "eager_fallback"


class InputError(PruneDeployError):
    """Usage and bad input.

    Examples are an unknown model, a bad option, a directory that is no bundle, and a corrupt file.
    """

    exit_code = 2


class UndecidedError(PruneDeployError):
    """A gate that cannot be decided with the evidence at hand."""

    exit_code = 3


class CannotRunError(PruneDeployError):
    """Nothing of what was asked for can run on this machine."""

    exit_code = 4
    status = "unavailable"


class StorageError(CannotRunError):
    """The disk is full or the destination cannot be written."""


class OutOfMemoryError(CannotRunError):
    """There is not enough memory, on the machine or on its GPU."""


# Answers of a full, read-only, foreign or broken place. A missing file is not among them: it is a mistake of the caller, not the disk's.
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV}
_IMPOSSIBLE = {errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EFBIG, errno.EIO}


@contextmanager
def storage_errors(destination: Path, *, every: bool = False) -> Iterator[None]:
    """Turn the operating system's storage failures into a `StorageError`.

    Failures under `destination` count, and the error names the fix. With `every`, any OSError counts: for blocks that do nothing
    but make, move and sync files.

    Raises:
        StorageError: the disk is full, or `destination` cannot be written.
    """
    try:
        yield
    except OSError as error:
        # numpy reports a full disk without a number: "4608 requested and 0 written".
        short = error.errno is None and "requested and" in str(error)
        if not (every or short or error.errno in _FULL | _FORBIDDEN | _IMPOSSIBLE):
            raise
        full = short or error.errno in _FULL
        raise StorageError(
            f"cannot write {destination}: {os.strerror(errno.ENOSPC) if short else error.strerror or error}",
            fix=f"{'free space on that disk' if full else 'make that place writable'}, or choose another with `out=DIR`",
        ) from error


def refusal_by_the_system(error: OSError) -> PruneDeployError | None:
    """Return the error that says what a system call was refused for.

    These refusals can meet any call: a path that is no path, and limits of the process. None for others, which are faults of ours.
    """
    if error.errno in {errno.ENAMETOOLONG, errno.ELOOP}:
        return InputError(f"cannot use the path {error.filename}: {error.strerror}", fix="check the path")
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return CannotRunError(f"{error.strerror}, the limit was reached", fix="raise it: ulimit -n 1024")
    if error.errno == errno.ENOMEM:
        return OutOfMemoryError(
            f"memory ran out: {error.strerror}", fix="free memory, or raise the limit of this shell or container"
        )
    return None


def setting(field: str, value: object) -> str:
    """Write a setting with its value as a code span, `ratio=0.5`.

    Paths are written as text, and an Ellipsis in a tuple, for "what there is", as `...`.
    """
    text = repr(os.fspath(value) if isinstance(value, os.PathLike) else value)
    return f"`{field}={text.replace('Ellipsis', '...') if isinstance(value, tuple) else text}`"


def install_extra(extra: str) -> str:
    """Return the command that installs an optional part of this package.

    It needs no index for the package itself, which is installed already.
    """
    return f"pip install 'prune-deploy[{extra}]'"


def described(value: object) -> str:
    """Describe a value that is not what was asked for.

    Short ones are written as they are, others by their type.
    """
    text = repr(value) if isinstance(value, (str, int, float, tuple, list, type(None))) else ""
    if text and len(text) <= _LONGEST_VALUE:
        return text
    kind = type(value)
    home = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__.partition('.')[0]}."
    return f"an object of type {home}{kind.__qualname__}"


def first_line(error: BaseException, limit: int = 200) -> str:
    """Return the first line of a library's exception, or its type's name.

    The name stands for an exception without a text.
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:limit]
