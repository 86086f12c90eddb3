"""Accuracy and fine-tuning from Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from prune_deploy.api.arguments import Folder, folder_or_none, folders_of, names_of, spec_of, watcher_of
from prune_deploy.files import as_folder
from prune_deploy.interfaces import Progress
from prune_deploy.specs import Device, FinetuneSpec

if TYPE_CHECKING:
    from prune_deploy.workflows.evaluate import EvaluationRow
    from prune_deploy.workflows.finetune import Finetuned


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
        bundles=folders_of(bundles),
        backends=names_of("backend", backend),
        precisions=names_of("precision", precision),
        data=data,
        **fields,
    )
    return list(evaluate_all(plan_evaluation(request), request, watcher_of(progress)))


def finetune(
    bundle: Folder,
    spec: FinetuneSpec | str | None = None,
    out: Folder | None = None,
    *,
    device: Device = "cpu",
    force: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
    **fields: Any,
) -> Finetuned:
    """Train a bundle's weights further and write a new bundle.

    The new bundle has the same kinds of files. Ask with a `FinetuneSpec` or with its fields, as in `finetune(bundle,
    "digits", epochs=5)`. `out` is the new folder, by default beside the bundle. An interrupted training continues, unless
    `restart` discards it. `device` is "cpu" or "cuda".

    Raises:
        InputError: no bundle or a damaged one, images that do not fit, or an unfinished training of other settings.
        OutputError: the loss became something that is no finite number.
        CannotRunError, StorageError, BuildError, ParityError: as the training's device and `export_bundle` document.
    """
    from prune_deploy.workflows.finetune import FinetuneRequest
    from prune_deploy.workflows.finetune import finetune as train

    request = FinetuneRequest(
        bundle=as_folder(bundle),
        spec=spec_of(FinetuneSpec, spec, fields),
        out=folder_or_none(out),
        device=device,
        force=force,
        restart=restart,
    )
    return train(request, watcher_of(progress))
