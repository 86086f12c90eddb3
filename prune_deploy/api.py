"""The Python API: one function for each command.

An option of a command is here a keyword or the field of a spec, by the same name. Folders are given as text, as a path or as what
`export_bundle` and `finetune` return. Nothing is printed: pass a `progress` to follow the work.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from prune_deploy.errors import InputError
from prune_deploy.interfaces import Progress, Silent
from prune_deploy.records import WidthPlan
from prune_deploy.runs import PROFILES_DIR, Run, new_run_id, read_run
from prune_deploy.specs import (
    IN_MEMORY,
    EngineSpec,
    ExportSpec,
    FinetuneSpec,
    MeasureSpec,
    ModelSpec,
    Precision,
    PruneSpec,
    QuantizeSpec,
    RunOptions,
    SweepSpec,
)

if TYPE_CHECKING:
    from torch import nn

    from prune_deploy.models import LoadedModel
    from prune_deploy.pipeline import Exported
    from prune_deploy.pruning.pruner import Pruned
    from prune_deploy.reporting.figures.run_pairs import PairedCase
    from prune_deploy.workflows.bench import BenchRequest
    from prune_deploy.workflows.evaluate import EvaluationRow
    from prune_deploy.workflows.finetune import Finetuned

Folder = str | os.PathLike[str]
"""A folder as text, as a path, or as what made it: `Exported` and `Finetuned` are paths of their bundles."""

S = TypeVar("S")


def build_model(model: str | ModelSpec, **fields: Any) -> LoadedModel:
    """Build a timm model in eval mode, with weights of known origin.

    The model records the origin of its weights. `model` is a timm name or a short code, and `fields` are those of `ModelSpec`. A
    `ModelSpec` takes no fields beside it.

    Raises:
        InputError: an unknown model, an input size that it refuses, or a weights file that does not fit.
        CannotRunError: pretrained weights cannot be fetched.
    """
    from prune_deploy.models import create_model

    return create_model(_model_spec(model, fields))


def prune(
    model: LoadedModel | nn.Module,
    spec: PruneSpec | None = None,
    *,
    plan: WidthPlan | None = None,
    input_size: tuple[int, int, int] | None = None,
    **fields: Any,
) -> Pruned:
    """Remove channels from `model` in place.

    The result holds the widths, the channels and the receipt. Ask with a `PruneSpec`, with its fields, as in `prune(model,
    ratio=0.5)`, or with the widths of `plan`. `input_size` is (channels, height, width) in pixels. It may be left out for models
    from `build_model` and from timm.

    Raises:
        PruningError: nothing would be removed, or less than asked. The model is then left as it was.
        InputError: the request does not fit the model, or its input size is not known.
    """
    from prune_deploy.models import LoadedModel
    from prune_deploy.pruning import pruner

    if plan is not None and spec is None:
        fields = {"plan": IN_MEMORY, **fields}
    asked = _spec(PruneSpec, spec, fields)
    if isinstance(model, LoadedModel):
        return pruner.prune(model.module, asked, input_size or model.resolved.input_size, plan=plan)
    return pruner.prune(model, asked, input_size or _input_size(model), plan=plan)


def export_bundle(
    model: str | ModelSpec | ExportSpec | LoadedModel,
    out: Folder | None = None,
    *,
    pruned: Pruned | None = None,
    prune: PruneSpec | None = None,
    precisions: Sequence[Precision] = ("fp32", "fp16"),
    quantize: QuantizeSpec | None = None,
    engine: EngineSpec | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **fields: Any,
) -> Exported:
    """Export a model as a bundle.

    The bundle holds weights, ONNX files, TensorRT engines and a receipt. A bundle that already exists is returned as it is.

    - A name or a `ModelSpec` is built, and pruned as `prune` says or as its fields do: `export_bundle("resnet50", ratio=0.5)`.
    - A model from `build_model` is exported as it is. `pruned` is what `prune` returned for it.
    - An `ExportSpec` says all of it, and takes nothing beside it but `out`, `force` and `progress`.

    `out` is the bundle's folder, by default one in engines/, named after the request. `force` replaces a bundle of another
    request there.

    Raises:
        InputError, PruningError, ParityError, BuildError, CannotRunError, StorageError: as the stages of the export document.
    """
    from prune_deploy import pipeline
    from prune_deploy.models import LoadedModel

    place = None if out is None else Path(out)
    if isinstance(model, ExportSpec):
        if pruned is not None or prune is not None or fields:
            raise InputError("an ExportSpec says all of it, and more was given", fix="give the spec alone, or its parts")
        return pipeline.export_bundle(model, place, force=force, progress=progress)
    rest: dict[str, Any] = {"precisions": tuple(precisions), "quantize": quantize, "engine": engine or EngineSpec()}
    if isinstance(model, LoadedModel):
        if prune is not None or fields:
            raise InputError("a built model is pruned before it is exported", fix="for example `pruned=prune(model, ratio=0.5)`")
        spec = ExportSpec(model=model.resolved.spec, prune=None if pruned is None else pruned.receipt.request, **rest)
        return pipeline.export_module(model, spec, pruned, place, force=force, progress=progress)
    if pruned is not None:
        raise InputError("what was pruned is a model in memory, and a name was given", fix="give the model that was pruned")
    asked = _spec(PruneSpec, prune, fields) if prune is not None or fields else None
    spec = ExportSpec(model=_model_spec(model, {}), prune=asked, **rest)
    return pipeline.export_bundle(spec, place, force=force, progress=progress)


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
    from prune_deploy.workflows.bench import BenchRequest, measure_all, plan_bench

    folders = _folders(bundles)
    request = BenchRequest(
        bundles=folders,
        backends=_words(backend),
        precisions=_words(precision),
        batches=_numbers(batch),
        spec=_measure_spec(measure, fields),
    )
    watcher = progress or Silent()
    planned = plan_bench(request, watcher)
    folder = _run_folder("bench", folders, out)
    for _ in measure_all(planned, request.spec, folder, ("bench", *map(str, folders)), watcher):
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
    from prune_deploy.workflows.bench import BenchRequest, measure_all, plan_pair

    if isinstance(first, Run) and isinstance(second, Run):
        if not (pairs := list(pair_runs(first, second))):
            raise InputError("the runs have no case in common", fix="compare runs of the same bundles, backends and batches")
        return pairs
    if isinstance(first, Run) or isinstance(second, Run):
        raise InputError("one of the two is a run, the other is not", fix="compare two bundles, or two runs")
    pair = Path(first), Path(second)
    request = BenchRequest(
        bundles=pair,
        backends=_words(backend),
        precisions=_words(precision),
        batches=_numbers(batch),
        spec=_measure_spec(measure, fields),
    )
    folder = _run_folder("compare", pair, out)
    for _ in measure_all(plan_pair(*pair, request), request.spec, folder, _compare_line(pair, request), progress or Silent()):
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

    folder = Path(out) if out is not None else folder_of(spec, f"sweep-{spec.blocks[0].models[0]}")
    opened = open_sweep(spec, folder, ("sweep", "--resume", str(folder)))
    if opened.todo:
        for _ in opened.run(progress or Silent(), share_machine=share_machine):
            pass
    return read_run(folder)


def evaluate(
    bundles: Folder | Iterable[Folder],
    data: str,
    *,
    backend: str | Sequence[str] = "eager,ort",
    precision: str | Sequence[str] = (),
    progress: Progress | None = None,
    **fields: Any,
) -> list[EvaluationRow]:
    """Measure the accuracy of each file of bundles on labelled images.

    The result has a row for each file. `data` is "digits", "imagefolder:DIR" or another set of `parse_data`. Without `precision`
    a bundle's files are evaluated in all precisions that it has. `fields` are the others of `EvaluationRequest`, for example
    `data_samples=1000`.

    Raises:
        InputError: a folder is no bundle, or the data cannot be used.
        VerificationError: a bundle's files are not those that were exported.
        CannotRunError: nothing of what was asked for can run here.
    """
    from prune_deploy.workflows.evaluate import EvaluationRequest, evaluate_all, plan_evaluation

    request = EvaluationRequest(
        bundles=_folders(bundles), backends=_words(backend), precisions=_words(precision), data=data, **fields
    )
    return list(evaluate_all(plan_evaluation(request), request, progress or Silent()))


def finetune(
    bundle: Folder,
    spec: FinetuneSpec | None = None,
    out: Folder | None = None,
    *,
    device: str = "cpu",
    force: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
    **fields: Any,
) -> Finetuned:
    """Train a bundle's weights further and write a new bundle.

    The new bundle has the same kinds of files. Ask with a `FinetuneSpec` or with its fields, as in `finetune(bundle,
    data="digits", epochs=5)`. `out` is the new folder, by default beside the bundle. An interrupted training continues, unless
    `restart` discards it. `device` is "cpu" or "cuda".

    Raises:
        InputError: no bundle or a damaged one, images that do not fit, or an unfinished training of other settings.
        OutputError: the loss became something that is no finite number.
        CannotRunError, StorageError, BuildError, ParityError: as the training's device and `export_bundle` document.
    """
    from prune_deploy.workflows.finetune import FinetuneRequest
    from prune_deploy.workflows.finetune import finetune as train

    request = FinetuneRequest(
        bundle=Path(bundle),
        spec=_spec(FinetuneSpec, spec, fields),
        out=None if out is None else Path(out),
        device=device,
        force=force,
        restart=restart,
    )
    return train(request, progress or Silent())


def _model_spec(model: str | ModelSpec, fields: dict[str, Any]) -> ModelSpec:
    return _spec(ModelSpec, model, fields) if isinstance(model, ModelSpec) else ModelSpec(name=model, **fields)


def _spec(kind: type[S], spec: S | None, fields: dict[str, Any]) -> S:
    """Return the given spec, or build one from the given fields."""
    if spec is None:
        return kind(**fields)
    if fields:
        raise InputError(f"both a {kind.__name__} and its fields were given: {', '.join(fields)}", fix="give one of the two")
    return spec


def _measure_spec(spec: MeasureSpec | None, fields: dict[str, Any]) -> MeasureSpec:
    """Build the MeasureSpec of a spec or its fields.

    Fields of RunOptions may stand among them: `threads=4` is `options=RunOptions(threads=4)`.
    """
    options = {name: fields.pop(name) for name in list(fields) if name in RunOptions.__dataclass_fields__}
    if not options:
        return _spec(MeasureSpec, spec, fields)
    base = fields.pop("options", RunOptions())
    return _spec(MeasureSpec, spec, {**fields, "options": replace(base, **options)})


def _input_size(module: nn.Module) -> tuple[int, int, int]:
    """Return the input size that timm's configuration of a model names."""
    config = getattr(module, "pretrained_cfg", None)
    size = config.get("input_size") if isinstance(config, dict) else None
    if size is None:
        raise InputError(
            "the model does not say what input it takes", fix="for example `input_size=(3, 224, 224)`", field="input_size"
        )
    channels, height, width = size
    return int(channels), int(height), int(width)


def _folders(bundles: Folder | Iterable[Folder]) -> tuple[Path, ...]:
    return (Path(bundles),) if isinstance(bundles, (str, os.PathLike)) else tuple(Path(each) for each in bundles)


def _words(names: str | Sequence[str]) -> tuple[Any, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else tuple(names)


def _numbers(batch: int | Sequence[int]) -> tuple[int, ...]:
    return (batch,) if isinstance(batch, int) else tuple(batch)


def _run_folder(command: str, bundles: Sequence[Path], out: Folder | None) -> Path:
    return Path(out) if out is not None else PROFILES_DIR / new_run_id(command, "-".join(each.resolve().name for each in bundles))


def _compare_line(pair: Sequence[Path], request: BenchRequest) -> list[str]:
    """Return the command line of the same comparison.

    The run's record names it.
    """
    batches = ",".join(map(str, request.batches))
    words = ["--backend", ",".join(request.backends), "--precision", ",".join(request.precisions), "--batch", batches]
    return ["compare", *map(str, pair), *words, "--rigor", request.spec.rigor]
