"""capture and what it reads: on this machine, and with every answer of NVML staged."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prune_deploy import environment
from prune_deploy.environment import Gpu, Nvidia, capture, read_nvml
from prune_deploy.records import Environment, from_json, to_json

A2000 = {"name": "NVIDIA RTX A2000 12GB", "capability": (8, 6), "memory": 12 * 2**30}


class FakeNvmlError(Exception):
    """As pynvml.NVMLError: the code in `value`."""

    def __init__(self, value: int) -> None:
        super().__init__(f"code {value}")
        self.value = value


def fake_nvml(
    *cards: dict[str, Any], refuse: tuple[str, ...] = (), lack: tuple[str, ...] = (), init_code: int | None = None
) -> Any:
    """A pynvml of given cards. Functions in `refuse` raise, as where a card has no answer; those in `lack` do not exist."""
    answers: dict[str, Callable[..., object]] = {
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "580.95.05",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 13010,
        "nvmlDeviceGetCount": lambda: len(cards),
        "nvmlDeviceGetHandleByIndex": lambda index: cards[index],
        "nvmlDeviceGetName": lambda card: card["name"],
        "nvmlDeviceGetMemoryInfo": lambda card: SimpleNamespace(total=card["memory"]),
        "nvmlDeviceGetCudaComputeCapability": lambda card: card["capability"],
    }
    calls: list[str] = []

    def call(function: str) -> Callable[..., object]:
        def answer(*arguments: object) -> object:
            calls.append(function)
            if function in refuse:
                raise FakeNvmlError(3)
            return answers[function](*arguments)

        return answer

    def init() -> None:
        if init_code is not None:
            raise FakeNvmlError(init_code)

    return SimpleNamespace(
        NVMLError=FakeNvmlError,
        NVML_ERROR_LIBRARY_NOT_FOUND=12,
        NVML_ERROR_DRIVER_NOT_LOADED=9,
        NVML_ERROR_LIB_RM_VERSION_MISMATCH=18,
        calls=calls,
        nvmlInit=init,
        **{function: call(function) for function in answers if function not in lack},
    )


def test_capture_describes_this_machine() -> None:
    record = capture()
    assert record.python == sys.version.split()[0]
    assert record.cpu_count == environment.usable_cpus() >= 1
    assert record.memory_bytes > 2**28
    assert record.cpu
    assert record.libraries["timm"] == environment.installed_version("timm")
    assert abs(datetime.fromisoformat(record.captured_at) - datetime.now(UTC)) < timedelta(seconds=10)


def test_capture_survives_json() -> None:
    record = capture()
    assert from_json(Environment, to_json(record), source="environment") == record


def test_capture_leaves_absent_libraries_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "LIBRARIES", ("timm", "no-such-distribution"))
    assert list(capture().libraries) == ["timm"]


def test_capture_is_fast() -> None:
    durations_s = []
    for _ in range(5):
        start_s = time.process_time()
        capture()
        durations_s.append(time.process_time() - start_s)
    assert min(durations_s) < 0.1


def test_capture_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    assert capture().cpu


def test_capture_names_neither_host_nor_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    real = platform.uname()
    monkeypatch.setattr(platform, "uname", lambda: real._replace(node="workstation-of-ada"))
    monkeypatch.setattr(platform, "_platform_cache", {}, raising=False)
    text = to_json(capture())
    assert "workstation-of-ada" not in text
    assert not [path for path in (Path.home(), Path.cwd(), Path(sys.prefix)) if str(path) in text]


def test_capture_imports_no_heavy_library() -> None:
    code = "import sys; from prune_deploy.environment import capture; capture(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "prune_deploy.environment" in loaded
    assert not loaded & {"torch", "torchvision", "timm", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "numpy"}


def test_torch_version_carries_its_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        environment, "read_version_file", lambda package: "__version__ = '2.11.0+cpu'\ncuda: Optional[str] = None\n"
    )
    assert capture().libraries["torch"] == "2.11.0+cpu"
    monkeypatch.setattr(environment, "read_version_file", lambda package: "")
    assert capture().libraries["torch"] == environment.installed_version("torch")


def test_read_version_file_of_the_installed_torch() -> None:
    assert f"__version__ = '{environment.installed_version('torch')}" in environment.read_version_file("torch")
    assert environment.read_version_file("no_such_package") == ""


def test_package_folder_of_remains_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hollowed" / "capi").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert environment.package_folder("hollowed") is None
    (tmp_path / "hollowed" / "__init__.py").touch()
    assert environment.package_folder("hollowed") == tmp_path / "hollowed"


def test_nvml_full_answer() -> None:
    nvml = fake_nvml(A2000, {"name": "NVIDIA L4", "capability": (8, 9), "memory": 23 * 2**30})
    seen = read_nvml(nvml)
    assert [gpu.label for gpu in seen.gpus] == ["NVIDIA RTX A2000 12GB, sm86, 12.0 GiB", "NVIDIA L4, sm89, 23.0 GiB"]
    assert (seen.driver, seen.cuda, seen.failure) == ("580.95.05", (13, 1), None)
    assert nvml.calls.count("nvmlShutdown") == 1


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        ("nvmlDeviceGetMemoryInfo", Gpu(name="NVIDIA RTX A2000 12GB", compute_capability=(8, 6))),
        ("nvmlDeviceGetCudaComputeCapability", Gpu(name="NVIDIA RTX A2000 12GB", memory_bytes=12 * 2**30)),
        ("nvmlDeviceGetName", Gpu(name="GPU 0", compute_capability=(8, 6), memory_bytes=12 * 2**30)),
        ("nvmlDeviceGetHandleByIndex", Gpu(name="GPU 0, which does not answer")),
    ],
)
def test_nvml_refuses_one_answer(refused: str, expected: Gpu) -> None:
    assert read_nvml(fake_nvml(A2000, refuse=(refused,))).gpus == (expected,)


def test_nvml_without_cuda_version_function() -> None:
    seen = read_nvml(fake_nvml(A2000, lack=("nvmlSystemGetCudaDriverVersion_v2",)))
    assert seen.cuda is None
    assert seen.gpus[0].target == "sm86"


def test_nvml_refuses_everything() -> None:
    functions = tuple(name for name in vars(fake_nvml()) if name.startswith(("nvmlDevice", "nvmlSystem", "nvmlShutdown")))
    assert len(functions) == 8
    assert read_nvml(fake_nvml(A2000, refuse=functions)) == Nvidia()


@pytest.mark.parametrize(("code", "failure"), [(12, "no-nvml"), (9, "not-loaded"), (18, "mismatch"), (999, "other")])
def test_nvml_does_not_start(code: int, failure: str) -> None:
    seen = read_nvml(fake_nvml(A2000, init_code=code))
    assert (seen.failure, seen.reason, seen.gpus) == (failure, f"code {code}", ())


def test_nvml_binding_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    seen = read_nvml()
    assert seen.failure == "no-pynvml"
    assert "pynvml" in seen.reason


@pytest.mark.parametrize(("capability", "target"), [((8, 6), "sm86"), ((12, 0), "sm120"), ((9, 0), "sm90")])
def test_a_captured_gpu(capability: tuple[int, int], target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml({**A2000, "capability": capability}, A2000))
    assert capture().gpus[0] == f"NVIDIA RTX A2000 12GB, {target}, 12.0 GiB"


def test_capture_without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(init_code=12))
    assert capture().gpus == ()
    assert capture().driver is None


def test_cpuinfo_reads_the_first_processor_only(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: Zen: 5\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nmodel name\t: other\n")
    assert environment.read_cpuinfo(path) == {"processor": "0", "model name": "Zen: 5", "flags": "fpu avx2"}
    assert environment.read_cpuinfo(tmp_path / "absent") == {}


def test_cpu_model_falls_back_to_the_architecture() -> None:
    assert environment.cpu_model({"model name": "Zen 5"}) == "Zen 5"
    assert environment.cpu_model({}) in (platform.processor(), platform.machine())


@pytest.mark.parametrize(("limit", "expected"), [("max\n", 100), ("40\n", 40), ("9223372036854771712\n", 100)])
def test_memory_within_a_container(limit: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(limit)
    assert environment.usable_memory_bytes(100, (tmp_path / "memory.max", tmp_path / "absent")) == expected


def test_environment_is_plain_json() -> None:
    assert set(json.loads(to_json(capture()))) == set(Environment.__dataclass_fields__)
