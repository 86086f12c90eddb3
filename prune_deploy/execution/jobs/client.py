"""The coordinator's side of a build worker.

It is a child that exports, traces and evaluates. A crash, a hang or too much memory in it ends one job and nothing else. `server.py`
is the child's side.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from prune_deploy.errors import StorageError
from prune_deploy.execution.workers.process import RefusedError, Watchdog, WorkerError, WorkerProcess
from prune_deploy.folders import remove_leftovers
from prune_deploy.records import to_json
from prune_deploy.scratch import Scratch
from prune_deploy.specs import ExportSpec

_START_LIMIT_S = 60.0
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
_MODULE = "prune_deploy.execution.jobs.server"


class BuildWorkerClient:
    """Client that starts a build worker at the first request.

    After a crash it starts another. `has_named_log` is set once the fix of an error has named the log.
    """

    def __init__(self, watchdog: Watchdog, log: Path, memory_limit_bytes: int | None = None) -> None:
        self._watchdog = watchdog
        self._log = log
        self._memory_limit_bytes = memory_limit_bytes
        self._worker: WorkerProcess | None = None
        self._scratch: Scratch | None = None
        self._variables: dict[str, str] = {}
        self._places: set[Path] = set()
        self.has_named_log = False

    def __enter__(self) -> BuildWorkerClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def ask(
        self, kind: str, header: dict[str, Any], limit_s: float, doing: str, *, environment: Mapping[str, str] = _NO_VARIABLES
    ) -> dict[str, Any]:
        """Run a job in the worker, which is stopped between jobs.

        `environment` holds variables that its process needs from its start. A worker that was started with others is replaced.

        Raises:
            WorkerError: the job failed, or took its process down with it.
            StorageError: the disk is full or the place cannot be written.
        """
        if dict(environment) != self._variables:
            self.end()
            self._variables = dict(environment)
        try:
            return self._ask({"kind": kind, **header}, limit_s, doing)
        except RefusedError:
            raise
        except WorkerError as error:
            self.has_named_log |= error.log is not None
            self.end()
            raise

    def export(self, spec: ExportSpec, folder: Path, stages: tuple[float, ...], limit_s: float) -> None:
        """Make a bundle, or find a finished one.

        With `stages` it is the last of these ratios of one iterative pruning.

        Raises:
            WorkerError: it cannot be made, or its making took the process down.
        """
        self._places.add(folder.parent)
        self.ask("export", {"spec": to_json(spec), "folder": str(folder), "stages": stages}, limit_s, "exporting")

    def end(self) -> None:
        """End the worker. The next job starts another."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None
            for place in self._places:  # a worker that is killed cannot remove the bundle it was making
                remove_leftovers(place)
            self._places.clear()
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def _ask(self, header: dict[str, Any], limit_s: float, doing: str) -> dict[str, Any]:
        if self._worker is None:
            self._worker = WorkerProcess(self._watchdog, self._log, self._environment(), self._memory_limit_bytes, _MODULE)
            self._worker.await_ready(_START_LIMIT_S)
        self._worker.resume()
        try:
            answer = self._worker.request(header, limit_s, doing).header
        except (RefusedError, StorageError):
            self._worker.suspend()
            raise
        self._worker.suspend()
        return answer

    def _environment(self) -> dict[str, str]:
        """Redirect files of profilers and compilers to a folder that is removed."""
        self._scratch = Scratch()
        scratch = {"TMPDIR": str(self._scratch.path), "TORCHINDUCTOR_CACHE_DIR": str(self._scratch.path / "inductor")}
        return os.environ | scratch | self._variables
