"""NVIDIA's CUDA runtime through cuda-bindings, without PyTorch.

It offers checked calls, a stream and device memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from prune_deploy.backends.run_options import out_of_memory
from prune_deploy.errors import CannotRunError, install_extra

INSTALL = install_extra("gpu")

_LASTING = (
    *("ECCUncorrectable", "IllegalAddress", "LaunchTimeout", "Assert", "HardwareStackError", "IllegalInstruction"),
    *("MisalignedAddress", "InvalidAddressSpace", "InvalidPc", "LaunchFailure", "ExternalDevice"),
)
"""Errors after which a process cannot use CUDA any more, without their prefix.

Source: cudaError_t in NVIDIA's reference of the runtime, "leaves the process in an inconsistent state".
"""


def is_installed() -> bool:
    """Tell whether cuda-bindings is installed."""
    return find_spec("cuda") is not None and find_spec("cuda.bindings") is not None


def is_lost(api: Any = None) -> bool:
    """Tell whether an error has ended CUDA in this process."""
    if api is None and not is_installed():
        return False
    (status,) = (api or import_module("cuda.bindings.runtime")).cudaDeviceSynchronize()
    return str(status.name).removeprefix("cudaError") in _LASTING


class CudaRuntime:
    """The runtime's functions, each of which answers with its values or raises."""

    def __init__(self, api: Any = None) -> None:
        self.api = api or import_module("cuda.bindings.runtime")

    def call(self, name: str, *arguments: object) -> Any:
        """Call `name` and return its one value beside the status, or None.

        Raises:
            CannotRunError: CUDA reports an error.
        """
        status, *values = getattr(self.api, name)(*arguments)
        if status != self.api.cudaError_t.cudaSuccess:
            if status == self.api.cudaError_t.cudaErrorMemoryAllocation:
                raise out_of_memory(f"{name} on the GPU")
            raise CannotRunError(f"{name} failed: {status.name}", fix="see: prune-deploy doctor; or run it on an idle GPU")
        return values[0] if len(values) == 1 else values or None

    @contextmanager
    def stream(self) -> Iterator[Any]:
        """Open a stream that waits for no other. It ends idle."""
        stream = self.call("cudaStreamCreateWithFlags", self.api.cudaStreamNonBlocking)
        try:
            yield stream
        finally:
            # Unchecked: after an error on the device these fail too, and must not hide it.
            self.api.cudaStreamSynchronize(stream)
            self.api.cudaStreamDestroy(stream)

    def synchronize(self, stream: Any) -> None:
        """Wait until everything on the stream has ended."""
        self.call("cudaStreamSynchronize", stream)

    def free_bytes(self) -> int:
        """Return the free device memory in bytes, over all processes.

        The process's context exists afterwards.
        """
        free, _total = self.call("cudaMemGetInfo")
        return int(free)

    def allocate(self, size_bytes: int) -> int:
        """The address of new device memory."""
        return int(self.call("cudaMalloc", size_bytes))

    def release(self, address: int) -> None:
        """Give device memory back.

        The call is unchecked, since it also ends sessions that have failed.
        """
        self.api.cudaFree(address)

    def copy_in(self, address: int, host: np.ndarray[Any, Any], stream: Any) -> None:
        """Copy a contiguous array to the device, and wait."""
        kind = self.api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call("cudaMemcpyAsync", address, host.ctypes.data, host.nbytes, kind, stream)
        self.synchronize(stream)

    def copy_out(self, host: np.ndarray[Any, Any], address: int, stream: Any) -> None:
        """Copy from the device into a contiguous array, and wait."""
        kind = self.api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.call("cudaMemcpyAsync", host.ctypes.data, address, host.nbytes, kind, stream)
        self.synchronize(stream)
