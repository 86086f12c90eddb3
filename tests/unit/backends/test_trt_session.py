"""What the trt backend does with TensorRT and CUDA, call by call, against fakes; tests/gpu runs it against the real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from prune_deploy.backends import trt
from prune_deploy.backends.cuda_runtime import CudaRuntime
from prune_deploy.backends.tensorrt import engine as trt_engine
from prune_deploy.backends.tensorrt.engine import EngineLabel, LoadedEngine, Profile, choose_profile
from prune_deploy.backends.tensorrt.kernel_cache import FOLDER_VARIABLE, cache_file
from prune_deploy.backends.tensorrt.session import TrtSession
from prune_deploy.errors import CannotRunError, InputError, OutOfMemoryError
from prune_deploy.export.tensorrt import library
from prune_deploy.export.tensorrt.library import TensorRTLibrary, Unavailable
from prune_deploy.export.tensorrt.log import process_logger
from prune_deploy.specs import Precision, RunOptions
from prune_deploy.tensors import named_input, only
from support.fakes import fake_tensorrt
from support.fakes.fake_tensorrt import FakeCuda, FakeEngine

NAME = "model.fp32.sm86.b1-8.tensorrt-11.4.engine"
FIXED = ((1, 1, 1), (8, 8, 8))


def images(batch: int, value: float = 1.0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full((batch, 3, 4, 4), value, dtype=np.float32)


Opening = tuple[TrtSession, FakeCuda, FakeEngine]


def opened(
    *,
    graph: bool = False,
    rtx: bool = False,
    profiles: tuple[tuple[int, int, int], ...] = FIXED,
    precision: Precision | None = None,
    cache: Path | None = None,
    context_message: str | None = None,
    outputs: tuple[str, ...] = ("logits",),
) -> Opening:
    """A session on fakes, nothing bound yet."""
    cuda = FakeCuda()
    engine = FakeEngine(cuda.diary, profiles, outputs=outputs)
    label = EngineLabel.read(Path(NAME), b"")
    made_by = fake_tensorrt.library(rtx=rtx)
    engine.logger, engine.context_message = process_logger(made_by.module), context_message
    loaded = LoadedEngine(label=label, library=made_by, runtime=None, engine=engine)
    session = TrtSession(loaded, CudaRuntime(cuda), fake_tensorrt.STREAM, graph=graph, precision=precision, cache=cache)
    return session, cuda, engine


def test_the_profile_tuned_for_the_nearest_batch_is_chosen() -> None:
    shapes = [(1, 1, 1), (1, 8, 16), (1, 32, 64)]
    profiles = tuple(
        Profile(
            index=index,
            minimum={"input": (low, 3, 4, 4)},
            optimum={"input": (tuned, 3, 4, 4)},
            maximum={"input": (high, 3, 4, 4)},
        )
        for index, (low, tuned, high) in enumerate(shapes)
    )
    assert [choose_profile(profiles, {"input": (batch, 3, 4, 4)}).index for batch in (1, 4, 12, 16, 17, 64)] == [0, 1, 1, 1, 2, 2]
    with pytest.raises(
        InputError, match=r"batch 65 is outside the engine's profiles \(batch 1; batch 1 to 16, tuned for 8;"
    ) as caught:
        choose_profile(profiles, {"input": (65, 3, 4, 4)})
    assert "`batches=(..., 65)`" in caught.value.fix
    with pytest.raises(InputError, match=r"takes images of shape \(3, 4, 4\), got \(1, 4, 4\)"):
        choose_profile(profiles, {"input": (1, 1, 4, 4)})


def test_a_batch_is_bound_once_and_only_copied_again() -> None:
    session, cuda, _ = opened()
    session.bind(named_input(images(8)))
    held = dict(cuda.memory)
    session.bind(named_input(images(8, 2.0)))
    assert cuda.memory == held, "the buffers stay where they are"
    assert [line for line in cuda.diary if line in ("profile 1", "copy in")] == ["profile 1", "copy in", "copy in"]
    session.run()
    session.synchronize()
    assert only(session.outputs()).shape == (8, 10)
    assert cuda.diary.count("execute") == 1


def test_each_output_has_a_buffer_and_its_name() -> None:
    session, cuda, _ = opened(outputs=("out", "aux"))
    session.bind(named_input(images(8)))
    assert sum(len(buffer) for buffer in cuda.memory.values()) == 4 * 8 * (3 * 4 * 4 + 2 * 10)
    session.run()
    assert {name: array.shape for name, array in session.outputs().items()} == {"out": (8, 10), "aux": (8, 10)}
    with pytest.raises(InputError, match="takes input, and not images"):
        session.bind({"images": images(8)})
    with pytest.raises(CannotRunError, match="outputs that are not float32: none at all"):
        opened(outputs=())


def test_another_batch_takes_its_own_profile_and_buffers_and_frees_the_old_ones() -> None:
    session, cuda, _ = opened()
    for batch in (8, 1, 8):
        session.bind(named_input(images(batch)))
        assert sum(len(buffer) for buffer in cuda.memory.values()) == 4 * batch * (3 * 4 * 4 + 10)
        assert session.settings()["profile"] == f"batch {batch}"
    assert [line for line in cuda.diary if line.startswith("profile")] == ["profile 1", "profile 0", "profile 1"]
    session.close()
    assert not cuda.memory


def test_an_input_that_fits_nothing_leaves_the_session_as_it_was() -> None:
    session, cuda, _ = opened()
    session.bind(named_input(images(1)))
    held = dict(cuda.memory)
    with pytest.raises(InputError):
        session.bind(named_input(images(1)[:, :1]))
    assert cuda.memory == held
    session.run()


def test_a_graph_is_captured_after_one_plain_run_and_replayed() -> None:
    session, cuda, _ = opened(graph=True)
    session.bind(named_input(images(1)))
    assert [line for line in cuda.diary if line in ("execute", "cudaStreamBeginCapture", "cudaStreamEndCapture")] == [
        "execute",
        "cudaStreamBeginCapture",
        "execute",
        "cudaStreamEndCapture",
    ]
    cuda.diary.clear()
    session.bind(named_input(images(1, 2.0)))
    session.run()
    session.run()
    assert cuda.diary.count("cudaGraphLaunch") == 2
    assert "execute" not in cuda.diary
    session.check()
    assert session.settings()["cuda_graph"] == "captured"
    session.bind(named_input(images(8)))
    assert "cudaGraphExecDestroy" in cuda.diary
    assert cuda.diary.count("cudaGraphInstantiate") == 1, "another shape is captured anew"


def test_a_capture_that_fails_is_an_error_and_no_plain_run() -> None:
    session, cuda, _ = opened(graph=True)
    cuda.capture_fails = True
    with pytest.raises(CannotRunError, match="cannot be captured") as caught:
        session.bind(named_input(images(1)))
    assert "plain variant" in caught.value.fix
    assert "cudaGraphInstantiate" not in cuda.diary


def test_tensorrt_rtx_captures_by_itself_and_specialises_at_once() -> None:
    session, cuda, engine = opened(graph=True, rtx=True)
    session.bind(named_input(images(1)))
    assert engine.context is not None
    assert engine.context.config.cuda_graph_strategy == "WHOLE"
    assert engine.context.config.dynamic_shapes_kernel_specialization_strategy == "EAGER"
    assert "cudaStreamBeginCapture" not in cuda.diary
    session.run()
    session.check()
    assert "TensorRT-RTX" in session.settings()["cuda_graph"]
    engine.context.refuses.add("capture")  # the setting stands, and the runs cannot be captured
    with pytest.raises(CannotRunError, match="not as a CUDA graph"):
        session.check()
    engine.context.refuses.clear()
    engine.context.config.cuda_graph_strategy = "DISABLED"
    with pytest.raises(CannotRunError, match="not as a CUDA graph"):
        session.check()


def test_the_first_run_says_why_tensorrt_refuses() -> None:
    """TensorRT-RTX compiles its kernels there."""
    for graph in (False, True):
        session, _, engine = opened(graph=graph)
        assert engine.context is not None
        engine.context.refuses.add("execute")
        if not graph:
            session.bind(named_input(images(1)))
        with pytest.raises(CannotRunError, match="execute_async_v3: the kernel could not be compiled"):
            session.bind(named_input(images(1))) if graph else session.run()


@pytest.mark.parametrize(
    ("message", "kind", "reason"),
    [
        ("", OutOfMemoryError, "execution context: not enough memory"),
        ("Requested amount of GPU memory could not be allocated", OutOfMemoryError, "could not be allocated"),
        ("no kernel image is available", CannotRunError, "refused: an execution context: no kernel image"),
    ],
)
def test_a_context_that_is_not_made_says_why(message: str, kind: type[Exception], reason: str) -> None:
    with pytest.raises(CannotRunError, match=reason) as caught:
        opened(context_message=message)
    assert type(caught.value) is kind


def test_kernels_of_tensorrt_rtx_are_compiled_once_for_all_processes(tmp_path: Path) -> None:
    path = tmp_path / "caches" / "engine.kernels"
    for launch in range(2):
        session, _, engine = opened(rtx=True, cache=path)
        assert engine.context is not None
        assert engine.context.config.cache.kernels == (b"kernels" if launch else b"")
        session.bind(named_input(images(1)))
        assert path.exists() == bool(launch), "they are written after the run that compiles them"
        session.run()
        assert path.read_bytes() == b"kernels"
        assert [each.name for each in path.parent.iterdir()] == [path.name]
    opened(rtx=False, cache=tmp_path / "other")[0].bind(named_input(images(1)))
    assert not (tmp_path / "other").exists(), "TensorRT compiles nothing on the user's machine"


def test_each_engine_has_a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert cache_file(tmp_path / "a" / NAME) is None
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    first, second = cache_file(tmp_path / "a" / NAME), cache_file(tmp_path / "b" / NAME)
    assert first != second, "dense and pruned engines have the same name"
    assert first == cache_file(tmp_path / "a" / NAME)


@pytest.mark.parametrize(
    ("refused", "when"), [("profile", lambda s: s.bind(named_input(images(1)))), ("execute", lambda s: s.run())]
)
def test_what_tensorrt_refuses_is_an_error(refused: str, when: Callable[[TrtSession], None]) -> None:
    session, _, engine = opened()
    if refused == "execute":
        session.bind(named_input(images(1)))
    assert engine.context is not None
    engine.context.refuses.add(refused)
    with pytest.raises(CannotRunError, match="TensorRT refused"):
        when(session)


def test_memory_that_is_not_there_is_said_so() -> None:
    session, cuda, _ = opened()
    cuda.free_bytes = 100
    with pytest.raises(CannotRunError, match="not enough memory") as caught:
        session.bind(named_input(images(8)))
    assert "smaller `batch`" in caught.value.fix


def test_settings_name_what_is_in_force() -> None:
    session, _, _ = opened()
    session.bind(named_input(images(1)))
    assert session.settings() == {
        "library": "TensorRT",
        "library_version": "11.4.0",
        "target": "sm86",
        "profile": "batch 1",
        "cuda_graph": "none",
        "layer_types": "Half=1",
    }
    assert session.stream == fake_tensorrt.STREAM


@pytest.mark.parametrize(
    ("name", "plan", "expected"),
    [
        (NAME, b"ftrt", ("sm86", "tensorrt-11.4", "tensorrt")),
        ("model.fp16.sm120.b1-8-64.tensorrt-rtx-1.7.engine", b"", ("sm120", "tensorrt-rtx-1.7", "tensorrt-rtx")),
        ("renamed.engine", b"vtrt....", ("", "", "tensorrt-rtx")),
        ("renamed.engine", b"ftrt....", ("", "", "tensorrt")),
    ],
)
def test_a_file_name_tells_library_and_target(name: str, plan: bytes, expected: tuple[str, str, str]) -> None:
    label = EngineLabel.read(Path(name), plan)
    assert (label.target, label.tag, label.library) == expected


@pytest.mark.locked
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("model.fp32.sm90.b1.tensorrt-rtx-1.7.engine", CannotRunError, "built for sm90, the GPU here is sm86"),
        ("model.fp32.sm86.b1.tensorrt-rtx-1.0.engine", CannotRunError, "made by tensorrt-rtx-1.0"),
        ("renamed.engine", InputError, "does not load"),
    ],
)
def test_an_engine_that_cannot_load_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception], message: str
) -> None:
    monkeypatch.setattr(trt_engine, "local_target", lambda: "sm86")
    (tmp_path / name).write_bytes(b"vtrt" + bytes(range(256)) * 10)
    with pytest.raises(error, match=message) as caught:
        trt_engine.load(tmp_path / name)
    assert type(caught.value) is error


def test_the_backend_runs_on_a_gpu_only() -> None:
    with (
        pytest.raises(CannotRunError, match="runs on a GPU only"),
        trt.BACKEND.open(Path(NAME), named_input(images(1)), RunOptions()),
    ):
        pass


@pytest.mark.parametrize(("target", "available"), [("sm86", True), ("sm121", True), ("sm90", False), (None, False)])
def test_a_gpu_that_no_library_builds_for_makes_the_backend_unavailable(
    monkeypatch: pytest.MonkeyPatch, target: str | None, available: bool
) -> None:
    """TensorRT-RTX alone is no use on an H100: no engine can ever run there."""
    rtx = SimpleNamespace(ComputeCapability=SimpleNamespace(__members__=dict.fromkeys(("CURRENT", "SM86", "SM121"))))
    found = {
        "tensorrt": Unavailable(reason="not installed", fix="pip install tensorrt"),
        "tensorrt-rtx": TensorRTLibrary(name="TensorRT-RTX", version="1.7.1", module=rtx),
    }
    monkeypatch.setattr(library, "probe_library", found.__getitem__)
    monkeypatch.setattr(trt, "local_target", lambda: target)
    monkeypatch.setattr("prune_deploy.backends.cuda_runtime.is_installed", lambda: True)
    state = trt.BACKEND.available()
    assert state.available is available
    if target == "sm90":
        assert "does not build for sm90" in state.reason
