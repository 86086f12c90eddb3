"""Top-1 of pruned networks before and after recovery, as Markdown: plain cut, batch norms, fold, fold and batch norms.

    python benchmarks/recovery_table.py BUNDLE [--data fashion-mnist] [--ratios 0.3,0.5,0.7] [--images 256] [--seeds 3]

BUNDLE is a trained dense bundle (make references). Each seed draws other unlabelled training images, and top-1 is that on all test images,
which choose nothing. A figure is the mean over the seeds, with the half of its 95 % interval by Student.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from scipy.stats import t
from torch import nn

import prune_deploy as pd
from prune_deploy.data import Batches, open_images
from prune_deploy.data.preprocessing import transform_of
from prune_deploy.interfaces import Silent
from prune_deploy.pruning.find_groups import find_groups
from prune_deploy.pruning.pruner import Pruned, prune
from prune_deploy.recovery.batchnorm import recalibrate
from prune_deploy.recovery.recover import BATCH, fold_all
from prune_deploy.recovery.sites import Site, find_sites
from prune_deploy.specs import PruneSpec
from prune_deploy.store import read_bundle

Score = Callable[[nn.Module], float]
COLUMNS = ("plain", "batch norms", "fold", "fold and batch norms")


def test_score(folder: Path, data: str) -> Score:
    """Return a function from a network to its top-1 on all test images, in percent."""
    batches = list(Batches(open_images(data), read_bundle(folder).preprocessing, 500))
    parts = [(torch.from_numpy(batch.inputs), torch.from_numpy(batch.labels)) for batch in batches]

    def score(model: nn.Module) -> float:
        with torch.inference_mode():
            right = sum(int((model(inputs).argmax(1) == labels).sum()) for inputs, labels in parts)
        return 100 * right / sum(len(labels) for _, labels in parts)

    return score


def training_images(folder: Path, data: str, count: int, seed: int) -> torch.Tensor:
    """Return `count` training images that a seed draws, shape (images, channels, height, width)."""
    source, transform = open_images(data, split="train"), transform_of(read_bundle(folder).preprocessing)
    chosen = np.random.default_rng(seed).choice(len(source.labels), count, replace=False)
    return torch.stack([transform(source.read(int(number))) for number in chosen])


def recovered(
    dense: nn.Module, cut: nn.Module, sites: list[Site], images: torch.Tensor, score: Score
) -> tuple[dict[str, float], float]:
    """Return top-1 by column, and the seconds of the last column."""
    renewed = copy.deepcopy(cut)
    recalibrate(renewed, torch.split(images, BATCH))
    folded = copy.deepcopy(cut)
    began_s = time.monotonic()
    fold_all(dense, folded, sites, images, Silent())
    both = copy.deepcopy(folded)
    recalibrate(both, torch.split(images, BATCH))
    seconds = time.monotonic() - began_s
    return dict(zip(COLUMNS, map(score, (cut, renewed, folded, both)), strict=True)), seconds


def row(folder: Path, spec: PruneSpec, arguments: argparse.Namespace, score: Score) -> str:
    """Return a line of the table."""
    dense, size = pd.load(folder), read_bundle(folder).model.input_size
    cut = copy.deepcopy(dense)
    pruned: Pruned = prune(cut, spec, size)
    groups, _ = find_groups(dense, size)
    sites = find_sites(dense, groups, pruned.plan, pruned.selection)
    found = [
        recovered(dense, cut, sites, training_images(folder, arguments.data, arguments.images, seed), score)
        for seed in range(arguments.seeds)
    ]
    cells = [_with_interval([figures[column] for figures, _ in found]) for column in COLUMNS]
    what = "inner widths" if spec.bottleneck else "every group"
    left = f"{100 * pruned.receipt.after.params / pruned.receipt.before.params:.0f} %"
    return " | ".join(["", f"{what} {spec.ratio}", left, *cells, f"{max(seconds for _, seconds in found):.0f}", ""]).strip()


def _with_interval(values: list[float]) -> str:
    if len(values) < 2 or max(values) == min(values):
        return f"{fmean(values):.1f}"
    return f"{fmean(values):.1f} ± {t.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values)):.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--ratios", default="0.3,0.5,0.7")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    score = test_score(arguments.bundle, arguments.data)
    name = read_bundle(arguments.bundle).model.name
    print(f"{name}, dense top-1 {score(pd.load(arguments.bundle)):.2f} %, {arguments.images} unlabelled images\n")
    print(f"| cut | parameters left | {' | '.join(COLUMNS)} | s |")
    print("| --- |" + " --: |" * (len(COLUMNS) + 2))
    for ratio in map(float, arguments.ratios.split(",")):
        for bottleneck in (True, False):
            print(row(arguments.bundle, PruneSpec(ratio=ratio, bottleneck=bottleneck), arguments, score), flush=True)


if __name__ == "__main__":
    main()
