"""Tracer of TensorRT and TensorRT-RTX engines.

It uses their per-layer profiler and the engine's inspector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prune_deploy.interfaces import Backend
from prune_deploy.records import LayerTime
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import Arrays
from prune_deploy.tracing.chrome import complete_event
from prune_deploy.tracing.onnx_graph import ExportedGraph
from prune_deploy.tracing.recording import Recording, mean_over, one_run_ms, typical_runs, warm_up
from prune_deploy.tracing.trt_layers import Described, describe, layer_of

if TYPE_CHECKING:
    from prune_deploy.backends.tensorrt.session import TrtSession

_REST = "launches, and the device waiting between layers"
_GRAPH = "layers were timed launch by launch: a CUDA graph runs as one piece"
_UNNAMED = "the bundle's ONNX file is not beside the engine: layers have TensorRT's names"
_GAPS = "TensorRT reports durations only: in the Chrome trace layers follow each other without gaps"

Reports = list[tuple[str, float]]
"""Layers and their milliseconds in the order of one run."""


class TrtTracer:
    """Tracer of the layers of an engine."""

    backends = ("trt",)

    def environment(self, options: RunOptions) -> Mapping[str, str]:  # noqa: ARG002 - the same whatever is asked for
        """No variables are needed."""
        return {}

    def record(self, backend: Backend, artifact: Path, inputs: Arrays, options: RunOptions, runs: int) -> Recording:
        """Load an engine and trace it, launch by launch.

        Raises:
            PruneDeployError: as the backend's `open`, `run` and `check`.
        """
        with backend.open(artifact, inputs, replace(options, variant="")) as opened:
            session = cast("TrtSession", opened)
            warm_up(session)
            untraced = tuple(one_run_ms(session) for _ in range(runs))
            reports, traced = _clocked(session, runs)
            session.check()
            described = describe(session.layer_information())
            settings = session.settings()
        onnx = artifact.parent / f"{artifact.name.partition('.')[0]}.onnx"
        exported = ExportedGraph.read(onnx) if onnx.is_file() else None
        warnings = [_GAPS, *([_GRAPH] if options.variant else []), *([_UNNAMED] if exported is None else [])]
        return Recording(
            layers=_layers(reports, typical_runs(traced), described, exported),
            chrome={"traceEvents": _events(reports), "displayTimeUnit": "ms"},
            traced_ms=traced,
            untraced_ms=untraced,
            settings=settings,
            rest=_REST,
            warnings=tuple(warnings),
        )


def _clocked(session: TrtSession, runs: int) -> tuple[list[Reports], tuple[float, ...]]:
    """Return the profiler's report of each run, and the durations in milliseconds."""
    reports: list[Reports] = []
    traced = []
    with session.layer_clock() as reported:
        for _ in range(runs):
            reported.clear()
            traced.append(one_run_ms(session))
            reports.append(list(reported))
    return reports, tuple(traced)


def _layers(
    reports: Sequence[Reports], runs: Sequence[int], described: Mapping[str, Described], exported: ExportedGraph | None
) -> tuple[LayerTime, ...]:
    """Return a row for each layer that TensorRT reported.

    Its time is the mean over `runs`.
    """
    times_us: dict[str, list[float]] = {}
    for number, run in enumerate(reports):
        for name, milliseconds in run:
            times_us.setdefault(name, [0.0] * len(reports))[number] += milliseconds * 1e3
    return tuple(layer_of(name, mean_over(runs, each), described.get(name), exported) for name, each in times_us.items())


def _events(reports: Sequence[Reports]) -> list[dict[str, Any]]:
    """Return Chrome events, one run after the other."""
    events, now_us = [], 0.0
    for number, run in enumerate(reports):
        begin_us = now_us
        for name, milliseconds in run:
            events.append(complete_event(name, begin_us=now_us, duration_us=milliseconds * 1e3, track=1))
            now_us += milliseconds * 1e3
        events.append(complete_event(f"run {number}", begin_us=begin_us, duration_us=now_us - begin_us))
    return events


TRACER = TrtTracer()
