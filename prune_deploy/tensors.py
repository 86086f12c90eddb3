"""Inputs and outputs of a network as named tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from prune_deploy.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

INPUT_NAME = "input"
"""Name of a network's input that has no other name."""

OUTPUT_NAME = "logits"
"""Name of a network's output that has no other name."""

Arrays = Mapping[str, "np.ndarray[Any, Any]"]
"""Arrays of any rank by the name of a network's input or output, in the network's order."""


def named_input(images: np.ndarray[Any, Any]) -> Arrays:
    """Return the input of a network that takes images and nothing else."""
    return {INPUT_NAME: images}


def arranged(inputs: Arrays, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Copy inputs into the order of `names`, contiguous in memory.

    Floating point becomes float32, other types stay.

    Raises:
        InputError: the names are others.
    """
    import numpy as np

    if set(inputs) != set(names):
        raise InputError(
            f"the artifact takes {', '.join(names) or 'nothing'}, and not {', '.join(inputs) or 'nothing'}",
            fix="bind its inputs by name; whether the file is damaged, prune-deploy verify tells",
        )
    floating = {name: np.issubdtype(array.dtype, np.floating) for name, array in inputs.items()}
    return {name: np.array(inputs[name], dtype=np.float32 if floating[name] else None, order="C") for name in names}


def only(arrays: Arrays) -> np.ndarray[Any, Any]:
    """Return the one array there is.

    Raises:
        InputError: there are several, or none.
    """
    if len(arrays) != 1:
        raise InputError(
            f"the network has {len(arrays)} outputs ({', '.join(arrays) or 'none'}) where one is needed",
            fix="compare its outputs with prune-deploy verify; scores are read from networks with one output",
        )
    return next(iter(arrays.values()))


def output_tensors(output: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of an output by name.

    A single tensor is named OUTPUT_NAME. Mappings, sequences, named tuples and dataclasses are looked into, at any depth: "boxes.0" is
    the first of the list `boxes`. What is no tensor has no name here. An output with the name of the input is called "input.out".
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in _leaves(output, ""):
        free = name or OUTPUT_NAME
        while free in tensors or free == INPUT_NAME:
            free += ".out"
        tensors[free] = tensor
    return tensors


def _leaves(output: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    import torch  # not at the top: a worker that runs engines has no PyTorch

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
        yield from _leaves(value, f"{name}.{part}" if name else part)
