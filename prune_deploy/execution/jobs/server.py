"""The build worker: a child that makes bundles, traces, accuracies and bandwidths.

It keeps torch imported, and a staged model, between them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_deploy.execution.jobs.accuracy import accuracy_job
from prune_deploy.execution.jobs.compatibility import compatibility_job
from prune_deploy.execution.jobs.trace import trace_job
from prune_deploy.execution.workers.protocol import Message
from prune_deploy.execution.workers.server import run_child
from prune_deploy.records import from_json
from prune_deploy.specs import Device, ExportSpec

if TYPE_CHECKING:
    from prune_deploy.execution.jobs.staged_export import StagedModel
    from prune_deploy.pipeline import Network


class BuildWorker:
    """Handler of a coordinator's requests, sent by `BuildWorkerClient`."""

    def __init__(self) -> None:
        self._staged: StagedModel | None = None

    def answer(self, message: Message) -> tuple[dict[str, Any], bytes]:
        """Handle a message."""
        header = dict(message.header)
        kind = header.pop("kind")
        handlers: dict[str, Callable[..., dict[str, Any]]] = {
            "export": self.export,
            "bandwidth": self.bandwidth,
            "trace": lambda **fields: trace_job(fields),
            "accuracy": lambda **fields: accuracy_job(fields),
            "compatibility": lambda **fields: compatibility_job(fields),
        }
        return handlers[kind](**header), b""

    def export(self, *, spec: str, folder: str, stages: list[float]) -> dict[str, Any]:
        """Make a bundle."""
        from prune_deploy.pipeline import export_bundle

        request = from_json(ExportSpec, spec, source="the request")
        network = (lambda: self._at_stage(request, stages)) if stages else None
        exported = export_bundle(request, Path(folder), network=network)
        return {"reused": exported.reused}

    def bandwidth(self, *, device: Device, threads: int) -> dict[str, Any]:
        """Measure the bandwidth of the memory."""
        from prune_deploy.evaluation.bandwidth import memory_bandwidth

        return {"gb_s": memory_bandwidth(device, threads)}

    def _at_stage(self, request: ExportSpec, stages: list[float]) -> Network:
        from prune_deploy.execution.jobs.staged_export import StagedModel

        staged, self._staged = self._staged, None  # a stage that fails leaves a model that cannot be pruned on
        if staged is None or not staged.can_reach(request, stages):
            staged = StagedModel(request)
        network = staged.go_to(request, stages)
        self._staged = staged
        return network


def main() -> None:
    """Run as a build worker."""
    run_child(BuildWorker().answer)


if __name__ == "__main__":
    main()
