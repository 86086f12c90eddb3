"""Checks of the installed Python libraries.

They are compared with the requirements in this package's own metadata.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.version import Version

from prune_deploy.diagnosis.finding import Diagnosis, ok, pip, problem, warning
from prune_deploy.environment import Nvidia, installed_version, package_folder, read_version_file
from prune_deploy.specs import TARGETS

Versions = Callable[[str], str | None]
"""Function that returns the installed version of a distribution, or None."""

Requirements = dict[str, Requirement]

ORT_BUILDS: tuple[str, ...] = ("onnxruntime-gpu", "onnxruntime", "onnxruntime-openvino")
"""Distributions that unpack into the same `onnxruntime` folder.

At most one of them may be installed.
"""

_OWN_CHECK = {"torch", "torchvision", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx"}
_EXTRAS = ("cpu", "gpu", "tensorrt")
_GPU = ("cuda-bindings", "nvidia-ml-py")
"""Distributions of the extra `gpu` without a check of their own. They are needed where there is a GPU."""


def requirements() -> Requirements:
    """Return the requirements of this package, by distribution.

    Those of its extras for runtimes are included. The result is {} if it runs without being installed.
    """
    try:
        lines = importlib.metadata.requires("prune-deploy") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    result: Requirements = {}
    for requirement in map(Requirement, lines):
        marker, requirement.marker = requirement.marker, None
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *_EXTRAS)):
            result[requirement.name] = requirement
    return result


def in_range(requirement: Requirement | None, version: str) -> Literal["ok", "older", "newer"]:
    """Return the place of a version relative to a requirement's range."""
    if requirement is None or requirement.specifier.contains(version, prereleases=True):
        return "ok"
    lower = [Version(bound.version) for bound in requirement.specifier if bound.operator in (">=", "==", "~=")]
    return "older" if any(Version(version) < bound for bound in lower) else "newer"


def check_libraries(required: Requirements, versions: Versions = installed_version, nvidia: Nvidia | None = None) -> Diagnosis:
    """Check every required library without a check of its own.

    It must be installed, with a version within range. Those for GPUs may be absent where there is none.
    """
    if not required:
        detail = "prune-deploy runs from a folder and is not installed, so the versions it needs are unknown"
        return warning("libraries", detail, fix=pip("install", "-e", "."))
    has_gpu = nvidia is not None and bool(nvidia.gpus)
    optional = {name for name in _GPU if versions(name) is None and not has_gpu}
    wrong = _judge("libraries", [r for name, r in required.items() if name not in _OWN_CHECK | optional], versions)
    return wrong or ok("libraries", f"{_show('torch-pruning', versions)}, {_show('timm', versions)} and the others within range")


def check_torch(
    required: Requirements,
    nvidia: Nvidia,
    versions: Versions = installed_version,
    version_file: Callable[[str], str] = read_version_file,
    torchvision_wants: Requirement | None = None,
) -> Diagnosis:
    """Check torch and torchvision: installed, within range, and matching builds.

    A CPU-only torch beside the torchvision of the package index fails at import: "operator torchvision::nms does not exist"
    (pytorch/vision issue 9085). So do builds for different CUDA major versions (torchvision/extension.py).
    """
    wrong = _judge("torch", [required.get(name) or Requirement(name) for name in ("torch", "torchvision")], versions)
    if wrong is not None:
        return wrong
    reinstall = pip("install", "--force-reinstall", str(required.get("torch") or "torch"), "torchvision")
    partner = torchvision_wants or _torch_of_torchvision()
    if in_range(partner, versions("torch") or "") != "ok":
        detail = f"{_show('torchvision', versions)} needs {partner}, and {_show('torch', versions)} is installed"
        return problem("torch", detail, fix=reinstall, blocks_export=True)
    torch_cuda = _match(r"^cuda\b[^=]*= '(\d+)", version_file("torch"))
    vision_cuda = _match(r"^__version__ = '[^'+]*\+cu(\d+)\d'", version_file("torchvision"))
    shown = f"{_show('torch', versions)} ({f'CUDA {torch_cuda}' if torch_cuda else 'CPU only'}), {_show('torchvision', versions)}"
    if vision_cuda is not None and vision_cuda != torch_cuda:
        detail = f"{shown} (CUDA {vision_cuda}): builds that do not fit, so torchvision and timm cannot be imported"
        return problem("torch", detail, fix=reinstall, blocks_export=True)
    if torch_cuda is None and nvidia.gpus:
        return problem("torch", f"{shown}: the GPU stays unused", fix=reinstall)
    return ok("torch", shown)


def check_onnxruntime(
    required: Requirements,
    nvidia: Nvidia,
    versions: Versions = installed_version,
    folder: Callable[[str], Path | None] = package_folder,
) -> Diagnosis:
    """Check that exactly one ONNX Runtime is installed completely and within range.

    Where there is a GPU it must be the GPU build.
    """
    name = "ONNX Runtime"
    builds = [build for build in ORT_BUILDS if versions(build) is not None]
    kept = "onnxruntime" if builds == ["onnxruntime"] and not nvidia.gpus else "onnxruntime-gpu"
    requirement = required.get(kept) or Requirement("onnxruntime-gpu[cuda,cudnn]")
    replace = f"{pip('uninstall', '-y', *builds)} && {pip('install', str(requirement))}"
    if not builds:
        extra = "gpu" if nvidia.gpus else "cpu"
        detail = "not installed: the extra cpu or, for NVIDIA GPUs, the extra gpu brings it"
        return problem(name, detail, fix=pip("install", f"prune-deploy[{extra}]"), blocks_export=True)
    if folder("onnxruntime") is None:
        detail = f"{builds[0]} is listed as installed, but its files are gone (removing one build deletes the other's)"
        return problem(name, detail, fix=replace, blocks_export=True)
    shown = " and ".join(_show(build, versions) for build in builds)
    if len(builds) > 1:
        return problem(name, f"{shown} overwrite each other's files", fix=replace)
    place = in_range(requirement, versions(builds[0]) or "")
    if place == "older":
        return problem(name, f"{shown} is older than {requirement.specifier}", fix=replace, blocks_export=True)
    if builds[0] != "onnxruntime-gpu" and nvidia.gpus:
        return problem(name, f"{shown} does not use the GPU", fix=replace)
    return ok(name, shown)


def check_tensorrt_rtx(
    required: Requirements,
    versions: Versions = installed_version,
    import_error: Callable[[str], str] | None = None,
) -> Diagnosis:
    """Check the builder that needs no GPU: installed, within range, importable.

    It is optional. Without it a machine without a GPU builds no engine, and exports the rest.
    """
    name, version = "TensorRT-RTX", versions("tensorrt-rtx")
    requirement = required.get("tensorrt-rtx") or Requirement("tensorrt-rtx")
    blocks = versions("tensorrt") is None
    install = pip("install", str(requirement))
    if version is None:
        detail = "not installed: bundles get no engine without a GPU; the extra gpu brings it"
        return warning(name, detail, fix=pip("install", "prune-deploy[gpu]"))
    if in_range(requirement, version) == "older":
        detail = f"{version} is older than {requirement.specifier}"
        return problem(name, detail, fix=install, blocks_export=blocks)
    error = (import_error or import_error_of)("tensorrt_rtx")
    if error:
        reinstall = pip("install", "--force-reinstall", str(requirement))
        detail = f"{version} does not import: {error}"
        return problem(name, detail, fix=reinstall, blocks_export=blocks)
    return ok(name, f"{version}, builds engines without a GPU for {', '.join(TARGETS)}")


def check_tensorrt(
    required: Requirements,
    nvidia: Nvidia,
    versions: Versions = installed_version,
    import_error: Callable[[str], str] | None = None,
    ort_folder: Callable[[str], Path | None] = package_folder,
) -> Diagnosis:
    """Check the data-centre library, which is wanted where there is a GPU.

    The result also reports whether ONNX Runtime's TensorRT provider can use it.
    """
    name, version = "TensorRT", versions("tensorrt")
    requirement = required.get("tensorrt") or Requirement("tensorrt")
    if version is None:
        return _absent_tensorrt(nvidia, pip("install", str(requirement)))
    if in_range(requirement, version) == "older":
        fix = pip("install", "--upgrade", str(requirement))
        return problem(name, f"{version} is older than {requirement.specifier}", fix=fix)
    error = (import_error or import_error_of)("tensorrt")
    if error:
        fix = pip("install", "--force-reinstall", str(requirement))
        return problem(name, f"{version} does not import: {error}", fix=fix)
    needed = nvinfer_major(ort_folder("onnxruntime"))
    if needed is None or needed == Version(version).major:
        return ok(name, version)
    note = f"ONNX Runtime's TensorRT provider needs libnvinfer.so.{needed} and stays unavailable; engines are not affected"
    return ok(name, f"{version}; {note}")


def nvinfer_major(onnxruntime_folder: Path | None) -> int | None:
    """Return the TensorRT major version of ONNX Runtime's TensorRT provider.

    It is the version that the provider is linked against, None without that provider.
    """
    provider = None if onnxruntime_folder is None else onnxruntime_folder / "capi" / "libonnxruntime_providers_tensorrt.so"
    linked = (
        re.search(rb"libnvinfer\.so\.(\d+)\0", provider.read_bytes()) if provider is not None and provider.is_file() else None
    )
    return int(linked[1]) if linked else None


def import_error_of(module: str) -> str:
    """Return the last line of a module's import error.

    It is "" if the module imports. The import runs in a process of its own, because a bad library may crash it.
    """
    command = [sys.executable, "-P", "-c", f"import {module}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "still importing after 60 s"
    if done.returncode == 0:
        return ""
    return next(reversed(done.stderr.strip().splitlines()), f"the import ended with code {done.returncode}")


def _absent_tensorrt(nvidia: Nvidia, install: str) -> Diagnosis:
    name = "TensorRT"
    if not nvidia.gpus:
        return ok(name, "not installed, and not needed without a GPU: TensorRT-RTX builds the engines")
    target = nvidia.gpus[0].target
    if target is not None and target not in TARGETS:
        detail = f"not installed, and TensorRT-RTX builds for {', '.join(TARGETS)}, not for this GPU's {target}"
        return problem(name, detail, fix=install)
    return warning(name, "not installed: engines for this GPU are made by TensorRT-RTX", fix=install)


def _judge(name: str, required: list[Requirement], versions: Versions) -> Diagnosis | None:
    """Return a diagnosis of libraries that are missing or out of range.

    It is None if there are none.
    """
    missing: list[Requirement] = []
    older: list[Requirement] = []
    newer: list[Requirement] = []
    for requirement in required:
        version = versions(requirement.name)
        if version is None:
            missing.append(requirement)
        elif (place := in_range(requirement, version)) != "ok":
            (older if place == "older" else newer).append(requirement)
    wrong = missing + older + newer
    if not wrong:
        return None
    parts = [f"{r.name} is missing" for r in missing]
    parts += [f"{_show(r.name, versions)} is older than {r.specifier}" for r in older]
    parts += [f"{_show(r.name, versions)} is newer than {r.specifier}, the versions tested" for r in newer]
    detail, fix = "; ".join(parts), pip("install", *map(str, wrong))
    return problem(name, detail, fix=fix, blocks_export=True) if missing or older else warning(name, detail, fix=fix)


def _torch_of_torchvision() -> Requirement | None:
    """Return the torch that the installed torchvision requires.

    Its binary interface breaks with others.
    """
    lines = importlib.metadata.requires("torchvision") if installed_version("torchvision") else None
    return next((r for r in map(Requirement, lines or []) if r.name == "torch"), None)


def _show(distribution: str, versions: Versions) -> str:
    return f"{distribution} {versions(distribution) or '(absent)'}"


def _match(pattern: str, text: str) -> str | None:
    result = re.search(pattern, text, re.MULTILINE)
    return result[1] if result else None
