"""Lock of the GPU's clock while a comparison runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from prune_deploy.errors import CannotRunError, first_line, setting
from prune_deploy.gpus import open_gpu

# Of nvml.h: NVML_ERROR_INVALID_ARGUMENT, NVML_ERROR_NO_PERMISSION.
_INVALID_ARGUMENT, _NO_PERMISSION = 2, 4


@contextmanager
def locked_clocks(mhz: int | None, nvml: Any = None) -> Iterator[None]:
    """Hold the GPU's SM clock at `mhz` until the block ends.

    It is freed however the block ends. None leaves it alone. The driver does not report whether the clock was locked before, so
    afterwards it is free. A kill -9 leaves it locked.

    Raises:
        CannotRunError: no GPU, no right to lock its clock, no such clock, or the clock could not be freed again.
    """
    if mhz is None:
        yield
        return
    with ExitStack() as stack:
        try:
            module, handle = stack.enter_context(open_gpu(nvml))
        except CannotRunError as error:
            raise CannotRunError(
                f"{setting('lock_clocks_mhz', mhz)}: {error.message}", fix=f"{error.fix}; or leave `lock_clocks_mhz` out"
            ) from error
        supported = _supported(module, handle)
        if supported and mhz not in supported:  # the driver would take the nearest, and answer that all is well
            raise _no_such_clock(mhz, supported)
        refused = False
        try:
            try:
                module.nvmlDeviceSetGpuLockedClocks(handle, mhz, mhz)
            except (module.NVMLError, AttributeError) as error:
                refused = True
                raise _explain(mhz, error) from error
            yield
        finally:
            # Ctrl-C during the call may come after the driver has locked the clock, so only a refusal counts.
            if not refused:
                _free(module, handle)


def _supported(module: Any, handle: Any) -> frozenset[int]:
    """Return the clocks that the GPU can be locked to, in MHz.

    There are none where the driver does not list them.
    """
    try:
        memory_clocks = module.nvmlDeviceGetSupportedMemoryClocks(handle)
        return frozenset(mhz for each in memory_clocks for mhz in module.nvmlDeviceGetSupportedGraphicsClocks(handle, each))
    except (module.NVMLError, AttributeError):
        return frozenset()


def _no_such_clock(mhz: int, supported: frozenset[int]) -> CannotRunError:
    nearest = sorted(sorted(supported, key=lambda each: abs(each - mhz))[:2])
    return CannotRunError(
        f"{setting('lock_clocks_mhz', mhz)}: the GPU has no such clock",
        fix=f"choose {' or '.join(map(str, nearest))}, or another that nvidia-smi -q -d SUPPORTED_CLOCKS lists",
    )


def _explain(mhz: int, error: Exception) -> CannotRunError:
    code = getattr(error, "value", None)
    if code == _NO_PERMISSION:
        reason = "the driver lets only root lock clocks"
        fix = "run it with sudo (in a container, with --cap-add SYS_ADMIN)"
    elif code == _INVALID_ARGUMENT:
        reason, fix = "the GPU has no such clock", "choose one that nvidia-smi -q -d SUPPORTED_CLOCKS lists"
    else:
        reason, fix = f"the driver cannot lock this GPU's clock: {first_line(error)}", "measure with clocks as they come"
    return CannotRunError(f"{setting('lock_clocks_mhz', mhz)}: {reason}", fix=f"{fix}; or leave `lock_clocks_mhz` out")


def _free(module: Any, handle: Any) -> None:
    try:
        module.nvmlDeviceResetGpuLockedClocks(handle)
    except module.NVMLError as error:
        raise CannotRunError(
            f"the GPU's clock is still locked: {first_line(error)}", fix="free it with: sudo nvidia-smi --reset-gpu-clocks"
        ) from error
