"""Memory bandwidth of this machine, measured by a copy.

As STREAM counts it, read and written bytes count once each. Source: McCalpin, Memory Bandwidth and Machine Balance in Current
High Performance Computers, 1995.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from prune_deploy.errors import CannotRunError
from prune_deploy.specs import Device

_LEAST_BYTES = 64 << 20
_MOST_BYTES = 1 << 30
_CACHES = 4
"""Size of an array in multiples of the last cache.

STREAM's rules ask for four.
"""
_SECONDS = 0.6
_LEAST_RUNS = 5
_GPU_BYTES = 1 << 30
_GPU_SHARE = 0.2
"""Most of the free device memory that the two arrays may take."""


def memory_bandwidth(device: Device, threads: int) -> float:
    """Return gigabytes (1e9) per second of a copy between two arrays.

    The best of its runs counts. On a CPU `threads` copy at once.

    Raises:
        CannotRunError: there is no such device, or not enough memory on it.
    """
    return _cuda_bandwidth() if device == "cuda" else _cpu_bandwidth(threads)


def _cpu_bandwidth(threads: int) -> float:
    count = max(1, min(_MOST_BYTES, max(_LEAST_BYTES, _CACHES * last_cache_bytes())) // 8 // threads)
    # Each thread touches its own pages first, so that they lie in the memory near to it.
    with ThreadPoolExecutor(threads) as pool:
        pairs = list(pool.map(lambda _: (np.ones(count), np.zeros(count)), range(threads)))

        def copy_s() -> float:
            begin = time.perf_counter()
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))  # numpy releases the interpreter's lock meanwhile
            return time.perf_counter() - begin

        return 2 * 8 * count * threads / _best_s(copy_s) / 1e9


def _cuda_bandwidth() -> float:
    import torch

    if not torch.cuda.is_available():
        raise CannotRunError(
            "PyTorch sees no CUDA device to measure", fix="explain with `device='cpu'`; see: prune-deploy doctor"
        )
    size_bytes = min(_GPU_BYTES, int(_GPU_SHARE * torch.cuda.mem_get_info()[0] / 2)) // 4 * 4
    source = torch.ones(size_bytes // 4, device="cuda")
    target = torch.empty_like(source)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def copy_s() -> float:
        # By the device's clock: the host's wait takes 6 % of such a copy on an H100.
        begin.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    return 2 * size_bytes / _best_s(copy_s) / 1e9


def _best_s(copy_s: Callable[[], float]) -> float:
    """Return the seconds of the fastest copy."""
    copy_s()
    seconds: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(seconds) < _LEAST_RUNS or time.perf_counter() < end:
        seconds.append(copy_s())
    return min(seconds)


def last_cache_bytes(caches: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int:
    """Return the size of the last cache in bytes.

    It is 0 where Linux does not report it.
    """
    sizes = [path.read_text(encoding="ascii").strip() for path in sorted(caches.glob("index*/size"))]
    return max((int(size[:-1]) * {"K": 1 << 10, "M": 1 << 20}[size[-1]] for size in sizes if size[-1:] in ("K", "M")), default=0)
