"""Layer times of an artifact from its runtime's profiler.

Every runtime gives the same form: one table per layer and one Chrome trace. Each module `…_trace` of this package defines
`TRACER` for one kind of runtime. The modules are discovered, without a list. A trace opens the artifact by itself, because a
session that a profiler has touched is never timed for a comparison.
"""

from __future__ import annotations

import importlib
import pkgutil
import statistics
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from prune_deploy.backends import usable
from prune_deploy.errors import CannotRunError, InputError, storage_errors
from prune_deploy.records import LayerTime, Trace, to_json
from prune_deploy.specs import Case, RunOptions
from prune_deploy.store import write_bytes, write_text
from prune_deploy.tracing.chrome import packed
from prune_deploy.tracing.recording import Recording, Tracer

DEFAULT_RUNS = 5
_ACCOUNTED = 0.9
_TRACER_ENDING = "_trace"


@cache
def discover() -> dict[str, Tracer]:
    """Return every tracer by the names of the backends it can trace.

    Importing a tracer's module must not import its runtime.
    """
    tracers: dict[str, Tracer] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name.endswith(_TRACER_ENDING):
            tracer = importlib.import_module(f"{__name__}.{module.name}").TRACER
            tracers.update(dict.fromkeys(tracer.backends, tracer))
    return dict(sorted(tracers.items()))


def tracer_for(backend: str) -> Tracer:
    """Return the tracer of `backend`.

    Raises:
        CannotRunError: no tracer supports it.
    """
    if backend not in discover():
        raise CannotRunError(f"backend {backend} cannot be traced", fix=f"trace one of {', '.join(discover())}")
    return discover()[backend]


def trace_artifact(
    backend: str,
    artifact: Path,
    inputs: np.ndarray[Any, Any],
    options: RunOptions,
    folder: Path,
    stem: str,
    case: Case,
    label: str,
    runs: int = DEFAULT_RUNS,
) -> Trace:
    """Run an artifact without and with its profiler, and write the trace.

    The artifact is opened once and runs `runs` times each way. `inputs` has shape (batch, channels, height, width), float32. Two
    files are written: <stem>.json.gz is a Chrome trace for Perfetto. <stem>.layers.json is the record that is returned, and it is
    written only after the first is complete.

    Raises:
        InputError: unknown backend, or `runs` is not positive.
        CannotRunError: it cannot run or be traced here.
        StorageError: the disk is full or the folder cannot be written.
    """
    if runs < 1:
        raise InputError(f"--runs must be at least 1, got {runs}", fix=f"{DEFAULT_RUNS} is usual")
    runtime = usable(backend)
    recording = tracer_for(backend).record(runtime, artifact, inputs, options, runs)
    trace = _as_trace(recording, case, label, runs, f"{stem}.json.gz")
    with storage_errors(folder, every=True):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / trace.chrome_file, packed(recording.chrome, label=f"{label} {backend}"))
    write_text(folder / f"{stem}.layers.json", to_json(trace))
    return trace


def _as_trace(recording: Recording, case: Case, label: str, runs: int, chrome_file: str) -> Trace:
    run_ms, untraced_ms = statistics.median(recording.traced_ms), statistics.median(recording.untraced_ms)
    return Trace(
        case=case,
        label=label,
        runs=runs,
        run_ms=run_ms,
        untraced_ms=untraced_ms,
        overhead=run_ms / untraced_ms - 1,
        layers=with_shares(recording.layers),
        chrome_file=chrome_file,
        settings=recording.settings,
        notes=(*recording.notes, *_missing(recording)),
    )


def with_shares(layers: tuple[LayerTime, ...]) -> tuple[LayerTime, ...]:
    """Return the layers, slowest first, with their shares of the total."""
    total_us = sum(layer.time_us for layer in layers)
    ordered = sorted(layers, key=lambda layer: -layer.time_us)
    return tuple(replace(layer, share=layer.time_us / total_us if total_us else 0.0) for layer in ordered)


def _missing(recording: Recording) -> tuple[str, ...]:
    """Report the time of a run outside of its layers, if large."""
    layers_ms = sum(layer.time_us for layer in recording.layers) / 1e3
    run_ms = statistics.median(recording.traced_ms)
    if layers_ms >= _ACCOUNTED * run_ms:
        return ()
    return (f"layers add up to {layers_ms:.3g} of {run_ms:.3g} ms: the rest is {recording.rest}",)
