"""Measuring from Python: bench, compare and sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from prune_deploy.api.arguments import Folder, folder_or_none, folders_of, names_of, require, sizes_of, spec_of, watcher_of
from prune_deploy.errors import InputError
from prune_deploy.files import as_folder, resolved
from prune_deploy.interfaces import Progress
from prune_deploy.runs import PROFILES_DIR, Run, new_run_id, read_run
from prune_deploy.specs import (
    MeasureSpec,
    RunOptions,
    SweepSpec,
)

if TYPE_CHECKING:
    from prune_deploy.reporting.figures.run_pairs import PairedCase
    from prune_deploy.workflows.bench import BenchRequest


def bench(
    bundles: Folder | Iterable[Folder],
    *,
    backend: str | Sequence[str] = "eager,compile,ort,trt",
    precision: str | Sequence[str] = "fp32",
    batch: int | Sequence[int] = 1,
    measure: MeasureSpec | None = None,
    out: Folder | None = None,
    progress: Progress | None = None,
    **fields: Any,
) -> Run:
    """Measure bundles against their dense models.

    Missing dense models are exported first. `backend` and `precision` are names, in a sequence or separated by commas, and
    `batch` is one size or several. `measure` sets how to measure, or its fields do as keywords: `bench(bundle, backend="ort",
    rigor="quick", budget_s=10)`. `out` is the run's folder, by default a new one in profiles/. Candidates run in processes of
    their own.

    Raises:
        InputError: a folder is no bundle, or a backend or precision is unknown.
        CannotRunError: nothing of what was asked for can run here.
        StorageError: the disk is full or the folder cannot be written.
    """
    from prune_deploy.workflows.bench import BenchRequest, bench_forecast, measure_all, plan_bench

    folders = folders_of(bundles)
    request = BenchRequest(
        bundles=folders,
        backends=names_of("backend", backend),
        precisions=names_of("precision", precision),
        batches=sizes_of(batch),
        spec=_measure_spec(measure, fields),
    )
    watcher, folder = watcher_of(progress), _run_folder("bench", folders, out)
    planned = plan_bench(request, watcher)
    forecast = bench_forecast(planned, request.spec, watcher)
    for _ in measure_all(planned, request.spec, folder, ("bench", *map(str, folders)), forecast):
        pass
    return read_run(folder)


@overload
def compare(first: Run, second: Run) -> list[PairedCase]: ...


@overload
def compare(
    first: Folder,
    second: Folder,
    *,
    backend: str | Sequence[str] = ...,
    precision: str | Sequence[str] = ...,
    batch: int | Sequence[int] = ...,
    measure: MeasureSpec | None = ...,
    out: Folder | None = ...,
    progress: Progress | None = ...,
    **fields: Any,
) -> Run: ...


def compare(
    first: Run | Folder,
    second: Run | Folder,
    *,
    backend: str | Sequence[str] = "ort",
    precision: str | Sequence[str] = "fp32",
    batch: int | Sequence[int] = 1,
    measure: MeasureSpec | None = None,
    out: Folder | None = None,
    progress: Progress | None = None,
    **fields: Any,
) -> Run | list[PairedCase]:
    """Compare two bundles, measured now, or two runs measured before.

    Of two bundles the first is the baseline, and the keywords are those of `bench`. Two runs, as `read_run` and `bench` return
    them, are compared through each one's own dense model.

    Raises:
        InputError: as `bench`, or one is a run and the other a bundle, or two runs have no case in common.
        CannotRunError, StorageError: as `bench`.
    """
    from prune_deploy.reporting.figures.run_pairs import pair_runs
    from prune_deploy.workflows.bench import BenchRequest, bench_forecast, measure_all, plan_pair

    if isinstance(first, Run) and isinstance(second, Run):
        if not (pairs := list(pair_runs(first, second))):
            raise InputError("the runs have no case in common", fix="compare runs of the same bundles, backends and batches")
        return pairs
    if isinstance(first, Run) or isinstance(second, Run):
        raise InputError("one of the two is a run, the other is not", fix="compare two bundles, or two runs")
    pair, watcher = (as_folder(first), as_folder(second)), watcher_of(progress)
    request = BenchRequest(
        bundles=pair,
        backends=names_of("backend", backend),
        precisions=names_of("precision", precision),
        batches=sizes_of(batch),
        spec=_measure_spec(measure, fields),
    )
    folder = _run_folder("compare", pair, out)
    planned = plan_pair(*pair, request)
    forecast = bench_forecast(planned, request.spec, watcher)
    for _ in measure_all(planned, request.spec, folder, _compare_line(pair, request), forecast):
        pass
    return read_run(folder)


def sweep(spec: SweepSpec, out: Folder | None = None, *, share_machine: bool = False, progress: Progress | None = None) -> Run:
    """Make and measure all variants of a sweep.

    An interrupted sweep continues: the same `spec` finds its run again. `out` is the run's folder, by default one in profiles/,
    named after the request. With `share_machine` another sweep may measure on this machine at the same time.

    Raises:
        InputError, CannotRunError: the sweep describes nothing that can run here, or its folder holds another run.
        StorageError: the disk is full or the folder cannot be written.
    """
    from prune_deploy.workflows.sweep import folder_of, open_sweep

    require(SweepSpec, spec, "spec", "for example `prune_deploy.presets.preset('quick')`, or a SweepSpec of your own")
    watcher = watcher_of(progress)
    folder = folder_or_none(out) or folder_of(spec, f"sweep-{spec.blocks[0].models[0]}")
    opened = open_sweep(spec, folder, ("sweep", "--resume", str(folder)))
    if opened.todo:
        for _ in opened.run(opened.forecast(watcher), share_machine=share_machine):
            pass
    return read_run(folder)


def _measure_spec(spec: MeasureSpec | None, fields: dict[str, Any]) -> MeasureSpec:
    """Build the MeasureSpec of a spec or its fields.

    Fields of RunOptions may stand among them: `threads=4` is `options=RunOptions(threads=4)`.
    """
    options = {name: fields.pop(name) for name in list(fields) if name in RunOptions.__dataclass_fields__}
    if not options:
        return spec_of(MeasureSpec, spec, fields)
    base = require(RunOptions, fields.pop("options", RunOptions()), "options", "for example `options=RunOptions(threads=4)`")
    return spec_of(MeasureSpec, spec, {**fields, "options": replace(base, **options)})


def _run_folder(command: str, bundles: Sequence[Path], out: Folder | None) -> Path:
    return folder_or_none(out) or PROFILES_DIR / new_run_id(command, "-".join(resolved(each).name for each in bundles))


def _compare_line(pair: Sequence[Path], request: BenchRequest) -> list[str]:
    """Return the command line of the same comparison.

    The run's record names it.
    """
    batches = ",".join(map(str, request.batches))
    words = ["--backend", ",".join(request.backends), "--precision", ",".join(request.precisions), "--batch", batches]
    return ["compare", *map(str, pair), *words, "--rigor", request.spec.rigor]
