"""Machine and libraries, without importing torch, onnxruntime or tensorrt.

Versions come from metadata, and GPUs from NVML. The record names no host, no user and no folder, so it can be published as it is.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil

from prune_deploy.records import Environment

LIBRARIES: tuple[str, ...] = (
    "prune-deploy",
    "torch",
    "torchvision",
    "torch-pruning",
    "timm",
    "numpy",
    "safetensors",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
    "triton",
    "nvidia-cuda-runtime",
    "nvidia-cublas",
    "nvidia-cudnn-cu13",
)
"""Distributions whose version can change an artifact or a figure.

Absent ones are left out of the record.
"""

NvmlFailure = Literal["no-pynvml", "no-nvml", "not-loaded", "mismatch", "other"]
"""Reason why NVML could not be queried.

- no-pynvml: its Python binding is missing.
- no-nvml: there is no NVML library (no driver, or a container without it).
- not-loaded: the kernel module is not loaded.
- mismatch: library and kernel module have different versions (an update waits for a reboot).
- other: anything else.
"""

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as NVML reports it.

    A value that the driver does not report is None.
    """

    name: str
    compute_capability: tuple[int, int] | None = None
    memory_bytes: int | None = None

    @property
    def target(self) -> str | None:
        """The compute capability as a target's name: "sm86"."""
        return None if self.compute_capability is None else "sm{}{}".format(*self.compute_capability)

    @property
    def label(self) -> str:
        """Name, compute capability and memory, as far as known."""
        memory = None if self.memory_bytes is None else f"{self.memory_bytes / 2**30:.1f} GiB"
        return ", ".join(part for part in (self.name, self.target, memory) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvidia:
    """NVML's report, or the reason why there is none.

    It has the GPUs in NVML's order, the driver version, and the newest CUDA (major, minor) that the driver runs.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: tuple[int, int] | None = None
    failure: NvmlFailure | None = None
    reason: str = ""


def capture() -> Environment:
    """Return this machine and its libraries, now.

    `cpu_count` and `memory_bytes` are the part of the host's that this process may use.
    """
    nvidia = read_nvml()
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=cpu_model(read_cpuinfo()),
        cpu_count=usable_cpus(),
        memory_bytes=usable_memory_bytes(psutil.virtual_memory().total),
        libraries={name: version for name in LIBRARIES if (version := _build_version(name)) is not None},
        gpus=tuple(gpu.label for gpu in nvidia.gpus),
        driver=nvidia.driver,
        captured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def installed_version(distribution: str) -> str | None:
    """Return the version in a distribution's metadata, or None.

    It is None for a distribution that is not installed.
    """
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def package_folder(package: str) -> Path | None:
    """Return the folder of a top-level package, without importing it.

    It is None if the package is absent, or only its remains exist (no `__init__.py`).
    """
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def read_version_file(package: str) -> str:
    """Return the text of a package's `version.py`, or "".

    The file names the build ("2.15.0+cu132") where metadata does not.
    """
    folder = package_folder(package)
    path = None if folder is None else folder / "version.py"
    return path.read_text(encoding="utf-8") if path is not None and path.is_file() else ""


def read_nvml(nvml: Any = None) -> Nvidia:
    """Query GPUs, driver and CUDA version from NVML.

    The result holds the reason where there are none, and this function never raises. `nvml` is the pynvml module.
    """
    try:
        nvml = nvml or importlib.import_module("pynvml")
    except ImportError as error:
        return Nvidia(failure="no-pynvml", reason=str(error))
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Nvidia(failure=_failure(nvml, error), reason=str(error))
    try:
        number = _ask(nvml, "nvmlSystemGetCudaDriverVersion_v2") or _ask(nvml, "nvmlSystemGetCudaDriverVersion")
        return Nvidia(
            gpus=tuple(_read_gpu(nvml, index) for index in range(_ask(nvml, "nvmlDeviceGetCount") or 0)),
            driver=_ask(nvml, "nvmlSystemGetDriverVersion"),
            cuda=(number // 1000, number % 1000 // 10) if number else None,
        )
    finally:
        _ask(nvml, "nvmlShutdown")


def read_cpuinfo(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return the first processor's entry of Linux's /proc/cpuinfo.

    It is {} where that file is absent.
    """
    entry: dict[str, str] = {}
    if not path.is_file():
        return entry
    with path.open(encoding="utf-8", errors="replace") as lines:
        # Stop at the first blank line: the processors that follow repeat it, and a large server has hundreds.
        for line in lines:
            key, colon, value = line.partition(":")
            if not colon:
                break
            entry[key.strip()] = value.strip()
    return entry


def cpu_model(cpuinfo: dict[str, str]) -> str:
    """Return the processor's name.

    On Arm, where Linux has no name for it, it is the architecture.
    """
    return cpuinfo.get("model name") or platform.processor() or platform.machine() or "unknown"


def usable_cpus() -> int:
    """Return the number of logical CPUs this process may run on.

    A container or taskset may make it smaller than the machine's.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_memory_bytes(total_bytes: int, limits: tuple[Path, ...] = _CGROUP_LIMITS) -> int:
    """Return `total_bytes`, or a container's limit if that is less.

    Beyond that limit the kernel kills the process silently.
    """
    texts = (path.read_text(encoding="ascii").strip() for path in limits if path.is_file())
    return min([total_bytes, *(int(text) for text in texts if text.isdecimal())])


def _read_gpu(nvml: Any, index: int) -> Gpu:
    handle = _ask(nvml, "nvmlDeviceGetHandleByIndex", index)
    if handle is None:
        return Gpu(name=f"GPU {index}, which does not answer")
    memory = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    return Gpu(
        name=_ask(nvml, "nvmlDeviceGetName", handle) or f"GPU {index}",
        compute_capability=_ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle),
        memory_bytes=None if memory is None else memory.total,
    )


def _ask(nvml: Any, function: str, *arguments: object) -> Any:
    """Return one value from NVML, or None.

    Old drivers lack functions, and some cards (shared memory) report nothing for some.
    """
    try:
        return getattr(nvml, function)(*arguments) if hasattr(nvml, function) else None
    except nvml.NVMLError:
        return None


def _failure(nvml: Any, error: Exception) -> NvmlFailure:
    kinds: dict[int, NvmlFailure] = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no-nvml",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "not-loaded",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "mismatch",
    }
    return kinds.get(getattr(error, "value", -1), "other")


def _build_version(distribution: str) -> str | None:
    """Return the installed version, with its build tag from `version.py`.

    The tag matters: a +cpu torch is not a +cu132 torch.
    """
    version = installed_version(distribution)
    if version is None or distribution not in ("torch", "torchvision"):
        return version
    match = re.search(r"^__version__ = '([^']+)'", read_version_file(distribution), re.MULTILINE)
    return match[1] if match else version
