"""Which TensorRT library is chosen. The data-centre library and the GPU are fakes here: neither can be had on every machine."""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable
from typing import Any

import pytest

from prune_deploy.errors import CannotRunError, InputError
from prune_deploy.export.tensorrt import library as tensorrt_library
from prune_deploy.export.tensorrt.engine import engine_file_name
from prune_deploy.export.tensorrt.library import TensorRTLibrary, Unavailable, available_libraries, choose_library, probe_library
from prune_deploy.specs import EngineBuild

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Set up which modules import (name → version or the exception), and the GPU's compute capability."""

    def set_up(modules: dict[str, str | Exception], gpu: str | None = None) -> None:
        def import_module(name: str) -> Any:
            found = modules.get(name, ModuleNotFoundError(f"No module named {name!r}", name=name))
            if isinstance(found, Exception):
                raise found
            module = types.ModuleType(name)
            known = types.SimpleNamespace(__members__={"NONE": 0, "CURRENT": 1, "SM75": 2, "SM86": 3, "SM89": 4})
            module.__dict__.update(__version__=found, Builder=object, ComputeCapability=known)
            return module

        monkeypatch.setattr(importlib, "import_module", import_module)
        monkeypatch.setattr(tensorrt_library, "local_target", lambda: gpu)

    return set_up


BOTH: dict[str, str | Exception] = {"tensorrt": "11.4.0.5", "tensorrt_rtx": "1.7.1.116"}


@pytest.mark.parametrize(
    ("gpu", "target", "chosen"),
    [
        ("sm86", "sm86", "TensorRT"),  # the local GPU is the target
        ("sm89", "sm86", "TensorRT-RTX"),  # TensorRT could only build for the GPU at hand
        (None, "sm86", "TensorRT-RTX"),  # TensorRT cannot build at all
    ],
)
def test_auto_prefers_tensorrt_where_it_can_build_for_the_target(
    machine: Machine, gpu: str | None, target: str, chosen: str
) -> None:
    machine(BOTH, gpu)
    assert choose_library("auto", target).name == chosen


def test_tensorrt_alone_builds_only_for_the_gpu_at_hand(machine: Machine) -> None:
    machine({"tensorrt": "10.12.0.36"}, "sm89")
    assert choose_library("auto", "sm89").name == "TensorRT"
    with pytest.raises(CannotRunError) as caught:
        choose_library("tensorrt", "sm86")
    assert "no engine for sm86 can be built here" in caught.value.message
    assert "only for the GPU it runs on, here sm89" in caught.value.message
    assert "`target='sm89'`" in caught.value.fix


def test_a_card_that_tensorrt_rtx_does_not_know_needs_tensorrt(machine: Machine) -> None:
    machine(BOTH, "sm90")
    assert choose_library("auto", "sm90").name == "TensorRT"
    machine(BOTH, "sm86")
    with pytest.raises(CannotRunError) as caught:
        choose_library("auto", "sm90")
    assert "tensorrt-rtx: version 1.7.1.116 does not build for sm90" in caught.value.message
    assert "choose one of sm75, sm86, sm89, or" in caught.value.fix


def test_auto_without_any_library_names_both_and_the_one_that_needs_no_gpu(machine: Machine) -> None:
    machine({})
    with pytest.raises(CannotRunError) as caught:
        choose_library("auto", "sm86")
    assert "tensorrt: not installed; tensorrt-rtx: not installed" in caught.value.message
    assert "prune-deploy[gpu]" in caught.value.fix
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("modules", "gpu", "reason", "fix"),
    [
        ({}, "sm86", "not installed", "prune-deploy[tensorrt]"),
        ({"tensorrt": "10.11.0.33"}, "sm86", "10.11.0.33 is older than 10.12", "--upgrade"),
        ({"tensorrt": "9.3.0"}, "sm86", "9.3.0 is older than 10.12", "--upgrade"),
        ({"tensorrt": "11.4.0.5"}, None, "no usable NVIDIA driver", "tensorrt-rtx"),
        ({"tensorrt": OSError("libnvinfer.so.11: cannot open")}, "sm86", "libnvinfer.so.11", "prune-deploy[tensorrt]"),
        ({"tensorrt": ModuleNotFoundError("No module named 'x'", name="x")}, "sm86", "does not import", "prune-deploy[tensorrt]"),
    ],
)
def test_tensorrt_says_why_it_cannot_build(
    machine: Machine, modules: dict[str, str | Exception], gpu: str | None, reason: str, fix: str
) -> None:
    machine(modules, gpu)
    with pytest.raises(CannotRunError) as caught:
        choose_library("tensorrt", "sm86")
    assert reason in caught.value.message
    assert fix in caught.value.fix


@pytest.mark.parametrize("version", ["10.12.0.36", "10.16.1.11", "11.0.0.2", "11.4.0.5"])
def test_supported_versions_of_tensorrt_are_accepted(machine: Machine, version: str) -> None:
    machine({"tensorrt": version}, "sm86")
    assert choose_library("tensorrt", "sm86").version == version


def test_tensorrt_rtx_is_taken_when_asked_for_even_where_tensorrt_could_build(machine: Machine) -> None:
    machine(BOTH, "sm86")
    assert choose_library("tensorrt-rtx", "sm86").is_rtx


def test_tensorrt_rtx_absent(machine: Machine) -> None:
    machine({"tensorrt": "11.4.0.5"}, "sm86")
    with pytest.raises(CannotRunError, match="tensorrt-rtx: not installed"):
        choose_library("tensorrt-rtx", "sm86")


def test_none_is_no_library(machine: Machine) -> None:
    machine(BOTH, "sm86")
    with pytest.raises(InputError):
        choose_library("none", "sm86")


def test_available_libraries_lists_the_preferred_first(machine: Machine) -> None:
    machine(BOTH, "sm86")
    assert [library.name for library in available_libraries()] == ["TensorRT", "TensorRT-RTX"]
    machine(BOTH, None)
    assert [library.name for library in available_libraries()] == ["TensorRT-RTX"]


def test_a_folder_left_by_an_uninstall_is_not_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", types.ModuleType)
    found = probe_library("tensorrt-rtx")
    assert isinstance(found, Unavailable)
    assert "remains" in found.reason


@pytest.mark.parametrize(
    ("name", "version", "tag"),
    [("TensorRT", "11.4.0.5", "tensorrt-11.4"), ("TensorRT-RTX", "1.7.1.116", "tensorrt-rtx-1.7")],
)
def test_the_file_name_says_precision_target_batches_and_library(name: str, version: str, tag: str) -> None:
    library = TensorRTLibrary(name=name, version=version, module=None)
    spec = EngineBuild(precision="tf32", target="sm89", batches=(1, 8, 64))
    assert library.tag == tag
    assert engine_file_name(spec, library) == f"model.tf32.sm89.b1-8-64.{tag}.engine"
