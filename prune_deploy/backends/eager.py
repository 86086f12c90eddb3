"""PyTorch, as the module is: rebuilt from a bundle without a pickle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prune_deploy.errors import InputError, first_line
from prune_deploy.interfaces import Availability, Backend, Consumes, Session

if TYPE_CHECKING:
    import torch
    from torch import nn


class EagerSession:
    """A module and its input on the CPU."""

    stream: int | None = None

    def __init__(self, module: nn.Module, inputs: np.ndarray[Any, Any]) -> None:
        import torch

        self._torch = torch
        self._module = module
        self._output: torch.Tensor | None = None
        self.bind(inputs)

    def bind(self, inputs: np.ndarray[Any, Any]) -> None:
        """Bind an input of shape (batch, channels, height, width)."""
        self._input = self._torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))

    def run(self) -> None:
        """Run once; on the CPU the call returns when the outputs are there.

        Raises:
            InputError: the module does not run on the bound input.
        """
        try:
            with self._torch.inference_mode():
                self._output = self._module(self._input)
        except (RuntimeError, AssertionError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"the module does not run on an input of {tuple(self._input.shape)}: {first_line(error, 300)}",
                fix="bind inputs of the model's size; whether the bundle is damaged, prune-deploy verify tells",
            ) from error

    def synchronize(self) -> None:
        """Nothing is pending on a CPU."""

    def outputs(self) -> np.ndarray[Any, Any]:
        """Logits of the last run, shape (batch, classes)."""
        assert self._output is not None, "run() comes first"
        result: np.ndarray[Any, Any] = self._output.numpy()
        return result


class EagerBackend:
    """PyTorch in eager mode on the CPU."""

    name = "eager"
    summary = "PyTorch in eager mode on the CPU, from the bundle's weights and recipe"
    consumes: Consumes = "module"
    extra = "torch"

    def available(self) -> Availability:
        """Whether PyTorch is installed."""
        if find_spec("torch") is None:
            return Availability(available=False, reason="torch is not installed", fix="pip install torch torchvision")
        return Availability(available=True)

    @contextmanager
    def open(self, artifact: Path, inputs: np.ndarray[Any, Any]) -> Iterator[Session]:
        """Rebuild the module of the bundle folder `artifact`.

        Raises:
            InputError: the folder is no bundle, or its weights do not fit its recipe.
        """
        from prune_deploy.export.bundle import load

        yield EagerSession(load(artifact), inputs)


BACKEND: Backend = EagerBackend()
