"""The kernel's counters of the processors: waiting, preemption, clocks and heat.

The files are read directly: psutil takes longer for the same figures, for its sensors alone a third of what a whole reading may.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from prune_deploy.execution.telemetry.procfs import read_process, read_text
from prune_deploy.execution.telemetry.source import Refused, Since, Source, Watched

# Drivers whose first sensor is the processor's own: Intel's package, AMD's control temperature, Arm boards.
_SENSORS = ("coretemp", "k10temp", "cpu_thermal")
# proc(5), field 39 of /proc/<pid>/stat, counted from the one that follows the name: names may contain blanks.
_PROCESSOR = 36


class CpuCounters:
    """Reader of counters under `proc` and `sys`.

    Shares and counts are those of the time since the reading before.
    """

    def __init__(self, proc: str = "/proc", sys: str = "/sys") -> None:
        self._proc = proc
        self._sys = sys
        self._stolen_ticks = Since()
        self._ticks = Since()
        self._stalled_us = Since()
        self._clock_ns = Since()
        self._switches: dict[int, Since] = {}
        self._sensor: str | None = None

    def sources(self) -> list[Source]:
        """Return the sources of all counters."""
        return [
            Source(keys=("load_1min",), ask=self._load),
            Source(keys=("steal_share",), ask=self._steal),
            Source(keys=("pressure_cpu_share",), ask=self._pressure),
            Source(keys=("involuntary_switches",), ask=self._involuntary_switches),
            Source(keys=("cpu_mhz",), ask=self._clock),
            Source(keys=("cpu_temperature_c",), ask=self._temperature),
        ]

    def _load(self, _: Watched) -> dict[str, float]:
        return {"load_1min": os.getloadavg()[0]}

    def _steal(self, _: Watched) -> dict[str, float]:
        """Read the share of the time that the hypervisor took.

        The kernel counts in ticks of 10 ms, which is coarse beside one short block and right in the mean of many.
        """
        first_line = read_text(f"{self._proc}/stat").partition("\n")[0]
        # Guests are counted in user and nice already.
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, first_line.split()[1:9])
        stolen = self._stolen_ticks(steal)
        ticks = self._ticks(user + nice + system + idle + iowait + irq + softirq + steal)
        return {} if stolen is None or not ticks else {"steal_share": stolen / ticks}

    def _pressure(self, _: Watched) -> dict[str, float]:
        """Read the share of time that some task waited for a processor.

        It is taken from the counter, since the averages beside it are over 10 s.
        """
        total_us = int(read_text(f"{self._proc}/pressure/cpu").partition("\n")[0].partition("total=")[2])
        stalled_us = self._stalled_us(total_us)
        elapsed_ns = self._clock_ns(time.monotonic_ns())
        return {} if stalled_us is None or not elapsed_ns else {"pressure_cpu_share": 1e3 * stalled_us / elapsed_ns}

    def _involuntary_switches(self, watched: Watched) -> dict[str, float]:
        """Count preemptions of the process's first thread.

        Its other threads are not counted.
        """
        text = self._of_process(watched.pid, "status")
        if watched.pid is None or text is None:
            return {}
        count = text.partition("nonvoluntary_ctxt_switches:")[2].split(maxsplit=1)[0]
        switches = self._switches.setdefault(watched.pid, Since())(int(count))
        return {} if switches is None else {"involuntary_switches": switches}

    def _clock(self, watched: Watched) -> dict[str, float]:
        """Read the clock of the process's last processor.

        It is the one that its first thread ran on last.
        """
        text = self._of_process(watched.pid, "stat")
        if text is None:
            return {}
        processor = int(text.rpartition(")")[2].split()[_PROCESSOR])
        khz = int(read_text(f"{self._sys}/devices/system/cpu/cpu{processor}/cpufreq/scaling_cur_freq"))
        return {"cpu_mhz": khz / 1e3}

    def _temperature(self, _: Watched) -> dict[str, float]:
        if self._sensor is None:
            self._sensor = self._find_sensor()
        return {"cpu_temperature_c": int(read_text(self._sensor)) / 1e3}

    def _find_sensor(self) -> str:
        for name in sorted(Path(self._sys).glob("class/hwmon/hwmon*/name")):
            if read_text(str(name)).strip() in _SENSORS and (sensor := name.with_name("temp1_input")).is_file():
                return str(sensor)
        raise Refused(f"no sensor of {', '.join(_SENSORS)}")

    def _of_process(self, pid: int | None, file: str) -> str | None:
        """Read a file of the process.

        It is None without a process, or if the process is gone.

        Raises:
            Refused: there are no such files on this machine.
        """
        text = None if pid is None else read_process(pid, file, self._proc)
        if pid is not None and text is None and not Path(self._proc, "stat").is_file():
            raise Refused(f"no {self._proc}")
        return text
