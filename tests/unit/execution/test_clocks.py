"""`lock_clocks_mhz` against a staged NVML: held while the block runs, free afterwards however it ended."""

from __future__ import annotations

import pytest

from prune_deploy.errors import CannotRunError
from prune_deploy.execution.telemetry.clocks import locked_clocks
from support.fakes.fake_nvml import (
    DRIVER_NOT_LOADED,
    GPU_IS_LOST,
    INVALID_ARGUMENT,
    NO_PERMISSION,
    NOT_SUPPORTED,
    FakeGpu,
    FakeNvml,
)

SET, RESET = "nvmlDeviceSetGpuLockedClocks", "nvmlDeviceResetGpuLockedClocks"


@pytest.fixture(autouse=True)
def _no_gpu_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_clock_is_held_and_freed() -> None:
    gpu = FakeGpu()
    nvml = FakeNvml(gpu)
    seen = [gpu.locked_mhz]
    with locked_clocks(1200, nvml):
        seen.append(gpu.locked_mhz)
    seen.append(gpu.locked_mhz)
    assert seen == [None, (1200, 1200), None]
    assert nvml.open == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_the_clock_is_freed_when_the_block_fails(error: type[BaseException]) -> None:
    gpu = FakeGpu()
    nvml = FakeNvml(gpu)
    with pytest.raises(error), locked_clocks(1200, nvml):
        raise error
    assert gpu.locked_mhz is None
    assert nvml.calls[-2:] == [RESET, "nvmlShutdown"]
    assert nvml.open == 0


def test_the_clock_is_freed_after_an_interrupt_during_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    nvml = FakeNvml(gpu)

    def lock_and_be_interrupted(handle: FakeGpu, least_mhz: int, most_mhz: int) -> None:
        handle.locked_mhz = (least_mhz, most_mhz)
        raise KeyboardInterrupt

    monkeypatch.setitem(nvml.answers, SET, lock_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt), locked_clocks(1200, nvml):
        pytest.fail("the block must not begin")
    assert gpu.locked_mhz is None


def test_none_leaves_the_driver_alone() -> None:
    nvml = FakeNvml(FakeGpu())
    with locked_clocks(None, nvml):
        pass
    assert nvml.calls == []


@pytest.mark.parametrize(
    ("code", "reason", "fix"),
    [
        (NO_PERMISSION, "only root", "sudo"),
        (INVALID_ARGUMENT, "no such clock", "SUPPORTED_CLOCKS"),
        (NOT_SUPPORTED, "cannot lock", "as they come"),
    ],
)
def test_a_refusal_says_what_to_do(code: int, reason: str, fix: str) -> None:
    nvml = FakeNvml(FakeGpu(), refuse={SET: code})
    with pytest.raises(CannotRunError, match=f"`lock_clocks_mhz=1200`: .*{reason}") as caught, locked_clocks(1200, nvml):
        pytest.fail("the block must not begin")
    assert fix in caught.value.fix
    assert "leave `lock_clocks_mhz` out" in caught.value.fix
    assert RESET not in nvml.calls, "nothing was locked by us"
    assert nvml.open == 0


def test_a_binding_that_cannot_lock() -> None:
    with pytest.raises(CannotRunError, match="cannot lock"), locked_clocks(1200, FakeNvml(FakeGpu(), lack=(SET,))):
        pytest.fail("the block must not begin")


def test_without_gpu() -> None:
    nvml = FakeNvml(refuse={"nvmlInit": DRIVER_NOT_LOADED})
    with pytest.raises(CannotRunError, match="`lock_clocks_mhz=1200`: no GPU") as caught, locked_clocks(1200, nvml):
        pytest.fail("the block must not begin")
    assert "leave `lock_clocks_mhz` out" in caught.value.fix


def test_a_clock_that_stays_locked_is_said() -> None:
    nvml = FakeNvml(FakeGpu(), refuse={RESET: GPU_IS_LOST})
    with pytest.raises(CannotRunError, match="still locked") as caught, locked_clocks(1200, nvml):
        pass
    assert "nvidia-smi --reset-gpu-clocks" in caught.value.fix
    assert nvml.open == 0


def test_an_error_of_the_block_is_not_taken_for_a_refusal() -> None:
    gpu = FakeGpu()
    with pytest.raises(CannotRunError, match="its own"), locked_clocks(1200, FakeNvml(gpu)):
        raise CannotRunError("its own", fix="none")
    assert gpu.locked_mhz is None


def test_a_clock_that_the_gpu_does_not_list_is_refused_though_the_driver_would_take_the_nearest() -> None:
    nvml = FakeNvml(FakeGpu())
    nvml.answers["nvmlDeviceGetSupportedMemoryClocks"] = lambda gpu: [6001, 405]
    nvml.answers["nvmlDeviceGetSupportedGraphicsClocks"] = lambda gpu, memory_mhz: (
        [1410, 1395, 1200] if memory_mhz == 6001 else [420]
    )
    with (
        pytest.raises(CannotRunError, match="`lock_clocks_mhz=1400`: the GPU has no such clock") as caught,
        locked_clocks(1400, nvml),
    ):
        pytest.fail("the block must not begin")
    assert "1395 or 1410" in caught.value.fix
    assert SET not in nvml.calls
    assert RESET not in nvml.calls
    with locked_clocks(1200, nvml):
        assert nvml.gpus[0].locked_mhz == (1200, 1200)
    assert nvml.open == 0
