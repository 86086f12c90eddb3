"""A backend that computes nothing, to measure the harness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np

from prune_deploy.backends.run_options import DEFAULTS, require
from prune_deploy.interfaces import Availability, Backend, Session
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import OUTPUT_NAME, Arrays


class NullSession:
    """Does nothing, as fast as Python can."""

    stream: int | None = None

    def __init__(self, inputs: Arrays) -> None:
        self.bind(inputs)

    def bind(self, inputs: Arrays) -> None:
        """Keep the batch size of the first input."""
        self._batch = len(next(iter(inputs.values())))

    def active(self) -> AbstractContextManager[dict[str, float]]:
        """Nothing is process-wide."""
        return nullcontext({})

    def run(self) -> None:
        """Do nothing."""

    def synchronize(self) -> None:
        """Nothing is pending."""

    def outputs(self) -> Arrays:
        """Zeros, shape (batch, 1): no answer to anything."""
        return {OUTPUT_NAME: np.zeros((self._batch, 1), dtype=np.float32)}

    def settings(self) -> dict[str, str]:
        """Nothing is in force."""
        return {}

    def check(self) -> None:
        """Nothing was done, as the label says."""

    def device_bytes(self) -> int | None:
        """None: no device is used."""
        return None


class NullBackend:
    """No runtime at all."""

    name = "null"
    title = "the null backend"
    summary = "computes nothing: times the harness itself"
    consumes = "nothing"
    variants: tuple[str, ...] = ("",)
    reported: tuple[str, ...] = ("",)
    needs_own_process = False
    compiles = False

    def available(self) -> Availability:
        """Always."""
        return Availability(available=True)

    def environment(self, options: RunOptions) -> Mapping[str, str]:  # noqa: ARG002 - the same whatever is asked for
        """No variables are needed."""
        return {}

    @contextmanager
    def open(
        self,
        artifact: Path,  # noqa: ARG002 - nothing is read
        inputs: Arrays,
        options: RunOptions = DEFAULTS,
    ) -> Iterator[Session]:
        """Open nothing.

        Raises:
            InputError: there is no such variant.
            CannotRunError: a GPU was asked for and there is none.
        """
        require(self, options)
        yield NullSession(inputs)


BACKEND: Backend = NullBackend()
