"""Layer times of an artifact from its runtime's profiler.

Every runtime gives the same form: one table per layer and one Chrome trace. Each module `…_trace` of this package defines
`TRACER` for one kind of runtime. The modules are discovered, without a list. A trace opens the artifact by itself, because a
session that a profiler has touched is never timed for a comparison.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from functools import cache
from math import fsum
from pathlib import Path

from prune_deploy.backends import usable
from prune_deploy.errors import CannotRunError, InputError, storage_errors
from prune_deploy.files import write_bytes, write_text
from prune_deploy.records import BETWEEN_LAYERS, LayerTime, Trace, to_json
from prune_deploy.specs import Case, RunOptions
from prune_deploy.tensors import Arrays
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
    inputs: Arrays,
    options: RunOptions,
    folder: Path,
    stem: str,
    case: Case,
    label: str,
    runs: int = DEFAULT_RUNS,
) -> Trace:
    """Run an artifact without and with its profiler, and write the trace.

    The artifact is opened once and runs `runs` times each way. `inputs` are as for `Session.bind`. Two
    files are written: <stem>.json.gz is a Chrome trace for Perfetto. <stem>.layers.json is the record that is returned, and it is
    written only after the first is complete.

    Raises:
        InputError: unknown backend, or `runs` is not positive.
        CannotRunError: it cannot run or be traced here.
        StorageError: the disk is full or the folder cannot be written.
    """
    if runs < 1:
        raise InputError(f"`runs` must be at least 1, got {runs}", fix=f"{DEFAULT_RUNS} is usual", field="runs")
    runtime = usable(backend)
    recording = tracer_for(backend).record(runtime, artifact, inputs, options, runs)
    trace = _as_trace(recording, case, label, runs, f"{stem}.json.gz")
    with storage_errors(folder, every=True):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / trace.chrome_file, packed(recording.chrome, label=f"{label} {backend}"))
    write_text(folder / f"{stem}.layers.json", to_json(trace))
    return trace


def _as_trace(recording: Recording, case: Case, label: str, runs: int, chrome_file: str) -> Trace:
    return Trace(
        case=case,
        label=label,
        runs=runs,
        run_ms=recording.run_ms,
        untraced_ms=recording.untraced_run_ms,
        overhead=recording.run_ms / recording.untraced_run_ms - 1,
        layers=whole_run(recording.layers, recording.run_ms),
        chrome_file=chrome_file,
        settings=recording.settings,
        warnings=(*recording.warnings, *_missing(recording)),
    )


def whole_run(layers: tuple[LayerTime, ...], run_ms: float) -> tuple[LayerTime, ...]:
    """Return the layers of a run, slowest first, with shares.

    The time between layers is a row of its own. The rows add up to `run_ms`. Only layers that overlap on a device add up to more,
    and leave nothing between them.
    """
    between_us = 1e3 * run_ms - fsum(layer.time_us for layer in layers)
    rows = [*layers, LayerTime(name=BETWEEN_LAYERS, op="", time_us=max(0.0, between_us), share=0.0)]
    total_us = fsum(row.time_us for row in rows)
    return tuple(replace(row, share=row.time_us / total_us) for row in sorted(rows, key=lambda row: -row.time_us))


def _missing(recording: Recording) -> tuple[str, ...]:
    """Report layers that overlap, or much time between them."""
    layers_ms = fsum(layer.time_us for layer in recording.layers) / 1e3
    added = f"layers add up to {layers_ms:.3g} of {recording.run_ms:.3g} ms"
    if layers_ms > recording.run_ms:
        return (f"{added}: some of them overlap",)
    return (f"{added}: the rest is {recording.rest}",) if layers_ms < _ACCOUNTED * recording.run_ms else ()
