"""Checks of the NVIDIA driver, GPU, and ONNX Runtime's CUDA libraries.

None of them keeps `export` from running on a CPU.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from prune_deploy.diagnosis.finding import Diagnosis, ok, pip, problem, warning
from prune_deploy.environment import Nvidia, installed_version, package_folder
from prune_deploy.errors import setting
from prune_deploy.specs import DEFAULT_TARGET

CUDA_MAJOR = 13
OLDEST_DRIVER = 580
"""First driver branch that runs CUDA 13 on Linux.

Source: docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html.
"""
OLDEST_COMPUTE_CAPABILITY = (7, 5)
"""Compute capability of Turing.

CUDA 13 dropped everything before it (CUDA Toolkit 13.0 release notes, deprecated architectures).
"""

WITHOUT_GPU = f"engines are built for {setting('target', DEFAULT_TARGET)} by TensorRT-RTX, not timed"
_NEW_DRIVER = f"install NVIDIA driver {OLDEST_DRIVER} or newer"


def check_driver(nvidia: Nvidia) -> Diagnosis:
    """Check the NVIDIA driver, and that it runs CUDA 13.

    A machine without a driver gets a warning, because that is no fault.
    """
    name = "NVIDIA driver"
    if nvidia.failure is not None:
        return _no_driver(nvidia)
    shown = nvidia.driver or "version unknown"
    if nvidia.cuda is not None:
        # The library's own version decides where there is one: a data-centre driver before 580 runs CUDA 13 with NVIDIA's
        # compatibility package, and NVML then reports 13.
        shown = "{}, runs CUDA {}.{}".format(shown, *nvidia.cuda)
        too_old = nvidia.cuda[0] < CUDA_MAJOR
    else:
        branch = (nvidia.driver or "").partition(".")[0]
        too_old = branch.isdecimal() and int(branch) < OLDEST_DRIVER
    if too_old:
        detail = f"{shown}: too old for CUDA {CUDA_MAJOR}, so torch, ONNX Runtime and TensorRT cannot use the GPU"
        return problem(name, detail, fix=f"{_NEW_DRIVER}, then reboot")
    return ok(name, shown)


def check_gpu(nvidia: Nvidia, variables: Mapping[str, str] = os.environ) -> Diagnosis | None:
    """Check the GPUs, and that CUDA may see them.

    Returns None without a driver, which `check_driver` reports.
    """
    name = "NVIDIA GPU"
    if nvidia.failure is not None:
        return None
    if not nvidia.gpus:
        fix = "give this machine, or this container (docker run --gpus all), an NVIDIA GPU"
        return warning(name, f"none visible: {WITHOUT_GPU}", fix=fix)
    shown = "; ".join(gpu.label for gpu in nvidia.gpus)
    capability = nvidia.gpus[0].compute_capability
    if capability is not None and capability < OLDEST_COMPUTE_CAPABILITY:
        detail = f"{shown}: CUDA {CUDA_MAJOR} supports sm75 (Turing, 2018) and newer"
        return problem(name, detail, fix="use a newer GPU for timing; export and CPU backends work")
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return warning(name, f"{shown}, hidden by CUDA_VISIBLE_DEVICES={visible}", fix="unset CUDA_VISIBLE_DEVICES")
    return ok(name, shown if visible is None else f"{shown}; CUDA_VISIBLE_DEVICES={visible}")


def check_cuda_libraries(
    nvidia: Nvidia,
    versions: Callable[[str], str | None] = installed_version,
    present: Callable[[str], bool] | None = None,
    folder: Callable[[str], Path | None] = package_folder,
) -> Diagnosis | None:
    """Check the libraries that ONNX Runtime's CUDA provider loads.

    Without one of them it falls back to the CPU. Returns None if the GPU build is not installed.
    """
    if versions("onnxruntime-gpu") is None:
        return None
    needed = cuda_sonames(onnxruntime_cuda_major(folder("onnxruntime")))
    missing = [soname for soname in needed if not (present or library_present)(soname)]
    if not missing:
        return ok("CUDA libraries", f"ONNX Runtime's are here: {', '.join(needed)}")
    report = problem if nvidia.gpus else warning
    return report(
        "CUDA libraries",
        f"missing {', '.join(missing)}: ONNX Runtime cannot use {'the' if nvidia.gpus else 'a'} GPU",
        fix=pip("install", "onnxruntime-gpu[cuda,cudnn]"),
    )


def onnxruntime_cuda_major(onnxruntime_folder: Path | None) -> int:
    """Return the CUDA major version ONNX Runtime was built for.

    It is read from its build record, and is 13 without one.
    """
    record = None if onnxruntime_folder is None else onnxruntime_folder / "capi" / "build_and_package_info.py"
    text = record.read_text(encoding="utf-8") if record is not None and record.is_file() else ""
    version = re.search(r"""^cuda_version = ["'](\d+)""", text, re.MULTILINE)
    return int(version[1]) if version else CUDA_MAJOR


def cuda_sonames(cuda_major: int) -> tuple[str, ...]:
    """Return the file names of the libraries.

    cuRAND and cuFFT have version numbers of their own (onnxruntime/__init__.py, `_get_nvidia_dll_paths`).
    """
    own = tuple(f"{stem}.so.{cuda_major}" for stem in ("libcudart", "libcublas", "libcublasLt"))
    return (*own, "libcurand.so.10", f"libcufft.so.{cuda_major - 1}", "libcudnn.so.9")


def library_present(soname: str, roots: tuple[str, ...] | None = None) -> bool:
    """Return whether a shared library can be found.

    It may lie in one of NVIDIA's pip packages, or the system's loader finds it.
    """
    if any(True for root in (roots or tuple(sys.path)) for _ in Path(root).glob(f"nvidia/*/lib/{soname}")):
        return True
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def _no_driver(nvidia: Nvidia) -> Diagnosis:
    name, detail = "NVIDIA driver", f"none that answers ({nvidia.reason}): {WITHOUT_GPU}"
    match nvidia.failure:
        case "mismatch":
            return problem(name, detail, fix="reboot: the driver was updated while its old kernel module runs on")
        case "not-loaded":
            return warning(name, detail, fix="if this machine has an NVIDIA GPU, load the driver's module: sudo modprobe nvidia")
        case "no-pynvml":
            return warning(name, detail, fix=f"if this machine has an NVIDIA GPU: {pip('install', 'prune-deploy[gpu]')}")
        case "no-nvml":
            fix = f"to time engines, {_NEW_DRIVER} on a machine with an NVIDIA GPU; in a container: docker run --gpus all"
            return warning(name, detail, fix=fix)
    return warning(name, detail, fix="see whether nvidia-smi works; if not, " + _NEW_DRIVER)
