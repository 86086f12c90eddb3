"""Telemetry: load, clocks, power and heat between the blocks of a comparison.

It is never read while a block is timed.
"""

from __future__ import annotations

import functools
import operator
import os
import statistics
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from prune_deploy.errors import CannotRunError, first_line
from prune_deploy.execution.telemetry.cpu_counters import CpuCounters
from prune_deploy.execution.telemetry.gpu_counters import EVENT_REASONS, GpuCounters
from prune_deploy.execution.telemetry.source import Refused, Source, Watched
from prune_deploy.gpus import open_gpu
from prune_deploy.specs import Device

SLOWEST_S = 1e-3
"""A processor's figure that takes longer than this to read is left out. Some clock drivers wait 10 ms for a new value."""

_TRIES = 3

# What a record keeps of each reading. Shares and counts are of the time since the reading before, so sums and means are right.
_SUMMARY: dict[str, dict[str, Callable[[Sequence[float]], float]]] = {
    "load_1min": {"load_1min_mean": statistics.fmean, "load_1min_max": max},
    "steal_share": {"steal_share_mean": statistics.fmean, "steal_share_max": max},
    "pressure_cpu_share": {"pressure_cpu_share_mean": statistics.fmean, "pressure_cpu_share_max": max},
    "involuntary_switches": {"involuntary_switches": sum},
    "waited_share": {"waited_share_median": statistics.median, "waited_share_max": max},
    "cpu_mhz": {"cpu_mhz_median": statistics.median, "cpu_mhz_min": min, "cpu_mhz_max": max},
    "cpu_temperature_c": {"cpu_temperature_c_median": statistics.median, "cpu_temperature_c_max": max},
    "sm_clock_mhz": {"sm_clock_mhz_median": statistics.median, "sm_clock_mhz_min": min, "sm_clock_mhz_max": max},
    "mem_clock_mhz": {"mem_clock_mhz_median": statistics.median, "mem_clock_mhz_min": min, "mem_clock_mhz_max": max},
    "power_w": {"power_w_median": statistics.median, "power_w_max": max},
    "energy_mj": {"energy_j": lambda values: sum(values) / 1e3},
    "temperature_c": {"temperature_c_median": statistics.median, "temperature_c_max": max},
    "event_reasons": {"event_reasons": lambda values: float(functools.reduce(operator.or_, map(int, values)))},
    "power_capped": {"power_capped_share": statistics.fmean},
    "throttled": {"throttled_share": statistics.fmean},
    "violation_power_ns": {"violation_power_ns": sum},
    "violation_thermal_ns": {"violation_thermal_ns": sum},
    "pcie_generation": {"pcie_generation_min": min},
    "other_gpu_processes": {"other_gpu_processes_max": max},
    "allocator_retries": {"allocator_retries": sum},
}


class Telemetry:
    """Reader of load, clocks, power and heat.

    `unavailable` names the readings that the machine does not give, with the reason of each.

    Processors: `load_1min`, `steal_share` (taken by the hypervisor), `pressure_cpu_share` (some task waited for a processor),
    `involuntary_switches`, `cpu_mhz`, `cpu_temperature_c`.

    With `device` "cuda" also the GPU that CUDA calls number 0 (limits: `gpus.open_gpu`): `sm_clock_mhz`, `mem_clock_mhz`,
    `power_w`, `energy_mj`, `temperature_c`, `event_reasons` (a mask), `power_capped` and `throttled` (1 or 0). Then
    `violation_power_ns`, `violation_thermal_ns`, `pcie_generation`, `other_gpu_processes`. `nvml` is the pynvml module to use.

    Shares, switches, energy and violations are those since the reading before (of the same process, for switches). A reading
    taken after a block thus describes that block. Energy is counted in steps that may be longer than a block: trust its sum over
    seconds.
    """

    def __init__(self, device: Device, nvml: Any = None) -> None:
        self.unavailable: dict[str, str] = {}
        self._stack = ExitStack()
        processors = CpuCounters().sources()
        self._sources = processors + (self._gpu_sources(nvml) if device == "cuda" else [])
        # Finds out what there is, and begins everything that counts "since".
        self.read(pid=os.getpid())
        self._drop_slow(processors)

    def read(self, pid: int | None = None, own_pids: Collection[int] = ()) -> dict[str, float]:
        """Take one reading. Unavailable values are absent from it.

        `pid` is the process that ran last. `own_pids` are all processes of the comparison. They do not count as others on the
        GPU.
        """
        own = {os.getpid(), *own_pids, *([] if pid is None else [pid])}
        watched = Watched(pid=pid, own_pids=frozenset(own))
        readings: dict[str, float] = {}
        self._sources = [kept for source in self._sources if (kept := self._ask(source, watched, readings)) is not None]
        return readings

    def close(self) -> None:
        """Close the driver.

        It is safe to call again.
        """
        self._stack.close()

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _ask(self, source: Source, watched: Watched, readings: dict[str, float]) -> Source | None:
        """Put a source's values into `readings`.

        Returns the source to ask next time: this one, its fallback, or None.
        """
        try:
            readings.update(source.ask(watched))
        except (Refused, OSError, ValueError, IndexError) as error:
            if source.fallback is not None:
                return self._ask(source.fallback, watched, readings)
            self._give_up(source, first_line(error))
            return None
        return source

    def _give_up(self, source: Source, reason: str) -> None:
        self.unavailable.update(dict.fromkeys(source.keys, reason))

    def _drop_slow(self, sources: Sequence[Source]) -> None:
        """Drop sources that are too slow to be read beside every block."""
        watched = Watched(pid=os.getpid(), own_pids=frozenset())
        for source in sources:
            if source in self._sources and (duration_s := min(self._seconds(source, watched) for _ in range(_TRIES))) > SLOWEST_S:
                self._sources.remove(source)
                self._give_up(source, f"one reading takes {1e3 * duration_s:.1f} ms")

    def _seconds(self, source: Source, watched: Watched) -> float:
        begin = time.perf_counter()
        self._ask(source, watched, {})
        return time.perf_counter() - begin

    def _gpu_sources(self, nvml: Any) -> list[Source]:
        try:
            module, handle = self._stack.enter_context(open_gpu(nvml))
        except CannotRunError as error:
            for source in GpuCounters(None, None).sources():
                self._give_up(source, error.message)
            return []
        return GpuCounters(module, handle).sources()


def summarize(readings: Sequence[dict[str, float]]) -> dict[str, float]:
    """Summarize readings for a record.

    Medians, extremes, shares of the readings that were capped or throttled, and sums of counts are kept. `energy_j` is the energy
    of the whole GPU in the time of these readings. `event_reasons` has every bit that was ever set.
    """
    summary: dict[str, float] = {}
    for key, figures in _SUMMARY.items():
        values = [reading[key] for reading in readings if key in reading]
        if values:
            summary |= {name: float(figure(values)) for name, figure in figures.items()}
    return summary


def driver_reasons_text(mask: int) -> tuple[str, ...]:
    """Return the names of the bits that are set in `event_reasons`.

    A bit without a name is shown as a number.
    """
    known = tuple(name for bit, name in EVENT_REASONS.items() if mask & bit)
    unknown = mask & ~functools.reduce(operator.or_, EVENT_REASONS)
    return (*known, f"reason 0x{unknown:x}") if unknown else known


def free_device_bytes(nvml: Any = None) -> int | None:
    """Return the free memory of the GPU in bytes.

    It is that of the GPU that will be used, and None where it is unknown.
    """
    try:
        with open_gpu(nvml) as (module, handle):
            try:
                return int(module.nvmlDeviceGetMemoryInfo(handle).free)
            except module.NVMLError:
                return None
    except CannotRunError:
        return None
