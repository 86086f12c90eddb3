"""Train the reference networks on Fashion-MNIST, from random weights to bundles.

    python benchmarks/train_reference.py [--out DIR] [--only NAME,…] [--threads N]      (or: make references)

DIR/NAME is the bundle, and DIR/NAME.json says how it was made: recipe, seed, epochs, top-1 and times. One that is there, made by the same
recipe, is not trained again. An interrupted training goes on from its last epoch. Nothing is downloaded: Debian's package
dataset-fashion-mnist has the images. A network needs a quarter of an hour on two quiet cores.

Input is 3 × 32 × 32: the grey images in three equal channels, because networks with pretrained weights take three. The test images
choose nothing, and the weights are those of the last epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from scipy.stats import binomtest

import prune_deploy as pd
from prune_deploy.data import Batches, open_images
from prune_deploy.data.classes import classes_of
from prune_deploy.records import BundleRecord, Training
from prune_deploy.specs import FinetuneSpec
from prune_deploy.specs.training import DEFAULT_SMALLEST_CROP
from prune_deploy.store import BUNDLE_FILE, read_bundle

DATA = "fashion-mnist"
INPUT_SIZE = (3, 32, 32)
CLASSES = 10
SEED = 0
BATCH = 250
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Reference:
    """Network with its training and the top-1 that it must reach.

    Top-1 is a share of the test images.
    """

    name: str
    least_top1: float
    spec: FinetuneSpec


def _sgd(epochs: int, weight_decay: float, smallest_crop: float | None = None) -> FinetuneSpec:
    return FinetuneSpec(
        data=DATA,
        epochs=epochs,
        batch=128,
        optimizer="sgd",
        lr=0.1,
        weight_decay=weight_decay,
        label_smoothing=0.1,
        augment=smallest_crop is not None,
        smallest_crop=smallest_crop or DEFAULT_SMALLEST_CROP,
        seed=SEED,
    )


REFERENCES = (
    Reference("resnet18", 0.92, _sgd(6, 5e-4, 0.7)),
    Reference("mobilenetv2_100", 0.90, _sgd(8, 1e-4)),
    Reference(
        "vit_tiny_patch16_224",
        0.88,
        FinetuneSpec(data=DATA, epochs=9, batch=128, lr=1e-3, weight_decay=0.05, label_smoothing=0.1, seed=SEED),
    ),
)


class Lines:
    """Progress in lines: stages and epochs."""

    def stage(self, stage: str, detail: str = "", /) -> None:
        """Print the stage."""
        print(f"  {stage} {detail}", flush=True)

    def advance(self, done: float, total: float, detail: str = "", /) -> None:
        """Print nothing."""

    def note(self, message: str, /) -> None:
        """Print the epoch, with the processor time so far."""
        print(f"  {message}, {processor_s():.0f} s of processors", flush=True)


def processor_s() -> float:
    """Return the seconds of processors, image readers' included."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def cached(folder: Path, reference: Reference) -> BundleRecord | None:
    """Return the record of a bundle that the same recipe made."""
    if not (folder / BUNDLE_FILE).is_file():
        return None
    record = read_bundle(folder)
    model, training = record.request.model, record.training
    same = training is not None and training.spec == reference.spec and model.seed == SEED
    return record if same and (model.name, model.input_size) == (reference.name, INPUT_SIZE) else None


def train(reference: Reference, out: Path) -> None:
    """Train one network and write its bundle and its recipe."""
    folder, fresh = out / reference.name, out / "untrained" / reference.name
    begun = processor_s()
    files: dict[str, Any] = {"precisions": ("fp32",), "engine": pd.EngineSpec(library="none")}
    model = pd.ModelSpec(name=reference.name, num_classes=CLASSES, input_size=INPUT_SIZE, seed=SEED)
    pd.export_bundle(model, fresh, progress=Lines(), **files)
    tuned = pd.finetune(fresh, reference.spec, folder, force=folder.exists(), progress=Lines())
    recipe = describe(reference, tuned.training) | {"processor_s": processor_s() - begun}
    (out / f"{reference.name}.json").write_text(json.dumps(recipe, indent=2) + "\n")
    shutil.rmtree(fresh)


def describe(reference: Reference, training: Training) -> dict[str, Any]:
    """Return what a recipe says of a training.

    `seconds` are of its epochs, validation included, and `processor_s` of the process that finished it.
    """
    return {
        "model": reference.name,
        "input_size": INPUT_SIZE,
        "classes": CLASSES,
        "seed": SEED,
        "training": asdict(training.spec),
        "images": training.images,
        "top1": training.top1_after,
        "top1_of": training.validation,
        "epochs": [asdict(epoch) for epoch in training.epochs],
        "seconds": sum(epoch.seconds for epoch in training.epochs),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
    }


def judge(reference: Reference, folder: Path) -> bool:
    """Print the bundle's top-1, and return whether it suffices.

    The written weights are loaded and run on the test images anew.
    """
    module, images = pd.load(folder), open_images(reference.spec.data)
    batches = Batches(images, read_bundle(folder).preprocessing, BATCH)
    with torch.inference_mode():
        right = sum(int((classes_of(module(torch.from_numpy(inputs)).numpy()) == labels).sum()) for inputs, labels in batches)
    count = len(images.labels)
    bounds = binomtest(right, count).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    enough = right >= reference.least_top1 * count
    print(
        f"{reference.name}: top-1 {100 * right / count:.2f} % [{100 * bounds.low:.2f}, {100 * bounds.high:.2f}] "
        f"(Wilson, {CONFIDENCE:.0%}) of {count} test images, {100 * reference.least_top1:g} % "
        f"{'reached' if enough else 'MISSED'}",
        flush=True,
    )
    return enough


def main(words: Sequence[str] | None = None) -> int:
    """Train what is missing and judge everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("references"), help="folder of the bundles (default: references)")
    parser.add_argument("--only", default="", help="comma list of names")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args(words)
    names = [name for name in arguments.only.split(",") if name]
    if unknown := set(names) - {reference.name for reference in REFERENCES}:
        parser.error(f"no reference is called {', '.join(sorted(unknown))}")
    torch.set_num_threads(arguments.threads)
    passed = True
    for reference in REFERENCES:
        if names and reference.name not in names:
            continue
        folder = arguments.out / reference.name
        print(f"{reference.name}{' is there' if cached(folder, reference) else ''}", flush=True)
        if cached(folder, reference) is None:
            train(reference, arguments.out)
        passed &= judge(reference, folder)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
