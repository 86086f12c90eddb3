"""A pynvml of given cards, for cases that need special GPUs."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

NOT_SUPPORTED, NO_PERMISSION, INVALID_ARGUMENT, DRIVER_NOT_LOADED, GPU_IS_LOST = 3, 4, 2, 9, 15


class FakeNvmlError(Exception):
    """Error like pynvml.NVMLError, with the code in `value`."""

    def __init__(self, value: int) -> None:
        super().__init__(f"code {value}")
        self.value = value


class FakeGpu:
    """A card whose state a test may change.

    `locked_mhz` is the clock it is held at.
    """

    def __init__(
        self, name: str = "NVIDIA RTX A2000 12GB", uuid: str = "GPU-8932f937-d72c", bus: str = "00000000:01:00.0"
    ) -> None:
        self.name = name
        self.uuid = uuid
        self.bus = bus
        self.sm_mhz = 1410
        self.reasons = 0
        self.energy_mj = 5_000_000
        self.power_violation_ns = 7_000
        self.pids: tuple[int, ...] = ()
        self.locked_mhz: tuple[int, int] | None = None


class FakeNvml:
    """Stand-in for the pynvml module.

    - `refuse` maps functions to the codes they raise, and those in `lack` do not exist.
    - `instant_power_code` is the code that the field for instant power returns.
    - `calls` lists every call.
    - `open` counts initialisations without their shutdown.
    """

    NVMLError = FakeNvmlError

    def __init__(
        self, *gpus: FakeGpu, refuse: dict[str, int] | None = None, lack: tuple[str, ...] = (), instant_power_code: int = 0
    ) -> None:
        self.gpus = gpus
        self.refuse = refuse or {}
        self.lack = lack
        self.instant_power_code = instant_power_code
        self.calls: list[str] = []
        self.open = 0

        self.answers: dict[str, Callable[..., Any]] = {
            "nvmlInit": lambda: self._count(1),
            "nvmlShutdown": lambda: self._count(-1),
            "nvmlDeviceGetCount": lambda: len(gpus),
            "nvmlDeviceGetHandleByIndex": lambda index: gpus[index],
            "nvmlDeviceGetName": lambda gpu: gpu.name,
            "nvmlDeviceGetUUID": lambda gpu: gpu.uuid,
            "nvmlDeviceGetPciInfo": lambda gpu: SimpleNamespace(busId=gpu.bus),
            "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(total=12 << 30, free=11 << 30),
            "nvmlDeviceGetClockInfo": lambda gpu, clock: {1: gpu.sm_mhz, 2: 6001}[clock],
            "nvmlDeviceGetPowerUsage": lambda gpu: 61_000,
            "nvmlDeviceGetFieldValues": lambda gpu, fields: [self._field(field) for field in fields],
            "nvmlDeviceGetTotalEnergyConsumption": lambda gpu: gpu.energy_mj,
            "nvmlDeviceGetTemperatureV": lambda gpu, sensor: 64,
            "nvmlDeviceGetTemperature": lambda gpu, sensor: 65,
            "nvmlDeviceGetCurrentClocksEventReasons": lambda gpu: gpu.reasons,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu: gpu.reasons,
            "nvmlDeviceGetViolationStatus": lambda gpu, policy: SimpleNamespace(
                violationTime={0: gpu.power_violation_ns, 1: 0}[policy]
            ),
            "nvmlDeviceGetCurrPcieLinkGeneration": lambda gpu: 4,
            "nvmlDeviceGetComputeRunningProcesses": lambda gpu: [SimpleNamespace(pid=pid) for pid in gpu.pids],
            "nvmlDeviceSetGpuLockedClocks": lambda gpu, least_mhz, most_mhz: setattr(gpu, "locked_mhz", (least_mhz, most_mhz)),
            "nvmlDeviceResetGpuLockedClocks": lambda gpu: setattr(gpu, "locked_mhz", None),
        }

    def lose(self) -> None:
        """Take the card off the bus: from now on every function raises."""
        self.refuse = dict.fromkeys(self.answers, GPU_IS_LOST)

    def __getattr__(self, function: str) -> Callable[..., Any]:
        if function in self.lack or function not in self.answers:
            raise AttributeError(f"module 'pynvml' has no attribute '{function}'")

        def call(*arguments: Any) -> Any:
            self.calls.append(function)
            if function in self.refuse:
                raise FakeNvmlError(self.refuse[function])
            return self.answers[function](*arguments)

        return call

    def _count(self, change: int) -> None:
        self.open += change

    def _field(self, field: int) -> SimpleNamespace:
        assert field == 186, "NVML_FI_DEV_POWER_INSTANT"
        return SimpleNamespace(nvmlReturn=self.instant_power_code, value=SimpleNamespace(uiVal=68_500))
