"""Building, pruning and exporting of models from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_deploy.api.arguments import Folder, spec_of
from prune_deploy.errors import InputError
from prune_deploy.interfaces import Progress
from prune_deploy.records import WidthPlan
from prune_deploy.specs import (
    IN_MEMORY,
    EngineSpec,
    ExportSpec,
    ModelSpec,
    Precision,
    PruneSpec,
    QuantizeSpec,
)

if TYPE_CHECKING:
    from torch import nn

    from prune_deploy.models import LoadedModel
    from prune_deploy.pipeline import Exported
    from prune_deploy.pruning.pruner import Pruned


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
    request = spec_of(PruneSpec, spec, fields)
    if isinstance(model, LoadedModel):
        return pruner.prune(model.module, request, input_size or model.resolved.input_size, plan=plan)
    return pruner.prune(model, request, input_size or _input_size(model), plan=plan)


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
    request = spec_of(PruneSpec, prune, fields) if prune is not None or fields else None
    spec = ExportSpec(model=_model_spec(model, {}), prune=request, **rest)
    return pipeline.export_bundle(spec, place, force=force, progress=progress)


def _model_spec(model: str | ModelSpec, fields: dict[str, Any]) -> ModelSpec:
    return spec_of(ModelSpec, model, fields) if isinstance(model, ModelSpec) else ModelSpec(name=model, **fields)


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
