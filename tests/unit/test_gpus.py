"""Which GPU is used: the one that CUDA calls number 0, for engines and for telemetry alike, or none."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from prune_deploy.errors import CannotRunError
from prune_deploy.gpus import local_target, open_gpu
from support.fakes.fake_nvml import GPU_IS_LOST, FakeGpu, FakeNvml

FIRST = FakeGpu(uuid="GPU-aaaa1111-0000", bus="00000000:01:00.0")
SECOND = FakeGpu(uuid="GPU-bbbb2222-0000", bus="00000000:41:00.0")
OTHER = FakeGpu(name="NVIDIA L4", uuid="GPU-bbbb3333-0000", bus="00000000:81:00.0")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, FIRST),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, SECOND),
        ({"CUDA_VISIBLE_DEVICES": "GPU-bbbb2222-0000"}, SECOND),
        ({"CUDA_VISIBLE_DEVICES": "GPU-bbbb,GPU-aaaa"}, SECOND),
    ],
)
def test_the_gpu_is_the_first_that_cuda_sees(variables: dict[str, str], expected: FakeGpu) -> None:
    with open_gpu(FakeNvml(SECOND, FIRST), variables) as (_, handle):
        assert handle is expected, "whatever the order of NVML"


@pytest.mark.parametrize(
    ("visible", "message"),
    [
        ("", "names none of the 2 GPUs"),
        ("-1", "names none"),
        ("2", "names none"),
        ("GPU-cccc", "names none"),
        ("GPU-", "names 2 of the 2"),
        ("MIG-aaaa1111", "slice of a GPU"),
    ],
)
def test_a_gpu_that_cannot_be_told_is_refused(visible: str, message: str) -> None:
    nvml = FakeNvml(FIRST, SECOND)
    with pytest.raises(CannotRunError, match=message), open_gpu(nvml, {"CUDA_VISIBLE_DEVICES": visible}):
        pass
    assert nvml.open == 0


def test_unlike_gpus_need_an_order() -> None:
    nvml = FakeNvml(FIRST, OTHER)
    with pytest.raises(CannotRunError, match="numbers them by speed") as caught, open_gpu(nvml, {}):
        pass
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in caught.value.fix
    for variables in ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}, {"CUDA_VISIBLE_DEVICES": "GPU-bbbb3333"}):
        with open_gpu(nvml, variables) as (_, handle):
            assert handle is OTHER


@pytest.mark.parametrize("function", ["nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetPciInfo"])
def test_a_driver_that_does_not_find_the_gpu(function: str) -> None:
    nvml = FakeNvml(FIRST, refuse={function: GPU_IS_LOST})
    with pytest.raises(CannotRunError, match="do not answer"), open_gpu(nvml, {}):
        pass
    assert nvml.open == 0


class FakeDriver:
    """libcuda of cards with the given compute capabilities, in CUDA's order. Every call answers `status`."""

    def __init__(self, *capabilities: tuple[int, int], status: int = 0) -> None:
        self.capabilities, self.status = capabilities, status

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's own name
        return self.status

    def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        device._obj.value = index
        return 0 if index < len(self.capabilities) else 101  # CUDA_ERROR_INVALID_DEVICE

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = self.capabilities[device.value][attribute - 75]
        return 0


def test_the_gpu_is_asked_from_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeDriver((12, 0), (8, 6)))
    assert local_target() == "sm120", "the first in CUDA's order"


def test_a_driver_that_does_not_start_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    no_device = 100  # CUDA_ERROR_NO_DEVICE
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeDriver(status=no_device))
    assert local_target() is None


def test_a_driver_that_shows_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeDriver())
    assert local_target() is None, "as with CUDA_VISIBLE_DEVICES set to nothing"


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert local_target() is None


@pytest.mark.parametrize("variables", [{}, {"CUDA_VISIBLE_DEVICES": "0"}])
def test_a_gpu_in_slices_is_refused_also_where_no_variable_names_one(variables: dict[str, str]) -> None:
    nvml = FakeNvml(FIRST)
    nvml.answers["nvmlDeviceGetMigMode"] = lambda gpu: [1, 1]
    with pytest.raises(CannotRunError, match="divided into slices"), open_gpu(nvml, variables):
        pass
    nvml.answers["nvmlDeviceGetMigMode"] = lambda gpu: [0, 1]  # it will be, after a reset
    with open_gpu(nvml, variables) as (_, gpu):
        assert gpu is FIRST
