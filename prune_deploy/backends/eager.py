"""PyTorch, as the module is: rebuilt from a bundle without a pickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prune_deploy.backends.pytorch.precision import require_precision
from prune_deploy.backends.pytorch.session import TorchSession
from prune_deploy.backends.pytorch.settings import applied, require_cuda_build, torch_available
from prune_deploy.backends.run_options import DEFAULTS, require
from prune_deploy.interfaces import Availability, Backend, Session
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import Arrays


class EagerBackend:
    """PyTorch in eager mode."""

    name = "eager"
    title = "PyTorch eager"
    summary = "PyTorch in eager mode, from the bundle's weights and recipe"
    consumes = "module"
    variants: tuple[str, ...] = ("",)
    reported: tuple[str, ...] = ("",)
    needs_own_process = False
    compiles = False

    def available(self) -> Availability:
        """Tell whether PyTorch is installed."""
        return torch_available()

    def environment(self, options: RunOptions) -> Mapping[str, str]:  # noqa: ARG002 - the same whatever is asked for
        """No variables are needed."""
        return {}

    @contextmanager
    def open(self, artifact: Path, inputs: Arrays, options: RunOptions = DEFAULTS) -> Iterator[Session]:
        """Rebuild the module of the bundle folder `artifact`.

        Raises:
            InputError: the folder is no bundle, its weights do not fit its recipe, or there is no such variant.
            CannotRunError: a GPU was asked for and PyTorch can use none, or there are no layers of that precision.
        """
        require(self, options)
        require_precision(self, options)
        if options.device == "cuda":
            require_cuda_build()
        from prune_deploy.export.bundle import load

        with applied(options):
            yield TorchSession(load(artifact, check_hashes=False), inputs, options)


BACKEND: Backend = EagerBackend()
