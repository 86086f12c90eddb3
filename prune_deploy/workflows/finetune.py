"""Fine-tuning of a pruned bundle into a new one.

Its weights are trained further, its files made anew, and its parent is named.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from prune_deploy.backends.pytorch.settings import require_cuda_build
from prune_deploy.errors import InputError, OutputError, setting
from prune_deploy.export import bundle as bundles
from prune_deploy.files import resolved, write_bytes
from prune_deploy.interfaces import Progress
from prune_deploy.models import LoadedModel
from prune_deploy.notebook import HtmlView
from prune_deploy.pipeline import Network, export_bundle
from prune_deploy.pruning.masks import count_nonzero_params
from prune_deploy.pruning.pruner import Pruned
from prune_deploy.records import BundleRecord, Parent, Training, to_json
from prune_deploy.reporting.renderers.training_plot import training_plot
from prune_deploy.specs import Device, FinetuneSpec, parse_data
from prune_deploy.specs.checked import checked
from prune_deploy.store import BUNDLE_FILE, read_bundle, write_record
from prune_deploy.training.callbacks import KeepZeros
from prune_deploy.training.checkpoint import STATE_FILE, Checkpoint, History, Settings, different_options, discard, read_document
from prune_deploy.training.images import Images, augmentation
from prune_deploy.training.loop import Setup, Trainer
from prune_deploy.training.split import Division, divide
from prune_deploy.workflows.distillation_teacher import find_teacher
from prune_deploy.workflows.parents import parent_of, require_remakeable

PLOT_FILE = "training.png"
_PLOT_ROLE = "plot"


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneRequest:
    """A bundle to train further, with settings and the new one's place.

    Without a place the new bundle goes beside its parent. `device` is "cpu" or "cuda". `force` replaces a bundle that lies there,
    `restart` forgets an unfinished training.
    """

    bundle: Path
    spec: FinetuneSpec
    out: Path | None = None
    device: Device = "cpu"
    force: bool = False
    restart: bool = False

    @property
    def folder(self) -> Path:
        """The folder of the new bundle."""
        return self.out if self.out is not None else self.bundle.parent / f"{resolved(self.bundle).name}-finetuned"

    @property
    def checkpoint_folder(self) -> Path:
        """The folder of an unfinished training."""
        return self.folder.with_name(f"{self.folder.name}.training")


@dataclass(frozen=True, slots=True)
class Finetuned(HtmlView):
    """The new bundle on disk.

    `reused` is true if it was there already, made by the same request.
    """

    folder: Path
    record: BundleRecord
    training: Training
    reused: bool

    def __fspath__(self) -> str:
        """Return the bundle's folder.

        A Finetuned can thus be given wherever a bundle's path can.
        """
        return str(self.folder)


def finetune(request: FinetuneRequest, progress: Progress) -> Finetuned:
    """Train a bundle's weights further and write them as a new bundle.

    It has the same kinds of files as its parent.

    Raises:
        InputError: no bundle or a damaged one, images that do not fit, no teacher, an unfinished training of other settings.
        OutputError: the loss became something that is no finite number.
        CannotRunError, StorageError, BuildError, ParityError: as training's device and `export_bundle` document.
        KeyboardInterrupt: a signal asked to stop. The same request goes on from there.
    """
    record = read_bundle(request.bundle)
    parent = parent_of(request.bundle, record)
    if resolved(request.folder) == resolved(request.bundle):
        raise InputError(
            f"{setting('out', request.folder)} is the bundle that is trained",
            fix="name another folder with `out=DIR`",
            field="out",
        )
    if not request.force:
        _require_same(request, parent)
    lineage = hashlib.sha256(f"{to_json(request.spec)}\n{to_json(parent)}".encode()).hexdigest()
    require_remakeable(record.request)
    if request.device != "cpu":
        require_cuda_build()
    if request.restart:
        discard(request.checkpoint_folder)

    def network() -> Network:
        return _trained(request, record, parent, progress)

    exported = export_bundle(
        record.request,
        request.folder,
        force=request.force,
        progress=progress,
        network=network,
        lineage=lineage,
    )
    training = exported.record.training
    assert training is not None, "the key of a bundle without a training is another one"
    finished = _with_plot(exported.folder, exported.record, training)
    if not exported.reused or _is_of(request.checkpoint_folder, training):
        discard(request.checkpoint_folder)
    return Finetuned(exported.folder, finished, training, exported.reused)


def _require_same(request: FinetuneRequest, parent: Parent) -> None:
    """Refuse a bundle in the new one's place that has another origin."""
    if not (request.folder / BUNDLE_FILE).is_file():
        return
    training = read_bundle(request.folder).training
    if training is None:
        what = "a bundle that was not trained"
    elif training.parent != parent:
        what = f"another bundle, trained from {training.parent.name} as it was"
    elif options := different_options(training.spec, request.spec):
        what = f"another bundle: {options}"
    else:
        return
    raise InputError(f"{request.folder} holds {what}", fix="replace it with `force=True`, or write beside it with `out=DIR`")


def _is_of(folder: Path, training: Training) -> bool:
    """Return whether a folder holds the rest of a finished training.

    A kill leaves it after the training has become a bundle.
    """
    if not (folder / STATE_FILE).is_file():
        return False
    settings = read_document(folder).settings
    return settings.spec == training.spec and settings.parent == training.parent


def _trained(request: FinetuneRequest, record: BundleRecord, parent: Parent, progress: Progress) -> Network:
    """The parent's network after its training."""
    spec = request.spec
    division = divide(spec)
    _require_classes(record, division)
    pruned = bundles.read_pruned(request.bundle, record)
    teacher, taught_by = find_teacher(request.bundle, record, progress) if spec.distill else (None, "")
    progress.stage(
        "split images", f"{len(division.train_numbers)} to train on, {len(division.validation_numbers)} to validate on"
    )
    train, validation = _images(spec, division, record)
    module = bundles.load(request.bundle)
    setup = Setup(
        spec=spec,
        train=train,
        validation=validation,
        classes=record.num_classes,
        device=request.device,
        teacher=teacher,
        callbacks=[KeepZeros(module)] if record.request.mask is not None else [],
    )
    settings = Settings(
        spec=spec, parent=parent, train_sha256=train.sha256, validation_sha256=validation.sha256, teacher=taught_by
    )
    history = _run(Trainer(module, setup, progress), Checkpoint(request.checkpoint_folder, settings), progress)
    assert history.top1_before is not None, "it is taken before the first step"
    training = Training(
        spec=spec,
        parent=parent,
        images=train.readable,
        validated=validation.readable,
        validation=division.message,
        top1_before=history.top1_before,
        epochs=history.epochs,
        device="cpu" if request.device == "cpu" else torch.cuda.get_device_name(),
        teacher=taught_by,
        unreadable=len(train.unreadable) + len(validation.unreadable),
    )
    return _network(record, module.to("cpu"), pruned, training)


def _require_classes(record: BundleRecord, division: Division) -> None:
    classes = len(division.train.classes)
    if record.num_classes != classes:
        raise InputError(
            f"the model has {record.num_classes} classes, {division.train.data} has {classes}",
            fix=f"make the model with {setting('num_classes', classes)}, keep its head (`ignore=('head',)`), or name other data",
        )


def _images(spec: FinetuneSpec, division: Division, record: BundleRecord) -> tuple[Images, Images]:
    """The images of a training as the bundle's network takes them."""
    how = record.preprocessing
    # Mirrored, a digit is no digit, or another one.
    flip = parse_data(spec.data)[0] != "digits"
    crops = augmentation(how, flip=flip, smallest_crop=spec.smallest_crop) if spec.augment else None
    train = Images(division.train, division.train_numbers, how, seed=spec.seed, augmented=crops)
    return train, Images(division.validation, division.validation_numbers, how)


def _run(trainer: Trainer, checkpoint: Checkpoint, progress: Progress) -> History:
    """Train, from the last checkpoint if there is one."""
    state = checkpoint.read()
    if state is not None:
        progress.stage("resume training", f"{state.history.step} steps, from {checkpoint.folder}")
        trainer.resume(state)
    checkpoint.prepare()
    try:
        return trainer.run(checkpoint.write)
    except OutputError:
        checkpoint.discard()  # the same settings would come to the same end
        raise
    finally:
        checkpoint.tidy()


def _network(record: BundleRecord, module: nn.Module, pruned: Pruned | None, training: Training) -> Network:
    """The trained module as `export_bundle` takes it."""
    receipt = record.receipt
    if receipt.mask is not None:  # the zeros stay, but what is not masked need not be zero any more
        receipt = replace(receipt, nonzero_params=count_nonzero_params(module))
    loaded = LoadedModel(module.eval(), record.model, record.weights, record.preprocessing)
    return Network(loaded, pruned, receipt, training, record.recovery)


def _with_plot(folder: Path, record: BundleRecord, training: Training) -> BundleRecord:
    """Return the record with the plot of its training among the files.

    The plot is drawn if it is not there.
    """
    if any(artifact.role == _PLOT_ROLE for artifact in record.artifacts):
        return record
    write_bytes(folder / PLOT_FILE, training_plot(training))
    plotted = replace(record, artifacts=(*record.artifacts, bundles.describe(folder / PLOT_FILE, _PLOT_ROLE)))
    write_record(folder, plotted)
    return plotted
