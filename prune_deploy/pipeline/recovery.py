"""Recovery within an export: its images, and the consumers of what was removed."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from prune_deploy.data.calibration import CalibrationImages
from prune_deploy.errors import InputError, setting
from prune_deploy.interfaces import Progress
from prune_deploy.models import LoadedModel
from prune_deploy.pruning.find_groups import find_groups
from prune_deploy.pruning.pruner import Pruned
from prune_deploy.records import Preprocessing, Recovery
from prune_deploy.recovery.recover import Images, recover
from prune_deploy.recovery.sites import find_sites
from prune_deploy.specs import RecoverSpec

_BATCH = 64
_FEWEST = 6


def recover_network(
    dense: nn.Module, loaded: LoadedModel, pruned: Pruned, spec: RecoverSpec, progress: Progress, *, limit_s: float
) -> Recovery:
    """Recover the module of `loaded`, which was pruned from `dense`, in place.

    `limit_s` bounds the dependency graph, in seconds.

    Raises:
        InputError: the images cannot be used, or a network gives values that are no numbers.
    """
    images = read_images(spec, loaded.preprocessing)
    groups, _ = find_groups(dense, loaded.resolved.input_size, limit_s=limit_s)
    sites = find_sites(dense, groups, pruned.plan, pruned.selection)
    return recover(dense, loaded.module, sites, images, spec.kind, progress)


def read_images(spec: RecoverSpec, preprocessing: Preprocessing) -> Images:
    """Read the images of a recovery.

    Every third one judges the result, so that nothing is judged by what it learned from.

    Raises:
        InputError: no such images, or too few.
    """
    source = CalibrationImages(spec.calibration, preprocessing, spec.samples + spec.samples // 2)
    batches = list(source.batches(_BATCH))
    inputs = torch.from_numpy(np.concatenate([batch.inputs for batch in batches]))
    if len(inputs) < _FEWEST:
        raise InputError(
            f"{setting('calibration', spec.calibration)} has {len(inputs)} images, recovery needs {_FEWEST} at least",
            fix="name more images, 256 suit most models",
            field="calibration",
        )
    judging = torch.arange(len(inputs)) % 3 == 2
    labels = torch.from_numpy(np.concatenate([batch.labels for batch in batches])) if source.classes else None
    return Images(spec.calibration, inputs[~judging], inputs[judging], None if labels is None else labels[judging])
