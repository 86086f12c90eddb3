"""Choice of the GPU in use: CUDA's number 0.

CUDA and NVML number GPUs differently. CUDA obeys CUDA_VISIBLE_DEVICES and numbers unlike GPUs by speed. NVML shows all of them by
PCI address. `local_target` asks CUDA's driver, and `open_gpu` finds the same GPU among those of NVML. Neither imports a runtime.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from prune_deploy.errors import CannotRunError, first_line, install_extra

# cuda.h, CUdevice_attribute: the values are part of the driver's stable binary interface.
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76
_DOCTOR = "see what is missing: prune-deploy doctor"


def local_target() -> str | None:
    """Return the compute capability ("sm86") of the GPU that CUDA uses here.

    None without a usable driver and GPU. The driver itself is asked, which honours CUDA_VISIBLE_DEVICES and CUDA's own order of
    the devices. The target need not be in `specs.TARGETS`: TensorRT builds for any GPU it runs on, TensorRT-RTX only for those.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, device)
        or driver.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, device)
    ):
        return None
    return f"sm{major.value}{minor.value}"


@contextmanager
def open_gpu(nvml: Any = None, variables: Mapping[str, str] = os.environ) -> Iterator[tuple[Any, Any]]:
    """Open NVML, and yield its module and the GPU's handle.

    The GPU is the one that CUDA calls number 0. `nvml` is the pynvml module to use. CUDA_VISIBLE_DEVICES is read as CUDA reads
    it: an index or the beginning of a UUID. Unlike GPUs are numbered by speed unless CUDA_DEVICE_ORDER=PCI_BUS_ID, so an index
    among them is refused. So are slices of a GPU (MIG).

    Raises:
        CannotRunError: no driver, no GPU, none visible to CUDA, or none that could be told from the others.
    """
    try:
        nvml = nvml or importlib.import_module("pynvml")
    except ImportError as error:
        raise CannotRunError(f"the GPU cannot be observed: {error}", fix=install_extra("gpu")) from error
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise CannotRunError(f"no GPU to observe: {first_line(error)}", fix=_DOCTOR) from error
    try:
        yield nvml, _choose(nvml, variables)
    finally:
        # A driver that is gone by now needs no shutdown.
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _choose(nvml: Any, variables: Mapping[str, str]) -> Any:
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    entry = "0" if visible is None else visible.partition(",")[0].strip()
    if entry.startswith("MIG-"):
        raise CannotRunError(f"{entry} is a slice of a GPU, and clocks belong to the whole", fix="measure on a GPU without MIG")
    try:
        gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        if entry.startswith("GPU-"):
            chosen = [gpu for gpu in gpus if nvml.nvmlDeviceGetUUID(gpu).startswith(entry)]
        else:
            chosen = _by_index(nvml, gpus, entry, variables)
    except nvml.NVMLError as error:
        raise CannotRunError(f"the GPUs do not answer: {first_line(error)}", fix=_DOCTOR) from error
    if visible is None and not chosen:
        raise CannotRunError("this machine has a driver and no GPU", fix=_DOCTOR)
    if len(chosen) == 1 and _is_divided(nvml, chosen[0]):
        raise CannotRunError(
            "the GPU is divided into slices (MIG), and its counters belong to the whole", fix="measure on a GPU without MIG"
        )
    if len(chosen) != 1:
        raise CannotRunError(
            f"CUDA_VISIBLE_DEVICES={visible} names {len(chosen) or 'none'} of the {len(gpus)} GPUs that are here",
            fix="set it to a UUID that nvidia-smi -L shows, or unset it",
        )
    return chosen[0]


def _is_divided(nvml: Any, gpu: Any) -> bool:
    """Tell whether MIG is on.

    CUDA then takes a slice even if no variable names one.
    """
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(gpu)
    except (nvml.NVMLError, AttributeError):  # a GPU, a driver or a binding without MIG
        return False
    return bool(current)


def _by_index(nvml: Any, gpus: list[Any], entry: str, variables: Mapping[str, str]) -> list[Any]:
    """Return the GPU at an index in CUDA's order.

    The list is empty if CUDA has none there.
    """
    if not entry.isdecimal():
        return []
    unlike = len({nvml.nvmlDeviceGetName(gpu) for gpu in gpus}) > 1
    if unlike and variables.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise CannotRunError(
            "the GPUs of this machine differ, and CUDA numbers them by speed",
            fix="set CUDA_DEVICE_ORDER=PCI_BUS_ID, or CUDA_VISIBLE_DEVICES to a UUID that nvidia-smi -L shows",
        )
    ordered = sorted(gpus, key=lambda gpu: str(nvml.nvmlDeviceGetPciInfo(gpu).busId))
    return ordered[int(entry) : int(entry) + 1]
