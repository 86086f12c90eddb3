"""Telemetry without a GPU's variables, and processes that fight for a processor."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

GPU_KEYS = {
    "sm_clock_mhz",
    "mem_clock_mhz",
    "power_w",
    "energy_mj",
    "temperature_c",
    "event_reasons",
    "power_capped",
    "throttled",
    "violation_power_ns",
    "violation_thermal_ns",
    "pcie_generation",
    "other_gpu_processes",
}


@pytest.fixture(autouse=True)
def _no_gpu_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)


@pytest.fixture
def burners() -> Iterator[list[int]]:
    """Two processes that fight for one processor."""
    processor = min(os.sched_getaffinity(0))
    code = f"import os\nos.sched_setaffinity(0, {{{processor}}})\nwhile True: pass"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    time.sleep(0.2)
    yield [process.pid for process in processes]
    for process in processes:
        process.kill()
        process.wait()
