"""What is read beside the blocks: from this machine's /proc, from staged files, and from a staged NVML."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prune_deploy.execution import telemetry as module
from prune_deploy.execution.telemetry import Telemetry, driver_reasons_text, free_device_bytes, summarize
from prune_deploy.execution.telemetry.cpu_counters import CpuCounters
from prune_deploy.execution.telemetry.source import Watched
from support.fakes.fake_nvml import DRIVER_NOT_LOADED, NOT_SUPPORTED, FakeGpu, FakeNvml

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


# This machine


def test_cpu_reading_of_this_machine() -> None:
    with Telemetry("cpu") as telemetry:
        time.sleep(0.05)
        readings = telemetry.read(pid=os.getpid())
    keys = {"load_1min", "steal_share", "pressure_cpu_share", "involuntary_switches", "cpu_mhz", "cpu_temperature_c"}
    assert set(readings) | set(telemetry.unavailable) == keys
    assert not set(readings) & set(telemetry.unavailable)
    assert readings["load_1min"] >= 0
    assert 0 <= readings["steal_share"] <= 1
    assert all(isinstance(value, float) for value in readings.values())
    assert all(telemetry.unavailable.values())


@pytest.mark.timeout(120)
def test_contention_shows_in_pressure_and_switches(burners: list[int]) -> None:
    with Telemetry("cpu") as telemetry:
        telemetry.read(pid=burners[0])
        switches, pressure = 0.0, 0.0
        has_pressure = "pressure_cpu_share" not in telemetry.unavailable
        # They take turns of some milliseconds; on a busy machine it takes longer until they have had several.
        while switches < 5 or (has_pressure and pressure <= 0.01):
            time.sleep(0.5)
            readings = telemetry.read(pid=burners[0])
            switches += readings["involuntary_switches"]
            pressure = max(pressure, readings.get("pressure_cpu_share", 0.0))


def test_a_process_that_is_gone_leaves_the_rest() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with Telemetry("cpu") as telemetry:
        time.sleep(0.03)
        readings = telemetry.read(pid=process.pid)
        assert "involuntary_switches" not in readings
        assert "load_1min" in readings
        assert "involuntary_switches" not in telemetry.unavailable
        telemetry.read(pid=os.getpid())
        assert "involuntary_switches" in telemetry.read(pid=os.getpid())


def test_a_reading_is_cheap() -> None:
    """Processor time counts. The figure itself comes from benchmarks/telemetry_cost.py."""
    durations_s = []
    with Telemetry("cpu") as telemetry:
        for _ in range(200):
            begin_s = time.process_time()
            telemetry.read(pid=os.getpid())
            durations_s.append(time.process_time() - begin_s)
    assert statistics.median(durations_s) < 2e-3


def test_cpu_telemetry_never_looks_for_a_gpu() -> None:
    nvml = FakeNvml(FakeGpu())
    Telemetry("cpu", nvml).close()
    assert nvml.calls == []


# Staged files of the kernel


@pytest.mark.parametrize("content", ["", "cpu  1 2\n", "nonsense\n"])
def test_files_that_cannot_be_read_become_reasons(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stat", "pressure/cpu", f"{os.getpid()}/status", f"{os.getpid()}/stat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(module, "CpuCounters", lambda: CpuCounters(str(tmp_path), str(tmp_path)))
    telemetry = Telemetry("cpu")
    broken = {"steal_share", "pressure_cpu_share", "involuntary_switches", "cpu_mhz", "cpu_temperature_c"}
    assert set(telemetry.unavailable) == broken
    assert set(telemetry.read(pid=os.getpid())) == {"load_1min"}


def test_without_proc_everything_has_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CpuCounters", lambda: CpuCounters(str(tmp_path / "none"), str(tmp_path)))
    unavailable = Telemetry("cpu").unavailable
    assert "No such file" in unavailable["steal_share"]
    assert unavailable["involuntary_switches"] == f"no {tmp_path / 'none'}"


def test_what_takes_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(CpuCounters):
        def _temperature(self, _: Watched) -> dict[str, float]:
            time.sleep(2 * module.SLOWEST_S)
            return {"cpu_temperature_c": 50.0}

    monkeypatch.setattr(module, "CpuCounters", Slow)
    telemetry = Telemetry("cpu")
    assert "cpu_temperature_c" not in telemetry.read()
    assert telemetry.unavailable["cpu_temperature_c"].startswith("one reading takes ")


# A staged NVML


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


# Summaries


def test_summary_of_processors() -> None:
    readings = [
        {"load_1min": 1.0, "steal_share": 0.0, "involuntary_switches": 4.0},
        {"load_1min": 2.0, "steal_share": 0.25, "involuntary_switches": 0.0, "cpu_mhz": 3000.0},
        {"load_1min": 3.0},
    ]
    assert summarize(readings) == {
        "load_1min_mean": 2.0,
        "load_1min_max": 3.0,
        "steal_share_mean": 0.125,
        "steal_share_max": 0.25,
        "involuntary_switches": 4.0,
        "cpu_mhz_median": 3000.0,
        "cpu_mhz_min": 3000.0,
        "cpu_mhz_max": 3000.0,
    }
    assert summarize([]) == {}


def test_every_reading_has_a_summary() -> None:
    with Telemetry("cuda", FakeNvml(FakeGpu())) as telemetry:
        telemetry.read()
        keys = set(telemetry.read(pid=os.getpid())) | set(telemetry.unavailable)
    assert keys >= GPU_KEYS | {"cpu_mhz", "involuntary_switches"}
    assert [key for key in sorted(keys) if not summarize([{key: 1.0}])] == []


def test_names_of_reasons() -> None:
    assert driver_reasons_text(0) == ()
    assert driver_reasons_text(0x5) == ("idle", "software power cap")
    assert len(driver_reasons_text(0x7FF)) == 11
    assert driver_reasons_text(0x1008) == ("hardware slowdown", "reason 0x1000")
