"""Shapes of a network's outputs, before and after it is narrowed."""

from __future__ import annotations

import torch
from torch import nn

from prune_deploy.pruning.meta_copy import example_input
from prune_deploy.tensors import output_tensors

TRIAL_BATCHES = (1, 2)
"""Batches of a trial. Some models fold a wrong width into the batch axis, which only one of the two survives."""

REACHES_AN_OUTPUT = "it reaches an output of the network (`ignore=('none',)` narrows it)"
"""Reason for a group that keeps its channels because they are the network's outputs."""

Shapes = tuple[dict[str, tuple[int, ...]], ...]
"""Shape of each output, by name, for each of `TRIAL_BATCHES`."""


def output_shapes(meta_copy: nn.Module, input_size: tuple[int, int, int]) -> Shapes:
    """Run a meta copy, and return the shapes of its outputs.

    Whatever the model's forward raises comes out.
    """
    with torch.no_grad():
        outputs = [output_tensors(meta_copy(example_input(input_size, batch))) for batch in TRIAL_BATCHES]
    return tuple({name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in outputs)


def difference(dense: Shapes, narrowed: Shapes, *, may_narrow: bool) -> str:
    """Describe how a narrowed model's outputs differ, "" without difference.

    With `may_narrow` only their number, their ranks and their first axes must be the same.
    """
    for batch, before, after in zip(TRIAL_BATCHES, dense, narrowed, strict=True):
        if before.keys() != after.keys():
            return f"the outputs are {', '.join(after) or 'none'} instead of {', '.join(before) or 'none'}"
        for name, shape in before.items():
            if len(after[name]) != len(shape):
                return f"output {name!r} has {len(after[name])} axes instead of {len(shape)}"
            if after[name][:1] != shape[:1]:
                return f"a batch of {batch} comes out as {after[name][0]}"
            if not may_narrow and after[name] != shape:
                return REACHES_AN_OUTPUT
    return ""
