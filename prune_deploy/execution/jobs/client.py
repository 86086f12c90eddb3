"""Making bundles and traces in a child process (`workshop.py`), where a crash, a hang or a hunger for memory ends one case only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from prune_deploy.execution.workers.process import RefusedError, Watchdog, WorkerError, WorkerProcess
from prune_deploy.records import to_json
from prune_deploy.specs import ExportSpec

_START_LIMIT_S = 60.0
_MODULE = "prune_deploy.execution.jobs.server"


class Jobs:
    """A child process that is started when it is first asked, and again after it broke."""

    def __init__(self, watchdog: Watchdog, log: Path, memory_limit_bytes: int | None = None) -> None:
        self._watchdog = watchdog
        self._log = log
        self._memory_limit_bytes = memory_limit_bytes
        self._worker: WorkerProcess | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def ask(self, kind: str, header: dict[str, Any], limit_s: float, doing: str) -> dict[str, Any]:
        """Have a job done; between jobs the child stands still.

        Raises:
            WorkerError: the job failed, or took its process down with it.
        """
        if self._worker is None:
            self._worker = WorkerProcess(self._watchdog, self._log, self._environment(), self._memory_limit_bytes, _MODULE)
            self._worker.await_ready(_START_LIMIT_S)
        self._worker.resume()
        try:
            answer = self._worker.request({"kind": kind, **header}, limit_s, doing).header
            self._worker.suspend()
        except RefusedError:
            self._worker.suspend()
            raise
        except WorkerError:
            self.end()
            raise
        return answer

    def export(self, spec: ExportSpec, folder: Path, stages: tuple[float, ...], limit_s: float) -> None:
        """Make a bundle, or find it made; with `stages`, as the last of these ratios of one iterative pruning.

        Raises:
            WorkerError: it cannot be made, or its making took the process down.
        """
        self.ask("export", {"spec": to_json(spec), "folder": str(folder), "stages": stages}, limit_s, "exporting")

    def end(self) -> None:
        """End the child; the next job starts another."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _environment(self) -> dict[str, str]:
        """What profilers and compilers write on the way goes where it is removed with the child, however that ends."""
        self._scratch = tempfile.TemporaryDirectory(prefix="prune-deploy-")
        return os.environ | {"TMPDIR": self._scratch.name, "TORCHINDUCTOR_CACHE_DIR": f"{self._scratch.name}/inductor"}
