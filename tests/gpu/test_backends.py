"""The backends on a GPU: the same answers as on the CPU, on a stream that events can time, with what was asked for in force."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from prune_deploy import ExportSpec, ModelSpec, PruneSpec, export_bundle
from prune_deploy.backends import discover, usable
from prune_deploy.backends.cuda_runtime import CudaRuntime
from prune_deploy.errors import CannotRunError, InputError, RecompiledError
from prune_deploy.evaluation.verify import verify_bundle
from prune_deploy.gpus import local_target
from prune_deploy.interfaces import Backend, Session
from prune_deploy.pipeline import Exported
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import named_input, only
from support.gpu import engine_spec, needs_cuda, needs_engine
from support.gpu import options as on_device

BATCHES = (1, 4)
WAYS = [
    pytest.param(
        backend,
        variant,
        id=f"{backend.name}{variant and ':' + variant}",
        marks=[*([needs_engine] if backend.consumes == "engine" else []), *([needs_cuda] if variant else [])],
    )
    for backend in discover().values()
    for variant in backend.variants
    if backend.consumes != "nothing" and variant != "tensorrt-ep"
]
each_way = pytest.mark.parametrize(("backend", "variant"), WAYS)

Images = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small transformer, with an engine where a library builds one for this GPU."""
    engine = engine_spec(batches=BATCHES)
    spec = ExportSpec(model=ModelSpec(name="test_vit", num_classes=10), prune=PruneSpec(ratio=0.5), engine=engine)
    return export_bundle(spec, tmp_path_factory.mktemp("gpu") / "bundle")


def images(batch: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).standard_normal((batch, 3, 160, 160), dtype=np.float32)


def artifact(exported: Exported, backend: Backend) -> Path:
    if backend.consumes == "module":
        return exported.folder
    return next(exported.folder / a.name for a in exported.record.artifacts if a.role == backend.consumes)


def opened(exported: Exported, backend: Backend, variant: str, inputs: Images, **options: Any) -> AbstractContextManager[Session]:
    return backend.open(artifact(exported, backend), named_input(inputs), on_device(variant=variant, **options))


def answer(session: Session, inputs: Images) -> Images:
    session.bind(named_input(inputs))
    session.run()
    session.synchronize()
    return only(session.outputs())


@pytest.fixture(scope="module")
def on_cpu(exported: Exported) -> dict[int, Images]:
    """The module's own logits by batch."""
    backend = usable("eager")
    logits = {}
    for batch in BATCHES:
        with backend.open(exported.folder, named_input(images(batch))) as session:
            logits[batch] = answer(session, images(batch))
    return logits


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[needs_engine] if each.consumes == "engine" else []) for name, each in discover().items()]
)
def test_every_backend_is_available(name: str) -> None:
    state = discover()[name].available()
    assert state.available, state.reason


@each_way
def test_it_computes_what_the_cpu_computes(exported: Exported, on_cpu: dict[int, Images], backend: Backend, variant: str) -> None:
    for batch in BATCHES:
        with opened(exported, backend, variant, images(batch)) as session:
            logits = answer(session, images(batch))
            session.check()
        assert np.abs(logits - on_cpu[batch]).max() < 1e-3 * on_cpu[batch].std()


@each_way
def test_a_session_takes_another_batch_and_goes_back(exported: Exported, backend: Backend, variant: str) -> None:
    with opened(exported, backend, variant, images(1)) as session:
        first = answer(session, images(1))
        assert answer(session, images(4)).shape == (4, 10)
        np.testing.assert_allclose(answer(session, images(1)), first, atol=1e-5)
        if backend.name == "compile":
            with pytest.raises(RecompiledError):
                session.check()
        else:
            session.check()


@each_way
def test_another_input_gives_another_answer_and_old_answers_stay(exported: Exported, backend: Backend, variant: str) -> None:
    with opened(exported, backend, variant, images(4)) as session:
        first = answer(session, images(4))
        before = first.copy()
        assert not np.allclose(answer(session, images(4, seed=1)), before)
        np.testing.assert_array_equal(first, before)


@needs_cuda
@each_way
def test_events_on_its_stream_time_it(exported: Exported, backend: Backend, variant: str) -> None:
    cuda = CudaRuntime()
    with opened(exported, backend, variant, images(4)) as session:
        assert session.stream is not None
        answer(session, images(4))
        first, last = cuda.call("cudaEventCreate"), cuda.call("cudaEventCreate")
        cuda.call("cudaEventRecord", first, session.stream)
        for _ in range(20):
            session.run()
        cuda.call("cudaEventRecord", last, session.stream)
        session.synchronize()
        elapsed_ms = cuda.call("cudaEventElapsedTime", first, last)
    assert 20 * 0.005 < elapsed_ms < 20 * 1000, "twenty runs of a real network lie between the events"


@needs_cuda
@each_way
def test_it_says_what_is_in_force_and_how_much_memory_it_takes(exported: Exported, backend: Backend, variant: str) -> None:
    with opened(exported, backend, variant, images(4)) as session:
        answer(session, images(4))
        settings, memory = session.settings(), session.device_bytes()
    assert settings
    assert all(settings.values())
    assert memory is not None
    assert 1 << 16 < memory < 8 << 30


@needs_cuda
@pytest.mark.parametrize("enabled", [False, True])
def test_tf32_is_what_was_asked_for(exported: Exported, enabled: bool) -> None:
    message = {}
    for name in ("eager", "ort"):
        with opened(exported, usable(name), "", images(1), precision="tf32" if enabled else "fp32") as session:
            message[name] = session.settings()
    precision = "tf32" if enabled else "ieee"
    assert message["eager"]["tf32"] == f"matmul {precision}, conv {precision}"
    assert f"use_tf32={int(enabled)}" in message["ort"]["provider_options"]


@needs_cuda
def test_tf32_changes_a_matrix_product() -> None:
    from prune_deploy.backends.pytorch.settings import applied

    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("no TF32 before Ampere")
    factors = torch.randn(2, 512, 512, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    exact = factors[0].double() @ factors[1].double()
    errors = []
    for enabled in (False, True):
        with applied(RunOptions(device="cuda", precision="tf32" if enabled else "fp32")):
            errors.append(float(((factors[0] @ factors[1]).double() - exact).abs().max()))
    assert errors[0] < errors[1] / 10


@needs_cuda
def test_sessions_of_one_process_keep_their_own_precision(exported: Exported) -> None:
    """Two sessions share PyTorch's one switch: each has its own in force while it runs, whichever was opened last."""
    with (
        opened(exported, usable("eager"), "", images(4), precision="tf32") as quick,
        opened(exported, usable("eager"), "", images(4), precision="fp32") as exact,
        opened(exported, usable("eager"), "", images(4), precision="tf32") as copy,
    ):
        logits = []
        for session in (quick, exact, copy, exact):
            with session.active():
                session.run()
                session.check()
                logits.append(session.outputs())
    np.testing.assert_array_equal(logits[0], logits[2])
    np.testing.assert_array_equal(logits[1], logits[3])


@needs_cuda
@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune-no-cudagraphs"])
def test_modes_of_the_compiler_keep_old_answers(exported: Exported, on_cpu: dict[int, Images], mode: str) -> None:
    with opened(exported, usable("compile"), "", images(4), compile_mode=mode) as session:
        for _ in range(3):  # CUDA graphs are recorded in the second run and replayed in the third
            first = answer(session, images(4))
        before = first.copy()
        answer(session, images(4, seed=1))
        session.check()
        memory = session.device_bytes()
        weights = sum(each.nbytes for each in session.module.parameters())  # type: ignore[attr-defined]
    assert memory is not None
    assert memory > weights, "activations of a recorded graph count too"
    np.testing.assert_array_equal(first, before)
    assert np.abs(first - on_cpu[4]).max() < 1e-3 * on_cpu[4].std()


@needs_cuda
@pytest.mark.parametrize("name", ["ort", pytest.param("trt", marks=needs_engine)])
def test_a_graph_variant_launches_graphs_and_the_plain_way_kernels(exported: Exported, name: str) -> None:
    """CUPTI sees the launches. What a runtime reports of its settings is what was written there."""
    launched = {}
    for variant in ("", "cuda-graph"):
        with opened(exported, usable(name), variant, images(4)) as session:
            for _ in range(3):
                session.run()
            session.synchronize()
            with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
                session.run()
                session.synchronize()
            launched[variant] = [event.name for event in profiler.events() if "GraphLaunch" in event.name]
    assert launched[""] == []
    assert len(launched["cuda-graph"]) == 1


@needs_engine
def test_the_graph_variant_is_a_graph(exported: Exported) -> None:
    backend = usable("trt")
    message = {}
    for variant in backend.variants:
        with opened(exported, backend, variant, images(1)) as session:
            session.run()
            session.check()
            message[variant] = session.settings()["cuda_graph"]
    assert message[""] == "none"
    assert "captured" in message["cuda-graph"]


@needs_engine
def test_an_engine_for_another_gpu_is_refused(exported: Exported, tmp_path: Path) -> None:
    engine = artifact(exported, usable("trt"))
    other = "sm75" if local_target() != "sm75" else "sm86"
    unknown = tmp_path / engine.name.replace(f".{local_target()}.", f".{other}.")
    unknown.write_bytes(engine.read_bytes())
    with (
        pytest.raises(CannotRunError, match=f"built for {other}, the GPU here is {local_target()}") as caught,
        usable("trt").open(unknown, named_input(images(1)), RunOptions(device="cuda")),
    ):
        pass
    assert f"`target='{local_target()}'`" in caught.value.fix


@needs_engine
def test_a_damaged_engine_is_bad_input(exported: Exported, tmp_path: Path) -> None:
    engine = artifact(exported, usable("trt"))
    half = tmp_path / engine.name
    half.write_bytes(engine.read_bytes()[: engine.stat().st_size // 2])
    with (
        pytest.raises(InputError, match="does not load"),
        usable("trt").open(half, named_input(images(1)), RunOptions(device="cuda")),
    ):
        pass


@needs_engine
def test_a_batch_outside_the_profiles_is_bad_input(exported: Exported) -> None:
    with pytest.raises(InputError, match="batch 3 is outside") as caught, opened(exported, usable("trt"), "", images(3)):
        pass
    assert "`batches=(..., 3)`" in caught.value.fix


@needs_engine
def test_parity_of_the_engine_was_checked_at_export_and_is_again(exported: Exported) -> None:
    recorded = next(a for a in exported.record.artifacts if a.role == "engine")
    assert recorded.parity is not None
    assert recorded.parity.status == "passed"
    looked = {(finding.name, finding.check): finding.status for finding in verify_bundle(exported.folder)}
    assert looked[recorded.name, "parity"] == "passed"
