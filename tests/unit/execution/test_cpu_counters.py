"""The kernel's figures of the processors, from staged files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from prune_deploy.execution.telemetry.cpu_counters import CpuCounters
from prune_deploy.execution.telemetry.source import Since, Watched

NOBODY = Watched(pid=None, own_pids=frozenset())


def stage(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def ask(counters: CpuCounters, watched: Watched, *keys: str) -> dict[str, float]:
    """One reading of the sources for `keys`."""
    readings: dict[str, float] = {}
    for source in counters.sources():
        if set(source.keys) & set(keys):
            readings |= source.ask(watched)
    return readings


def test_steal_is_the_share_since_the_reading_before(tmp_path: Path) -> None:
    counters = CpuCounters(str(tmp_path))
    stage(tmp_path, {"stat": "cpu  100 0 50 800 0 0 0 50 0 0\ncpu0 1 1 1\n"})
    assert ask(counters, NOBODY, "steal_share") == {}
    stage(tmp_path, {"stat": "cpu  130 0 60 850 0 0 0 60 9 0\ncpu0 1 1 1\n"})
    assert ask(counters, NOBODY, "steal_share") == {"steal_share": 0.1}
    assert ask(counters, NOBODY, "steal_share") == {}, "no tick has passed: there is no share of nothing"


def test_pressure_is_the_share_since_the_reading_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = iter((1_000_000_000, 1_100_000_000))
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(now_ns))
    line = "some avg10=0.00 avg60=0.11 avg300=0.29 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    counters = CpuCounters(str(tmp_path))
    stage(tmp_path, {"pressure/cpu": line.format(5_000)})
    assert ask(counters, NOBODY, "pressure_cpu_share") == {}
    stage(tmp_path, {"pressure/cpu": line.format(30_000)})
    assert ask(counters, NOBODY, "pressure_cpu_share") == {"pressure_cpu_share": 0.25}


def test_switches_are_counted_per_process(tmp_path: Path) -> None:
    """Two workers take turns: what one of them suffered is not charged to the other."""
    status = "Name:\tx\nvoluntary_ctxt_switches:\t9\nnonvoluntary_ctxt_switches:\t{}\nx86_Thread_features:\t\n"
    counters = CpuCounters(str(tmp_path))
    counts = {(7, 0): None, (8, 0): None, (7, 10): 10.0, (8, 3): 3.0, (7, 11): 1.0}
    for (pid, count), expected in counts.items():
        stage(tmp_path, {"stat": "cpu", f"{pid}/status": status.format(count)})
        readings = ask(counters, Watched(pid=pid, own_pids=frozenset()), "involuntary_switches")
        assert readings.get("involuntary_switches") == expected


def test_clock_is_that_of_the_processor_the_process_ran_on(tmp_path: Path) -> None:
    after_the_name = " ".join(["S", *["0"] * 35, "3", *["0"] * 13])
    frequencies = {f"devices/system/cpu/cpu{index}/cpufreq/scaling_cur_freq": f"{1000 + index}000\n" for index in range(4)}
    stage(tmp_path / "proc", {"stat": "cpu", "7/stat": f"7 (a ) name) {after_the_name}\n"})
    stage(tmp_path / "sys", frequencies)
    counters = CpuCounters(str(tmp_path / "proc"), str(tmp_path / "sys"))
    assert ask(counters, Watched(pid=7, own_pids=frozenset()), "cpu_mhz") == {"cpu_mhz": 1003.0}
    assert ask(counters, NOBODY, "cpu_mhz") == {}


def test_temperature_is_that_of_the_processors_own_sensor(tmp_path: Path) -> None:
    sensors = {"hwmon0": ("nvme", 31850), "hwmon1": ("k10temp", 48125)}
    for folder, (name, millidegrees) in sensors.items():
        place = f"class/hwmon/{folder}"
        stage(tmp_path, {f"{place}/name": f"{name}\n", f"{place}/temp1_input": f"{millidegrees}\n"})
    assert ask(CpuCounters("/proc", str(tmp_path)), NOBODY, "cpu_temperature_c") == {"cpu_temperature_c": 48.125}


def test_a_counter_that_went_back_counts_anew() -> None:
    since = Since()
    assert [since(count) for count in (5.0, 8.0, 2.0, 3.0)] == [None, 3.0, None, 1.0]
