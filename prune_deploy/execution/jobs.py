"""Making bundles and traces in a child process, where a crash, a hang or a hunger for memory ends one case and not a sweep.

The child keeps torch and timm imported from one job to the next, and the model of an iterative pruning from one stage to the next.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from prune_deploy.execution.process import RefusedError, Warden, WorkerError, WorkerProcess
from prune_deploy.execution.protocol import Message
from prune_deploy.records import from_json, to_json
from prune_deploy.specs import Device, ExportSpec

if TYPE_CHECKING:
    from prune_deploy.execution.staged import StagedModel
    from prune_deploy.pipeline import Network

_START_LIMIT_S = 60.0
_MODULE = "prune_deploy.execution.jobs"


class Jobs:
    """A child process that is started when it is first asked, and again after it broke."""

    def __init__(self, watchdog: Warden, log: Path, memory_limit_bytes: int | None = None) -> None:
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


class Workshop:
    """The child's side: does jobs."""

    def __init__(self) -> None:
        self._staged: StagedModel | None = None

    def answer(self, message: Message) -> tuple[dict[str, Any], bytes]:
        """Do what a message asks for."""
        header = dict(message.header)
        kind = header.pop("kind")
        handlers: dict[str, Callable[..., dict[str, Any]]] = {
            "export": self.export,
            "bandwidth": self.bandwidth,
            "trace": self.trace,
        }
        return handlers[kind](**header), b""

    def export(self, *, spec: str, folder: str, stages: list[float]) -> dict[str, Any]:
        """Make a bundle."""
        from prune_deploy.pipeline import export_bundle

        asked = from_json(ExportSpec, spec, source="the request")
        network = (lambda: self._at_stage(asked, stages)) if stages else None
        exported = export_bundle(asked, Path(folder), network=network)
        return {"reused": exported.reused}

    def bandwidth(self, *, device: Device, threads: int) -> dict[str, Any]:
        """Measure what the memory moves."""
        from prune_deploy.evaluate.bandwidth import memory_bandwidth

        return {"gb_s": memory_bandwidth(device, threads)}

    def trace(self, **header: Any) -> dict[str, Any]:
        """Trace an artifact."""
        from prune_deploy.execution.trace_job import trace_job

        return trace_job(header)

    def _at_stage(self, asked: ExportSpec, stages: list[float]) -> Network:
        from prune_deploy.execution.staged import StagedModel

        staged, self._staged = self._staged, None  # a stage that fails leaves a model that nobody can go on with
        if staged is None or not staged.can_reach(asked, stages):
            staged = StagedModel(asked)
        network = staged.go_to(asked, stages)
        self._staged = staged
        return network


def main() -> None:
    """Entry point of the child."""
    from prune_deploy.execution.service import run_child

    run_child(Workshop().answer)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
