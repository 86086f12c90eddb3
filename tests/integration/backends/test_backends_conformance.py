"""What every backend must do, the ones that are written tomorrow included: they are found here as the program finds them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prune_deploy.backends import discover, usable
from prune_deploy.errors import CannotRunError, InputError, PruneDeployError, RecompiledError
from prune_deploy.gpus import local_target
from prune_deploy.interfaces import OPENS_FOLDER, Backend, Session
from prune_deploy.specs import PRECISIONS, Precision, RunOptions
from prune_deploy.store import read_bundle
from prune_deploy.tensors import named_input, only
from support.commands import Made, call, made, refused
from support.models.precise import SIZE, file_of, precise

__all__ = ["made", "precise"]  # fixtures


BACKENDS = list(discover().values())
each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
ANSWERING = [backend for backend in BACKENDS if backend.consumes != "nothing"]
each_that_answers = pytest.mark.parametrize("backend", ANSWERING, ids=lambda backend: backend.name)


@pytest.fixture(scope="module", autouse=True)
def own_compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What torch.compile keeps stays within the test run, and is shared by its sessions: each shape is compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


def options_for(backend: Backend, **options: Any) -> RunOptions:
    """The CPU, except for engines, which have no other place than a GPU."""
    return RunOptions(device="cuda" if backend.consumes == "engine" else "cpu", **options)


def opened(made: Made, backend: Backend, inputs: np.ndarray[Any, Any], **options: Any) -> AbstractContextManager[Session]:
    """A session of the shared bundle."""
    return backend.open(artifact_in(made.folder, backend), named_input(inputs), options_for(backend, **options))


def artifact_in(folder: Path, backend: Backend) -> Path:
    """What the backend opens, of the bundle in `folder`; skips a backend that does not work here."""
    state = backend.available()
    if not state.available:
        pytest.skip(f"{backend.name}: {state.reason}")
    if backend.consumes in ("module", "nothing"):
        return folder
    return next(folder / artifact.name for artifact in read_bundle(folder).artifacts if artifact.role == backend.consumes)


def images(batch: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Inputs of the shared bundle."""
    return np.random.default_rng(seed).standard_normal((batch, 3, 160, 160), dtype=np.float32)


def run_on(session: Session, inputs: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> None:
    """One whole inference."""
    session.bind(named_input(inputs))
    session.run()
    session.synchronize()


def test_the_backends_of_this_release_are_found() -> None:
    assert {"compile", "eager", "null", "ort", "trt"} <= set(discover())
    assert list(discover()) == sorted(discover())


@each_backend
def test_a_backend_says_what_it_is(backend: Backend) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]*", backend.name)
    assert discover()[backend.name] is backend
    assert len(backend.summary) > 10
    assert backend.consumes in OPENS_FOLDER | {"onnx", "engine"}
    assert backend.title
    assert backend.variants[0] == ""
    assert set(backend.reported) <= set(backend.variants)
    assert isinstance(backend.needs_own_process, bool)
    assert isinstance(backend.compiles, bool)
    state = backend.available()
    assert state.available or (state.reason and state.fix), "what does not work says why, and what to do"
    if state.available:
        assert usable(backend.name) is backend
    else:
        with pytest.raises(CannotRunError, match=re.escape(state.reason)):
            usable(backend.name)


# torch.compile compiles for each of the three.
@pytest.mark.parametrize(
    "backend",
    [pytest.param(each, marks=pytest.mark.release if each.compiles else (), id=each.name) for each in ANSWERING],
)
def test_one_session_runs_batches_of_1_and_4(made: Made, backend: Backend) -> None:
    with opened(made, backend, images(1)) as session:
        assert session.stream is None or session.stream > 0
        for batch in (1, 4, 1):
            run_on(session, images(batch))
            logits = only(session.outputs())
            assert (logits.shape, logits.dtype) == ((batch, 10), np.float32)
            assert np.isfinite(logits).all()
        if backend.name == "compile":
            with pytest.raises(RecompiledError, match="2 graphs"):
                session.check()
        else:
            session.check()


@each_backend
def test_a_session_says_what_is_in_force_and_that_nothing_went_wrong(made: Made, backend: Backend) -> None:
    with opened(made, backend, images(1)) as session:
        session.run()
        session.synchronize()
        session.check()
        settings = session.settings()
        assert all(isinstance(key, str) and isinstance(value, str) and value for key, value in settings.items())
        assert (backend.consumes == "nothing") == (not settings)
        memory = session.device_bytes()
        assert memory is None if options_for(backend).device == "cpu" else memory is not None and memory > 0
        session.check()


@each_that_answers
def test_the_input_given_at_opening_is_bound(made: Made, backend: Backend) -> None:
    answers = []
    for seed in (0, 1, 0):
        with opened(made, backend, images(4, seed)) as session:
            session.run()
            session.synchronize()
            answers.append(only(session.outputs()))
    np.testing.assert_array_equal(answers[0], answers[2])
    assert not np.allclose(answers[0], answers[1])


@each_that_answers
def test_outputs_stay_what_they_were_when_the_session_runs_on(made: Made, backend: Backend) -> None:
    with opened(made, backend, images(4)) as session:
        session.run()
        session.synchronize()
        first = only(session.outputs())
        before = first.copy()
        run_on(session, images(4, seed=1))
        assert not np.allclose(only(session.outputs()), before)
        np.testing.assert_array_equal(first, before)


@each_that_answers
def test_inputs_of_any_layout_and_float_type_are_taken(made: Made, backend: Backend) -> None:
    plain = images(4)
    strided = np.asfortranarray(plain.astype(np.float64))
    answers = []
    with opened(made, backend, plain) as session:
        for inputs in (plain, strided, np.repeat(plain, 2, axis=0)[::2]):
            run_on(session, inputs)
            answers.append(only(session.outputs()))
        session.check()
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


@each_that_answers
def test_what_was_bound_is_not_changed_by_the_caller(made: Made, backend: Backend) -> None:
    inputs = images(4)
    with opened(made, backend, inputs) as session:
        session.run()
        session.synchronize()
        before = only(session.outputs())
        inputs[:] = 0
        session.run()
        session.synchronize()
        np.testing.assert_array_equal(only(session.outputs()), before)


@pytest.mark.parametrize("batch", [1, 4])
def test_all_backends_give_the_same_logits(made: Made, batch: int) -> None:
    answers = {}
    for backend in ANSWERING:
        if backend.available().available:
            with opened(made, backend, images(batch)) as session:
                session.run()
                session.synchronize()
                answers[backend.name] = only(session.outputs())
    assert {"eager", "compile", "ort"} <= answers.keys()
    spread = answers["eager"].std()
    for logits in answers.values():
        assert np.abs(logits - answers["eager"]).max() < 1e-4 * spread


@each_that_answers
def test_an_input_with_too_few_channels_is_bad_input(made: Made, backend: Backend) -> None:
    with opened(made, backend, images(1)) as session:
        with pytest.raises(InputError):
            run_on(session, images(1)[:, :1])
        run_on(session, images(1))
        assert only(session.outputs()).shape == (1, 10), "the session lives on"


@each_that_answers
@pytest.mark.parametrize("left", ["nothing", "half", "garbage", "no file"])
def test_a_damaged_artifact_is_bad_input(made: Made, tmp_path: Path, backend: Backend, left: str) -> None:
    folder = Path(shutil.copytree(made.folder, tmp_path / "damaged"))
    artifact = artifact_in(folder, backend)
    path = artifact / "weights.safetensors" if artifact.is_dir() else artifact
    content = path.read_bytes()
    path.write_bytes({"half": content[: len(content) // 2], "garbage": bytes(range(256)) * 40}.get(left, b""))
    if left == "no file":
        path.unlink()
    with (
        pytest.raises(InputError, match=re.escape(path.name)) as caught,
        backend.open(artifact, named_input(images(1)), options_for(backend)),
    ):
        pass
    assert caught.value.fix


@each_backend
def test_an_unknown_variant_is_bad_input(made: Made, backend: Backend) -> None:
    with pytest.raises(InputError, match="no variant 'warp'") as caught, opened(made, backend, images(1), variant="warp"):
        pass
    assert caught.value.fix


@each_backend
@pytest.mark.skipif(local_target() is not None, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_so(made: Made, backend: Backend) -> None:
    with (
        pytest.raises(CannotRunError, match="no CUDA device") as caught,
        backend.open(made.folder, named_input(images(1)), RunOptions(device="cuda")),
    ):
        pass
    assert ("`device='cpu'`" in caught.value.fix) == (backend.consumes != "engine")
    assert "NVIDIA GPU" in caught.value.fix


CASTING = [backend for backend in ANSWERING if not backend.needs_own_process]
"""Without those that compile: test_backend_compile looks at their half precision, with a network that compiles in seconds."""
COMPUTING = {("eager", "fp32"), ("eager", "fp16"), ("eager", "bf16"), ("ort", "fp32"), ("ort", "int8")}
"""What a CPU computes in."""


def labelled(
    folder: Path, backend: Backend, precision: Precision
) -> tuple[np.ndarray[Any, Any], dict[str, str]] | PruneDeployError:
    """Logits and settings of a session with a label, or the error that it ended with."""
    inputs = np.random.default_rng(0).standard_normal((4, *SIZE), dtype=np.float32)
    try:
        artifact = folder if backend.consumes == "module" else folder / file_of(folder, precision, backend.name).name
        with backend.open(artifact, named_input(inputs), options_for(backend, precision=precision)) as session:
            run_on(session, inputs)
            session.check()
            return only(session.outputs()), session.settings()
    except PruneDeployError as error:
        return error


@pytest.mark.parametrize("backend", CASTING, ids=lambda backend: backend.name)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_a_precision_is_computed_in_or_refused(precise: Path, backend: Backend, precision: Precision) -> None:
    expected, found = labelled(precise, usable("eager"), "fp32"), labelled(precise, backend, precision)
    if isinstance(found, PruneDeployError):
        assert (backend.name, precision) not in COMPUTING
        assert found.status == "unavailable" or isinstance(found, InputError)
        assert found.fix
        return
    assert not isinstance(expected, PruneDeployError)
    logits, settings = found
    assert settings["precision"].startswith(precision)
    assert precision == "fp32" or backend.consumes == "engine" or int(settings["precision_layers"].partition("/")[0]) > 0
    assert logits.dtype == np.float32
    assert np.abs(logits - expected[0]).max() < PRECISIONS[precision].parity.relative_diff * expected[0].std(axis=1).mean()


def test_no_answer_is_asked_of_what_computes_nothing(made: Made) -> None:
    refused(call("run", made.folder, "--backend", "null"), 2, "computes nothing")


@pytest.mark.skipif(local_target() is not None, reason="there is a GPU")
def test_an_engine_cannot_answer_without_a_gpu(made: Made) -> None:
    refused(call("run", made.folder, "--backend", "trt"), 4, "no CUDA device")


IMPORTED = """
import sys
from pathlib import Path
import numpy as np
from prune_deploy.backends import usable
from prune_deploy.tensors import named_input
name, artifact = sys.argv[1:]
with usable(name).open(Path(artifact), named_input(np.zeros((1, 3, 160, 160), np.float32))) as session:
    session.run(), session.synchronize(), session.check(), session.settings()
print(*sorted({"torch", "timm", "onnxruntime", "onnx", "tensorrt", "tensorrt_rtx", "scipy"} & sys.modules.keys()))
"""


@pytest.mark.parametrize(("name", "imported"), [("null", ""), ("ort", "onnxruntime")])
def test_a_worker_imports_its_runtime_and_no_other(made: Made, name: str, imported: str) -> None:
    command = [sys.executable, "-c", IMPORTED, name, str(artifact_in(made.folder, discover()[name]))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == imported
