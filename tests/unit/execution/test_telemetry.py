"""What is read beside the blocks: from this machine's /proc, from staged files, and from a staged NVML."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prune_deploy.execution import telemetry as module
from prune_deploy.execution.telemetry import Telemetry, driver_reasons_text, summarize
from prune_deploy.execution.telemetry.cpu_counters import CpuCounters
from prune_deploy.execution.telemetry.source import Watched
from support.fakes.fake_nvml import FakeGpu, FakeNvml
from support.telemetry import GPU_KEYS, _no_gpu_variables, burners

__all__ = ["_no_gpu_variables", "burners"]  # fixtures


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
