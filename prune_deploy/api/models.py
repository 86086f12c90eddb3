"""Building, pruning and exporting of models from Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prune_deploy.api.arguments import Folder, folder_or_none, module_of, names_of, require, spec_of, watcher_of
from prune_deploy.errors import InputError
from prune_deploy.interfaces import Progress
from prune_deploy.records import WidthPlan
from prune_deploy.specs import (
    IN_MEMORY,
    EngineLibrary,
    EngineSpec,
    ExportSpec,
    ModelSpec,
    Precision,
    PruneSpec,
    QuantizeSpec,
    as_model_spec,
    require_input_size,
)
from prune_deploy.specs.checked import fitting

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

    named = as_model_spec(model)
    return create_model(spec_of(ModelSpec, model, fields) if fields else named)


def prune(
    model: LoadedModel | nn.Module,
    spec: PruneSpec | float | None = None,
    input_size: tuple[int, int, int] | None = None,
    *,
    plan: WidthPlan | None = None,
    **fields: Any,
) -> Pruned:
    """Remove channels from `model` in place.

    The result holds the widths, the channels and the receipt. Ask with a ratio, as in `prune(model, 0.5)`, with a `PruneSpec`, with
    its fields, or with the widths of `plan`. `input_size` is (channels, height, width) in pixels. It may be left out for models
    from `build_model` and from timm. A module that torch.compile returned is pruned in place too.

    Raises:
        PruningError: nothing would be removed, or less than asked. The model is then left as it was.
        InputError: the request does not fit the model, or its input size is not known.
    """
    from prune_deploy.models import LoadedModel
    from prune_deploy.pruning import pruner

    if tensors := fields.keys() & {"example_input", "example_inputs"}:
        raise InputError(f"`{tensors.pop()}` is not needed", fix="give its size: `input_size=(3, 224, 224)`", field="input_size")
    if plan is not None:
        require(
            WidthPlan,
            plan,
            "plan",
            "a `WidthPlan` is the `plan` of what `prune` returned; a file's path is `PruneSpec(plan=PATH)`",
        )
        fields = {"plan": IN_MEMORY, **fields} if spec is None else fields
    size = None if input_size is None else _size(input_size)
    if isinstance(model, LoadedModel):
        request = spec_of(PruneSpec, spec, fields)
        return pruner.prune(model.module, request, size or model.resolved.input_size, plan=plan)
    module, request = module_of(model), spec_of(PruneSpec, spec, fields)
    return pruner.prune(module, request, size or _input_size(module), plan=plan)


def export_bundle(
    model: str | ModelSpec | ExportSpec | LoadedModel,
    out: Folder | None = None,
    *,
    pruned: Pruned | None = None,
    prune: PruneSpec | float | None = None,
    precisions: str | Sequence[Precision] = ("fp32", "fp16"),
    quantize: QuantizeSpec | None = None,
    engine: EngineSpec | EngineLibrary | None = None,
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

    how: dict[str, Any] = {"force": force, "progress": watcher_of(progress)}
    place = folder_or_none(out)
    if isinstance(model, ExportSpec):
        if pruned is not None or prune is not None or fields:
            raise InputError("an ExportSpec says all of it, and more was given", fix="give the spec alone, or its parts")
        return pipeline.export_bundle(model, place, **how)
    rest: dict[str, Any] = {
        "precisions": names_of("precisions", precisions),
        "quantize": None if quantize is None else spec_of(QuantizeSpec, quantize, {}),
        "engine": spec_of(EngineSpec, engine, {}),
    }
    request = spec_of(PruneSpec, prune, fields) if prune is not None or fields else None
    if isinstance(model, LoadedModel):
        return pipeline.export_module(model, *_of_module(model, request, pruned, rest), place, **how)
    if pruned is not None:
        raise InputError("what was pruned is a model in memory, and no model was given", fix="give the model that was pruned")
    return pipeline.export_bundle(ExportSpec(model=_named(model), prune=request, **rest), place, **how)


def _of_module(
    model: LoadedModel, request: PruneSpec | None, pruned: Pruned | None, rest: dict[str, Any]
) -> tuple[ExportSpec, Pruned | None]:
    """Return the request that a model in memory meets.

    How it was pruned comes with it.
    """
    from prune_deploy.pruning.pruner import Pruned

    if request is not None:
        raise InputError("a built model is pruned before it is exported", fix="for example `pruned=prune(model, ratio=0.5)`")
    if pruned is not None:
        require(Pruned, pruned, "pruned", "give what `prune` returned")
    return ExportSpec(model=model.resolved.spec, prune=None if pruned is None else pruned.receipt.request, **rest), pruned


def _named(model: object) -> ModelSpec:
    """Return the request for a network that is given by its name."""
    from torch import nn

    if isinstance(model, nn.Module):
        raise InputError(
            "a module alone does not say how it is built again",
            fix="build it by its name: `build_model(name, weights=PATH)`, where PATH holds its state dict",
            field="model",
        )
    return as_model_spec(model)


def _size(size: Sequence[int]) -> tuple[int, int, int]:
    """Return the size of one image, checked."""
    numbers: tuple[int, ...] = fitting("input_size", tuple[int, int, int], size)
    require_input_size(numbers)
    channels, height, width = numbers
    return channels, height, width


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
