"""Which GPU is observed: the one that CUDA calls number 0, or none."""

from __future__ import annotations

import pytest

from prune_deploy.errors import CannotRunError
from prune_deploy.execution.telemetry.gpu import open_gpu
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
