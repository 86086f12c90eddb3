"""Checks of the Python libraries: what is installed here, and each fault staged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from prune_deploy.diagnosis import Diagnosis, libraries
from prune_deploy.environment import Gpu, Nvidia, package_folder

NO_DRIVER = Nvidia(failure="no-nvml", reason="NVML Shared Library Not Found")
A2000 = Nvidia(gpus=(Gpu(name="RTX A2000", compute_capability=(8, 6)),), driver="580.95.05", cuda=(13, 0))
H100 = replace(A2000, gpus=(Gpu(name="H100", compute_capability=(9, 0)),))

WANTED = {
    name: Requirement(name + rest)
    for name, rest in {
        "torch": "<2.16,>=2.11",
        "torchvision": "",
        "torch-pruning": "==1.6.1",
        "timm": ">=1.0.20",
        "onnxruntime": ">=1.27",
        "onnxruntime-gpu": "[cuda,cudnn]>=1.27",
        "cuda-bindings": ">=13",
        "nvidia-ml-py": ">=13",
        "tensorrt-rtx": ">=1.5",
        "tensorrt": ">=10.12",
    }.items()
}
GOOD = {
    "torch": "2.15.0",
    "torchvision": "0.29.2",
    "torch-pruning": "1.6.1",
    "timm": "1.0.31",
    "onnxruntime-gpu": "1.31.1",
    "cuda-bindings": "13.5.0",
    "nvidia-ml-py": "13.610.43",
    "tensorrt-rtx": "1.7.1.116",
    "tensorrt": "11.4.0",
}
VERSION_FILES = {
    "torch": "__version__ = '2.15.0+cu132'\ncuda: Optional[str] = '13.2'\n",
    "torchvision": "__version__ = '0.29.2+cu132'\n",
}
CPU_TORCH = "__version__ = '2.15.0+cpu'\ncuda: Optional[str] = None\n"


def having(**changes: str | None) -> Callable[[str], str | None]:
    """A version lookup of a sound installation with some changes; underscores stand for dashes."""
    return {**GOOD, **{name.replace("_", "-"): version for name, version in changes.items()}}.get


def judged(check: Diagnosis | None) -> tuple[str, bool]:
    assert check is not None
    return check.status, check.blocks_export


def test_requirements_are_this_packages_own() -> None:
    wanted = libraries.requirements()
    assert {"torch", "timm", "torch-pruning", "onnxruntime-gpu", "tensorrt-rtx", "tensorrt"} <= set(wanted)
    assert "pytest" not in wanted
    assert str(wanted["torch-pruning"]) == "torch-pruning==1.6.1"
    assert "extra" not in str(wanted["tensorrt"])
    assert libraries.check_libraries(wanted).status == "ok"
    assert libraries.check_torch(wanted, NO_DRIVER).status == "ok"


@pytest.mark.locked
def test_nvinfer_major_of_the_installed_onnxruntime() -> None:
    assert libraries.nvinfer_major(package_folder("onnxruntime")) in (10, 11)


@pytest.mark.parametrize(
    ("name", "version", "expected", "fix"),
    [
        ("timm", None, ("problem", True), "timm>=1.0.20"),
        ("timm", "1.0.9", ("problem", True), "timm>=1.0.20"),
        ("torch_pruning", "1.5.2", ("problem", True), "torch-pruning==1.6.1"),
        ("torch_pruning", "1.6.2", ("warning", False), "torch-pruning==1.6.1"),
    ],
)
def test_libraries_out_of_range(name: str, version: str | None, expected: tuple[str, bool], fix: str) -> None:
    check = libraries.check_libraries(WANTED, having(**{name: version}))
    assert judged(check) == expected
    assert check.fix.strip("'").endswith(fix)
    assert name.replace("_", "-") in check.detail


def test_libraries_names_all_faults_in_one_command() -> None:
    check = libraries.check_libraries(WANTED, having(timm="1.0.9", torch_pruning=None))
    assert check.detail == "torch-pruning is missing; timm 1.0.9 is older than >=1.0.20"
    assert check.fix.endswith("pip install torch-pruning==1.6.1 'timm>=1.0.20'")


@pytest.mark.parametrize(("nvidia", "expected"), [(NO_DRIVER, ("ok", False)), (A2000, ("problem", True))])
def test_libraries_for_gpus_are_wanted_where_there_is_one(nvidia: Nvidia, expected: tuple[str, bool]) -> None:
    check = libraries.check_libraries(WANTED, having(cuda_bindings=None, nvidia_ml_py=None), nvidia)
    assert judged(check) == expected


def test_without_onnxruntime_both_extras_are_named() -> None:
    check = libraries.check_onnxruntime(WANTED, NO_DRIVER, having(onnxruntime_gpu=None), lambda _: None)
    assert "extra cpu" in check.detail
    assert "extra gpu" in check.detail
    assert check.fix.endswith("pip install 'prune-deploy[cpu]'")
    with_gpu = libraries.check_onnxruntime(WANTED, A2000, having(onnxruntime_gpu=None), lambda _: None)
    assert with_gpu.fix.endswith("pip install 'prune-deploy[gpu]'")


def test_an_old_cpu_build_is_replaced_by_a_cpu_build() -> None:
    versions = having(onnxruntime_gpu=None, onnxruntime="1.20.0")
    fix = libraries.check_onnxruntime(WANTED, NO_DRIVER, versions, lambda _: Path("onnxruntime")).fix
    assert fix.endswith("pip install 'onnxruntime>=1.27'")


def test_libraries_of_a_package_that_is_not_installed() -> None:
    check = libraries.check_libraries({}, having())
    assert judged(check) == ("warning", False)
    assert check.fix.endswith("pip install -e .")


def torch_check(
    nvidia: Nvidia = NO_DRIVER, wants: str = "torch>=2.14", files: dict[str, str] | None = None, **changes: str | None
) -> Diagnosis:
    files = VERSION_FILES if files is None else files
    return libraries.check_torch(WANTED, nvidia, having(**changes), lambda name: files.get(name, ""), Requirement(wants))


def test_torch_sound() -> None:
    check = torch_check(A2000)
    assert judged(check) == ("ok", False)
    assert check.detail == "torch 2.15.0 (CUDA 13), torchvision 0.29.2"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"torch": None}, ("problem", True)),
        ({"torchvision": None}, ("problem", True)),
        ({"torch": "2.10.1"}, ("problem", True)),
        ({"torch": "2.16.0"}, ("warning", False)),
        ({"torch": "2.15.1+cu132"}, ("ok", False)),
        ({"torch": "2.13.0"}, ("problem", True)),
    ],
)
def test_torch_versions(changes: dict[str, str | None], expected: tuple[str, bool]) -> None:
    assert judged(torch_check(**changes)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("torch_file", "vision_tag", "nvidia", "expected"),
    [
        (CPU_TORCH, "+cu132", NO_DRIVER, ("problem", True)),
        (CPU_TORCH, "+cpu", NO_DRIVER, ("ok", False)),
        (CPU_TORCH, "+cpu", A2000, ("problem", False)),
        (CPU_TORCH, "", NO_DRIVER, ("ok", False)),
        (VERSION_FILES["torch"], "+cu126", NO_DRIVER, ("problem", True)),
        (VERSION_FILES["torch"], "+cu130", NO_DRIVER, ("ok", False)),
    ],
)
def test_torch_builds(torch_file: str, vision_tag: str, nvidia: Nvidia, expected: tuple[str, bool]) -> None:
    check = torch_check(nvidia, files={"torch": torch_file, "torchvision": f"__version__ = '0.29.2{vision_tag}'\n"})
    assert judged(check) == expected
    assert check.status == "ok" or "--force-reinstall 'torch<2.16,>=2.11' torchvision" in check.fix


@pytest.mark.parametrize(
    ("changes", "nvidia", "expected"),
    [
        ({}, NO_DRIVER, ("ok", False)),
        ({}, A2000, ("ok", False)),
        ({"onnxruntime_gpu": None}, NO_DRIVER, ("problem", True)),
        ({"onnxruntime": "1.31.1"}, NO_DRIVER, ("problem", False)),
        ({"onnxruntime_gpu": "1.20.0"}, NO_DRIVER, ("problem", True)),
        ({"onnxruntime_gpu": None, "onnxruntime": "1.31.1"}, NO_DRIVER, ("ok", False)),
        ({"onnxruntime_gpu": None, "onnxruntime": "1.31.1"}, A2000, ("problem", False)),
    ],
)
def test_onnxruntime(changes: dict[str, str | None], nvidia: Nvidia, expected: tuple[str, bool]) -> None:
    assert judged(libraries.check_onnxruntime(WANTED, nvidia, having(**changes), lambda _: Path("onnxruntime"))) == expected


def test_onnxruntime_twice_is_removed_and_reinstalled_once() -> None:
    fix = libraries.check_onnxruntime(WANTED, NO_DRIVER, having(onnxruntime="1.31.1"), lambda _: Path("onnxruntime")).fix
    assert "pip uninstall -y onnxruntime-gpu onnxruntime && " in fix
    assert fix.endswith("pip install 'onnxruntime-gpu[cuda,cudnn]>=1.27'")


def test_onnxruntime_hollowed_out_by_an_uninstall() -> None:
    check = libraries.check_onnxruntime(WANTED, NO_DRIVER, having(), lambda _: None)
    assert judged(check) == ("problem", True)
    assert "files are gone" in check.detail


@pytest.mark.parametrize(
    ("changes", "error", "expected"),
    [
        ({}, "", ("ok", False)),
        ({"tensorrt": None}, "", ("ok", False)),
        ({"tensorrt_rtx": None}, "", ("warning", False)),
        ({"tensorrt_rtx": None, "tensorrt": None}, "", ("warning", False)),
        ({"tensorrt_rtx": "1.2.0", "tensorrt": None}, "", ("problem", True)),
        ({"tensorrt": None}, "OSError: libtensorrt_rtx.so.1: cannot open", ("problem", True)),
        ({}, "OSError: libtensorrt_rtx.so.1: cannot open", ("problem", False)),
    ],
)
def test_tensorrt_rtx(changes: dict[str, str | None], error: str, expected: tuple[str, bool]) -> None:
    check = libraries.check_tensorrt_rtx(WANTED, having(**changes), lambda _: error)
    assert judged(check) == expected
    assert error in check.detail


def ort_needing(major: int, tmp_path: Path) -> Callable[[str], Path | None]:
    """An onnxruntime folder whose TensorRT provider is linked against this major version."""
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_tensorrt.so").write_bytes(b"\x7fELF\0libnvinfer.so.%d\0libc.so.6\0" % major)
    return lambda _: tmp_path


@pytest.mark.parametrize(
    ("version", "nvidia", "error", "status"),
    [
        (None, NO_DRIVER, "", "ok"),
        (None, A2000, "", "warning"),
        (None, H100, "", "problem"),
        ("10.11.0", A2000, "", "problem"),
        ("10.16.1", A2000, "", "ok"),
        ("11.4.0", A2000, "", "ok"),
        ("11.4.0", A2000, "OSError: libcuda.so.1", "problem"),
    ],
)
def test_tensorrt(version: str | None, nvidia: Nvidia, error: str, status: str, tmp_path: Path) -> None:
    check = libraries.check_tensorrt(WANTED, nvidia, having(tensorrt=version), lambda _: error, ort_needing(10, tmp_path))
    assert judged(check) == (status, False)
    assert status == "ok" or "'tensorrt>=10.12'" in check.fix
    assert ("libnvinfer.so.10" in check.detail) == (version == "11.4.0" and not error)


def test_tensorrt_names_the_gpu_rtx_cannot_build_for() -> None:
    check = libraries.check_tensorrt(WANTED, H100, having(tensorrt=None))
    assert "not for this GPU's sm90" in check.detail


def test_nvinfer_major_without_a_provider(tmp_path: Path) -> None:
    assert libraries.nvinfer_major(None) is None
    assert libraries.nvinfer_major(tmp_path) is None


def test_import_error_of() -> None:
    assert libraries.import_error_of("json") == ""
    assert libraries.import_error_of("no_such_module") == "ModuleNotFoundError: No module named 'no_such_module'"
    assert libraries.import_error_of("os; os.abort()") == "the import ended with code -6"


def test_import_error_of_ignores_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shadow_module.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert "No module named" in libraries.import_error_of("shadow_module")


@pytest.mark.parametrize(("version", "place"), [("2.10", "older"), ("2.11", "ok"), ("2.15.0+cu132", "ok"), ("2.16", "newer")])
def test_in_range(version: str, place: str) -> None:
    assert libraries.in_range(WANTED["torch"], version) == place
    assert libraries.in_range(None, version) == "ok"
