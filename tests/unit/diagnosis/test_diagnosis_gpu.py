"""Checks of driver, GPU and CUDA libraries, each fault staged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from prune_deploy.diagnosis import Diagnosis, gpu
from prune_deploy.environment import Gpu, Nvidia, package_folder

NO_DRIVER = Nvidia(failure="no-nvml", reason="NVML Shared Library Not Found")
A2000 = Nvidia(gpus=(Gpu(name="RTX A2000", compute_capability=(8, 6)),), driver="580.95.05", cuda=(13, 0))


def gpu_build(distribution: str) -> str | None:
    """An installation with the GPU build of ONNX Runtime."""
    return {"onnxruntime-gpu": "1.31.1"}.get(distribution)


def judged(check: Diagnosis | None) -> tuple[str, bool]:
    assert check is not None
    return check.status, check.blocks_export


@pytest.mark.parametrize(
    ("nvidia", "status", "fix"),
    [
        (A2000, "ok", ""),
        (NO_DRIVER, "warning", "driver 580"),
        (replace(NO_DRIVER, failure="no-pynvml"), "warning", "pip install 'prune-deploy[gpu]'"),
        (replace(NO_DRIVER, failure="not-loaded"), "warning", "modprobe nvidia"),
        (replace(NO_DRIVER, failure="mismatch"), "problem", "reboot"),
        (replace(NO_DRIVER, failure="other"), "warning", "nvidia-smi"),
        (replace(A2000, driver="575.57.08", cuda=(12, 9)), "problem", "driver 580"),
        (replace(A2000, driver="575.57.08", cuda=None), "problem", "driver 580"),
        (replace(A2000, driver="580.65.06", cuda=None), "ok", ""),
        (replace(A2000, driver="535.230.02", cuda=(13, 0)), "ok", ""),
        (replace(A2000, driver=None, cuda=None), "ok", ""),
    ],
)
def test_driver(nvidia: Nvidia, status: str, fix: str) -> None:
    check = gpu.check_driver(nvidia)
    assert judged(check) == (status, False)
    assert fix in check.fix


def test_no_driver_says_what_still_works() -> None:
    detail = gpu.check_driver(NO_DRIVER).detail
    assert "NVML Shared Library Not Found" in detail
    assert "engines are built for `target='sm86'` by TensorRT-RTX, not timed" in detail


@pytest.mark.parametrize(
    ("nvidia", "visible", "status"),
    [
        (A2000, None, "ok"),
        (A2000, "0", "ok"),
        (A2000, "", "warning"),
        (A2000, "-1", "warning"),
        (replace(A2000, gpus=()), None, "warning"),
        (replace(A2000, gpus=(Gpu(name="V100", compute_capability=(7, 0)),)), None, "problem"),
        (replace(A2000, gpus=(Gpu(name="GPU 0, which does not answer"),)), None, "ok"),
    ],
)
def test_gpu(nvidia: Nvidia, visible: str | None, status: str) -> None:
    variables = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert judged(gpu.check_gpu(nvidia, variables)) == (status, False)


def test_gpu_is_left_to_the_driver_check_without_a_driver() -> None:
    assert gpu.check_gpu(NO_DRIVER) is None


def test_cuda_libraries_missing() -> None:
    def present(soname: str) -> bool:
        return not soname.startswith("libcu") or soname.startswith(("libcublas", "libcudart"))

    there = gpu.check_cuda_libraries(NO_DRIVER, gpu_build, lambda _: True)
    assert judged(there) == ("ok", False)
    for nvidia, status in ((NO_DRIVER, "warning"), (A2000, "problem")):
        check = gpu.check_cuda_libraries(nvidia, gpu_build, present)
        assert check is not None
        assert judged(check) == (status, False)
        assert check.detail.startswith("missing libcurand.so.10, libcufft.so.12, libcudnn.so.9:")
        assert check.fix.endswith("pip install 'onnxruntime-gpu[cuda,cudnn]'")


def test_cuda_libraries_of_a_cpu_runtime_are_not_asked_for() -> None:
    assert gpu.check_cuda_libraries(NO_DRIVER, lambda _: None, lambda _: False) is None


def test_cuda_major_comes_from_onnxruntimes_build_record(tmp_path: Path) -> None:
    assert gpu.onnxruntime_cuda_major(package_folder("onnxruntime")) >= 13
    assert gpu.onnxruntime_cuda_major(tmp_path) == gpu.onnxruntime_cuda_major(None) == 13
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "build_and_package_info.py").write_text("package_name = 'onnxruntime-gpu'\ncuda_version = '12.8'\n")
    assert gpu.onnxruntime_cuda_major(package_folder("onnxruntime")) >= 13
    assert gpu.onnxruntime_cuda_major(tmp_path) == 12
    assert gpu.cuda_sonames(12)[0] == "libcudart.so.12"
    assert "libcufft.so.11" in gpu.cuda_sonames(12)


def test_library_present(tmp_path: Path) -> None:
    roots = (str(tmp_path),)
    assert gpu.library_present("libc.so.6", roots)
    assert not gpu.library_present("libcurand.so.99", roots)
    (tmp_path / "nvidia/cu99/lib").mkdir(parents=True)
    (tmp_path / "nvidia/cu99/lib/libcurand.so.99").touch()
    assert gpu.library_present("libcurand.so.99", roots)
