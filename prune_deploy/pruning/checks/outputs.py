"""Outputs of a network as named tensors, whatever they come in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn

from prune_deploy.pruning.meta_copy import example_input

TRIAL_BATCHES = (1, 2)
"""Batches of a trial. Some models fold a wrong width into the batch axis, which only one of the two survives."""

REACHES_AN_OUTPUT = "it reaches an output of the network (`ignore=('none',)` narrows it)"
"""Reason for a group that keeps its channels because they are the network's outputs."""

Shapes = tuple[dict[str, tuple[int, ...]], ...]
"""Shape of each output, by name, for each of `TRIAL_BATCHES`."""


def output_tensors(output: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of an output by name.

    A single tensor has the name "". Mappings, sequences, named tuples and dataclasses are looked into, at any depth: "boxes.0" is the
    first of the list `boxes`. What is no tensor has no name here.
    """
    return dict(_named(output, ""))


def _named(output: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(output, torch.Tensor):
        yield name, output
        return
    if isinstance(output, Mapping):
        parts = [(str(key), value) for key, value in output.items()]
    elif is_dataclass(output) and not isinstance(output, type):
        parts = [(field.name, getattr(output, field.name)) for field in fields(output)]
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        parts = list(zip(output._fields, output, strict=True))
    elif isinstance(output, (list, tuple)):
        parts = [(str(number), value) for number, value in enumerate(output)]
    else:
        return
    for part, value in parts:
        yield from _named(value, f"{name}.{part}" if name else part)


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
