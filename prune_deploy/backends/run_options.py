"""Refusals that all backends share: unknown options and a missing GPU."""

from __future__ import annotations

from prune_deploy.errors import BuildError, CannotRunError, InputError, OutOfMemoryError, first_line, setting
from prune_deploy.gpus import local_target
from prune_deploy.interfaces import Backend
from prune_deploy.records import LayerShare
from prune_deploy.specs import PRECISIONS, Precision, RunOptions

DEFAULTS = RunOptions()
"""One run on the CPU, everything else as the runtime likes it."""

NO_GPU = "no CUDA device"
NO_GPU_FIX = "run on a machine with an NVIDIA GPU and driver; see: prune-deploy doctor"


def require(backend: Backend, options: RunOptions) -> None:
    """Refuse what `backend` cannot do with `options` on this machine.

    Raises:
        InputError: it has no such variant.
        CannotRunError: there is no CUDA device for a run on a GPU, or a precision that only GPUs have.
    """
    if options.variant not in backend.variants:
        known = ", ".join(variant or "the plain one" for variant in backend.variants)
        raise InputError(f"backend {backend.name} has no variant {options.variant!r}", fix=f"it knows: {known}")
    if options.device == "cuda" and local_target() is None:
        # An engine has no other place.
        fix = NO_GPU_FIX if backend.consumes == "engine" else f"use `device='cpu'`, or {NO_GPU_FIX}"
        raise CannotRunError(f"backend {backend.name} cannot run on a GPU here: {NO_GPU}", fix=fix)
    if options.precision is not None and options.device == "cpu" and PRECISIONS[options.precision].gpu_only:
        label = PRECISIONS[options.precision].label
        raise CannotRunError(f"{label} is a format of NVIDIA's GPUs: a CPU has none", fix="use `device='cuda'`, or fp32")


def require_computing(precision: Precision, share: LayerShare) -> None:
    """Refuse a session without a layer in the precision of its label.

    Raises:
        BuildError: no layer has it.
    """
    if not share.computing:
        raise BuildError(
            f"{precision} was asked for, {share.computing} of {share.layers} layers compute in {PRECISIONS[precision].label}"
            f" ({share.source})",
            fix=f"export the bundle again with {setting('precisions', (precision,))}, or ask for the precision that the file has",
        )


def device_failed(what: str, error: BaseException) -> CannotRunError:
    """The error of a run that the GPU or its driver ended."""
    return CannotRunError(f"{what}: {first_line(error, 300)}", fix="run it on an idle GPU; see: prune-deploy doctor")


def out_of_memory(what: str) -> OutOfMemoryError:
    """The error of a run that needs more memory than there is."""
    return OutOfMemoryError(f"{what}: not enough memory", fix="use a smaller `batch`, or free memory on the device")
