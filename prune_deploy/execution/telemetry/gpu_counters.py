"""NVML's counters of one GPU.

Any function may be missing from the binding or the driver, or have no answer for the card.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil

from prune_deploy.errors import first_line
from prune_deploy.execution.telemetry.source import Refused, Since, Source, Watched

EVENT_REASONS: dict[int, str] = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}
"""Reasons for the current clock, one bit each (nvml.h: nvmlClocksEventReason…, and the two that only …ThrottleReason… has)."""

POWER_CAPPED = 0x4
THROTTLED = 0x8 | 0x20 | 0x40 | 0x80

# Numbers of nvml.h, part of the driver's binary interface. Older bindings lack their names.
_CLOCK_SM, _CLOCK_MEM = 1, 2
_SENSOR_GPU = 0
_FIELD_POWER_INSTANT = 186
_POLICY_POWER, _POLICY_THERMAL = 0, 1


class GpuCounters:
    """Reader of NVML's counters of the GPU `handle`.

    `nvml` is the pynvml module. Counters return their growth since the reading before.
    """

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    def sources(self) -> list[Source]:
        """Return the sources of all readings."""
        power = self._plain("power_w", "nvmlDeviceGetPowerUsage", scale=1e-3)
        temperature = self._plain("temperature_c", "nvmlDeviceGetTemperature", _SENSOR_GPU)
        throttle = self._reasons("nvmlDeviceGetCurrentClocksThrottleReasons")
        return [
            self._plain("sm_clock_mhz", "nvmlDeviceGetClockInfo", _CLOCK_SM),
            self._plain("mem_clock_mhz", "nvmlDeviceGetClockInfo", _CLOCK_MEM),
            # From Ampere on the plain function averages over a second, which mixes candidates that take turns.
            Source(keys=power.keys, ask=self._instant_power, fallback=power),
            self._counter("energy_mj", lambda: self._call("nvmlDeviceGetTotalEnergyConsumption")),
            # The fallback is deprecated, and older drivers lack its successor.
            self._plain("temperature_c", "nvmlDeviceGetTemperatureV", _SENSOR_GPU, fallback=temperature),
            self._reasons("nvmlDeviceGetCurrentClocksEventReasons", fallback=throttle),
            self._counter("violation_power_ns", lambda: self._violation_ns(_POLICY_POWER)),
            self._counter("violation_thermal_ns", lambda: self._violation_ns(_POLICY_THERMAL)),
            self._plain("pcie_generation", "nvmlDeviceGetCurrPcieLinkGeneration"),
            Source(keys=("other_gpu_processes",), ask=self._others),
        ]

    def _plain(self, key: str, function: str, *arguments: int, scale: float = 1.0, fallback: Source | None = None) -> Source:
        """Return a source of one function's answer, times `scale`."""

        def ask(_: Watched) -> dict[str, float]:
            return {key: scale * self._call(function, *arguments)}

        return Source(keys=(key,), ask=ask, fallback=fallback)

    def _counter(self, key: str, count: Callable[[], int]) -> Source:
        """Return a source of a counter's growth since the reading before."""
        since = Since()

        def ask(_: Watched) -> dict[str, float]:
            counted = since(count())
            return {} if counted is None else {key: counted}

        return Source(keys=(key,), ask=ask)

    def _reasons(self, function: str, fallback: Source | None = None) -> Source:
        """Return a source of the mask of reasons.

        It also has whether power or heat limited the clock.
        """

        def ask(_: Watched) -> dict[str, float]:
            mask = int(self._call(function))
            return {
                "event_reasons": float(mask),
                "power_capped": float(bool(mask & POWER_CAPPED)),
                "throttled": float(bool(mask & THROTTLED)),
            }

        return Source(keys=("event_reasons", "power_capped", "throttled"), ask=ask, fallback=fallback)

    def _instant_power(self, _: Watched) -> dict[str, float]:
        field = self._call("nvmlDeviceGetFieldValues", [_FIELD_POWER_INSTANT])[0]
        if field.nvmlReturn != 0:
            raise Refused(f"NVML code {field.nvmlReturn}")
        return {"power_w": 1e-3 * field.value.uiVal}

    def _violation_ns(self, policy: int) -> int:
        return int(self._call("nvmlDeviceGetViolationStatus", policy).violationTime)

    def _others(self, watched: Watched) -> dict[str, float]:
        """Count processes that compute on the GPU and are not the comparison's."""
        pids = {process.pid for process in self._call("nvmlDeviceGetComputeRunningProcesses")} - watched.own_pids
        if not all(psutil.pid_exists(pid) for pid in pids):
            # A container has process numbers of its own, which the driver does not use: ours would look like others.
            raise Refused("the driver's process numbers are not those of this container")
        return {"other_gpu_processes": float(len(pids))}

    def _call(self, function: str, *arguments: object) -> Any:
        nvml_function = getattr(self._nvml, function, None)
        if nvml_function is None:
            raise Refused(f"this version of pynvml has no {function}")
        try:
            return nvml_function(self._handle, *arguments)
        except (
            Exception
        ) as error:  # an NVMLError, or what the binding raises beside it for an older driver: no reading ends a run
            raise Refused(first_line(error)) from error
