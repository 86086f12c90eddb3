"""What is read of GPUs beside the blocks, from a staged NVML."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from prune_deploy.execution.comparison import telemetry_of
from prune_deploy.execution.telemetry import Telemetry, driver_reasons_text, free_device_bytes, summarize
from prune_deploy.measure.samples import Block
from support.fakes.fake_nvml import DRIVER_NOT_LOADED, NOT_SUPPORTED, FakeGpu, FakeNvml
from support.telemetry import GPU_KEYS, _no_gpu_variables, burners

__all__ = ["_no_gpu_variables", "burners"]  # fixtures


def test_gpu_reading() -> None:
    gpu = FakeGpu()
    nvml = FakeNvml(gpu)
    with Telemetry("cuda", nvml) as telemetry:
        gpu.energy_mj += 4_200
        gpu.power_violation_ns += 1_500
        readings = telemetry.read()
        expected = {
            "sm_clock_mhz": 1410,
            "mem_clock_mhz": 6001,
            "power_w": 68.5,
            "energy_mj": 4_200,
            "temperature_c": 64,
            "event_reasons": 0,
            "power_capped": 0,
            "throttled": 0,
            "violation_power_ns": 1_500,
            "violation_thermal_ns": 0,
            "pcie_generation": 4,
            "other_gpu_processes": 0,
        }
        assert {key: readings[key] for key in GPU_KEYS} == pytest.approx(expected)
        assert all(isinstance(value, float) for value in readings.values())
        assert not GPU_KEYS & set(telemetry.unavailable)
        assert nvml.open == 1
    telemetry.close()
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("mask", "capped", "throttled"),
    [(0x1, 0, 0), (0x2, 0, 0), (0x4, 1, 0), (0x8, 0, 1), (0x10, 0, 0), (0x20, 0, 1), (0x40, 0, 1), (0x80, 0, 1), (0x44, 1, 1)],
)
def test_bits_that_mean_power_or_heat(mask: int, capped: float, throttled: float) -> None:
    gpu = FakeGpu()
    with Telemetry("cuda", FakeNvml(gpu)) as telemetry:
        gpu.reasons = mask
        readings = telemetry.read()
    assert (readings["event_reasons"], readings["power_capped"], readings["throttled"]) == (mask, capped, throttled)


def test_energy_of_one_run_counts_the_blocks_that_have_a_reading() -> None:
    def block(runs: int, readings: dict[str, float]) -> Block:
        times_ns = np.full(runs, 1_000_000, dtype=np.int64)
        place = {"candidate": 0, "launch": 0, "round": 0, "position": 0, "started_ns": 0, "leading": 2}
        return Block(**place, phase="timed", samples_ns=times_ns, readings=readings)

    first = block(5, {"power_w": 60.0})  # a counter has no growth at its first reading
    found = telemetry_of([first, block(10, {"power_w": 60.0, "energy_mj": 900.0}), block(20, {"energy_mj": 600.0})])
    assert found["energy_per_run_j"] == pytest.approx(1.5 / 30)
    assert found["energy_j"] == 1.5
    assert "energy_per_run_j" not in telemetry_of([first])


def test_a_clock_that_falls_while_throttled_shows_in_the_summary() -> None:
    gpu = FakeGpu()
    with Telemetry("cuda", FakeNvml(gpu)) as telemetry:
        readings = [telemetry.read()]
        gpu.sm_mhz, gpu.reasons, gpu.energy_mj = 1200, 0x40, gpu.energy_mj + 3_000
        readings += [telemetry.read(), telemetry.read(), telemetry.read()]
    summary = summarize(readings)
    assert (summary["sm_clock_mhz_max"], summary["sm_clock_mhz_median"], summary["sm_clock_mhz_min"]) == (1410, 1200, 1200)
    assert summary["throttled_share"] == 0.75
    assert summary["power_capped_share"] == 0
    assert summary["energy_j"] == 3.0
    assert driver_reasons_text(int(summary["event_reasons"])) == ("hardware thermal slowdown",)


@pytest.mark.parametrize(
    ("function", "keys"),
    [
        ("nvmlDeviceGetClockInfo", {"sm_clock_mhz", "mem_clock_mhz"}),
        ("nvmlDeviceGetTotalEnergyConsumption", {"energy_mj"}),
        ("nvmlDeviceGetViolationStatus", {"violation_power_ns", "violation_thermal_ns"}),
        ("nvmlDeviceGetCurrPcieLinkGeneration", {"pcie_generation"}),
        ("nvmlDeviceGetComputeRunningProcesses", {"other_gpu_processes"}),
    ],
)
@pytest.mark.parametrize("missing", [True, False])
def test_a_function_without_an_answer_is_asked_once(function: str, keys: set[str], missing: bool) -> None:
    nvml = FakeNvml(FakeGpu(), **({"lack": (function,)} if missing else {"refuse": {function: NOT_SUPPORTED}}))
    with Telemetry("cuda", nvml) as telemetry:
        asked = nvml.calls.count(function)
        readings = telemetry.read()
        assert nvml.calls.count(function) == asked <= len(keys)
    assert set(readings) & GPU_KEYS == GPU_KEYS - keys
    expected = f"this version of pynvml has no {function}" if missing else f"code {NOT_SUPPORTED}"
    assert {key: telemetry.unavailable[key] for key in keys} == dict.fromkeys(keys, expected)


@pytest.mark.parametrize(
    ("newer", "key", "before", "after"),
    [
        ("nvmlDeviceGetCurrentClocksEventReasons", "throttled", 1, 1),
        ("nvmlDeviceGetTemperatureV", "temperature_c", 64, 65),
        ("nvmlDeviceGetFieldValues", "power_w", 68.5, 61),
    ],
)
def test_the_older_function_takes_over(newer: str, key: str, before: float, after: float) -> None:
    gpu = FakeGpu()
    gpu.reasons = 0x8
    with Telemetry("cuda", FakeNvml(gpu)) as telemetry:
        assert telemetry.read()[key] == pytest.approx(before)
    for nvml in (FakeNvml(gpu, lack=(newer,)), FakeNvml(gpu, refuse={newer: NOT_SUPPORTED})):
        with Telemetry("cuda", nvml) as telemetry:
            assert telemetry.read()[key] == pytest.approx(after)
        assert key not in telemetry.unavailable
        assert nvml.calls.count(newer) <= 1


def test_instant_power_that_the_card_does_not_offer() -> None:
    with Telemetry("cuda", FakeNvml(FakeGpu(), instant_power_code=NOT_SUPPORTED)) as telemetry:
        assert telemetry.read()["power_w"] == 61
    refuse = {"nvmlDeviceGetPowerUsage": NOT_SUPPORTED}
    with Telemetry("cuda", FakeNvml(FakeGpu(), refuse=refuse, instant_power_code=NOT_SUPPORTED)) as telemetry:
        assert "power_w" not in telemetry.read()
    assert telemetry.unavailable["power_w"] == f"code {NOT_SUPPORTED}"


def test_a_gpu_that_is_lost_on_the_way() -> None:
    nvml = FakeNvml(FakeGpu())
    with Telemetry("cuda", nvml) as telemetry:
        assert telemetry.read().keys() >= GPU_KEYS
        nvml.lose()
        assert not GPU_KEYS & set(telemetry.read())
        assert set(telemetry.unavailable) >= GPU_KEYS


def test_other_processes_on_the_gpu(burners: list[int]) -> None:
    gpu = FakeGpu()
    worker, unknown = burners
    with Telemetry("cuda", FakeNvml(gpu)) as telemetry:
        gpu.pids = (unknown, os.getpid(), worker)
        assert telemetry.read(own_pids=[worker])["other_gpu_processes"] == 1
        assert telemetry.read(pid=worker)["other_gpu_processes"] == 1
        assert telemetry.read()["other_gpu_processes"] == 2
        gpu.pids = (2**22 + 1,)
        assert "other_gpu_processes" not in telemetry.read()
    assert "container" in telemetry.unavailable["other_gpu_processes"]


def test_without_driver_every_gpu_reading_has_the_reason() -> None:
    with Telemetry("cuda", FakeNvml(refuse={"nvmlInit": DRIVER_NOT_LOADED})) as telemetry:
        assert not GPU_KEYS & set(telemetry.read())
    assert {
        key for key, reason in telemetry.unavailable.items() if reason == f"no GPU to observe: code {DRIVER_NOT_LOADED}"
    } == GPU_KEYS


def test_without_binding_every_gpu_reading_has_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pynvml" in Telemetry("cuda").unavailable["sm_clock_mhz"]
    assert free_device_bytes() is None


def test_free_memory() -> None:
    nvml = FakeNvml(FakeGpu())
    assert free_device_bytes(nvml) == 11 << 30
    assert nvml.open == 0
    assert free_device_bytes(FakeNvml()) is None
    assert free_device_bytes(FakeNvml(FakeGpu(), refuse={"nvmlDeviceGetMemoryInfo": NOT_SUPPORTED})) is None


def test_whatever_the_binding_raises_no_reading_ends_a_run() -> None:
    """pynvml raises NVMLLibraryMismatchError on older drivers, which is no NVMLError."""
    nvml = FakeNvml(FakeGpu())

    def mismatch(gpu: FakeGpu) -> None:
        raise RuntimeError("the driver is older than this binding")

    nvml.answers["nvmlDeviceGetComputeRunningProcesses"] = mismatch
    with Telemetry("cuda", nvml) as telemetry:
        assert "sm_clock_mhz" in telemetry.read()
        assert telemetry.unavailable["other_gpu_processes"] == "the driver is older than this binding"
