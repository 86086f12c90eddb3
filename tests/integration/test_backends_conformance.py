"""What every backend must do, the ones that are written tomorrow included: they are found here as the program finds them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Made, made

from prune_deploy.backends import discover, usable
from prune_deploy.errors import CannotRunError, InputError
from prune_deploy.interfaces import Backend, Session
from prune_deploy.store import read_bundle

__all__ = ["made"]  # a fixture

pytestmark = pytest.mark.xdist_group("commands")

BACKENDS = list(discover().values())
each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)


def artifact_in(folder: Path, backend: Backend) -> Path:
    """What the backend opens, of the bundle in `folder`; skips a backend that does not work here."""
    state = backend.available()
    if not state.available:
        pytest.skip(f"{backend.name}: {state.reason}")
    if backend.consumes == "module":
        return folder
    return next(folder / artifact.name for artifact in read_bundle(folder).artifacts if artifact.role == backend.consumes)


def images(batch: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Inputs of the shared bundle."""
    return np.random.default_rng(seed).standard_normal((batch, 3, 160, 160), dtype=np.float32)


def run_on(session: Session, inputs: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> None:
    """One whole inference."""
    session.bind(inputs)
    session.run()
    session.synchronize()


def test_the_backends_of_this_release_are_found() -> None:
    assert {"eager", "ort"} <= set(discover())
    assert list(discover()) == sorted(discover())


@each_backend
def test_a_backend_says_what_it_is(backend: Backend) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]*", backend.name)
    assert discover()[backend.name] is backend
    assert len(backend.summary) > 10
    assert backend.consumes in ("module", "onnx", "engine")
    assert backend.extra
    state = backend.available()
    assert state.available or (state.reason and state.fix), "what does not work says why, and what to do"
    if state.available:
        assert usable(backend.name) is backend
    else:
        with pytest.raises(CannotRunError, match=re.escape(state.reason)):
            usable(backend.name)


@each_backend
def test_one_session_runs_batches_of_1_2_and_5(made: Made, backend: Backend) -> None:
    with backend.open(artifact_in(made.folder, backend), images(1)) as session:
        assert session.stream is None or session.stream > 0
        for batch in (1, 2, 5, 1):
            run_on(session, images(batch))
            logits = session.outputs()
            assert (logits.shape, logits.dtype) == ((batch, 10), np.float32)
            assert np.isfinite(logits).all()


@each_backend
def test_the_input_given_at_opening_is_bound(made: Made, backend: Backend) -> None:
    artifact = artifact_in(made.folder, backend)
    answers = []
    for seed in (0, 1, 0):
        with backend.open(artifact, images(2, seed)) as session:
            session.run()
            session.synchronize()
            answers.append(session.outputs())
    np.testing.assert_array_equal(answers[0], answers[2])
    assert not np.allclose(answers[0], answers[1])


@each_backend
def test_outputs_stay_what_they_were_when_the_session_runs_on(made: Made, backend: Backend) -> None:
    with backend.open(artifact_in(made.folder, backend), images(2)) as session:
        session.run()
        session.synchronize()
        first = session.outputs()
        before = first.copy()
        run_on(session, images(2, seed=1))
        assert not np.allclose(session.outputs(), before)
        np.testing.assert_array_equal(first, before)


@each_backend
def test_inputs_of_any_layout_and_float_type_are_taken(made: Made, backend: Backend) -> None:
    plain = images(2)
    strided = np.asfortranarray(plain.astype(np.float64))
    answers = []
    with backend.open(artifact_in(made.folder, backend), plain) as session:
        for inputs in (plain, strided, np.repeat(plain, 2, axis=0)[::2]):
            run_on(session, inputs)
            answers.append(session.outputs())
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_all_backends_give_the_same_logits(made: Made, batch: int) -> None:
    answers = {}
    for backend in BACKENDS:
        if backend.available().available:
            with backend.open(artifact_in(made.folder, backend), images(batch)) as session:
                session.run()
                session.synchronize()
                answers[backend.name] = session.outputs()
    assert len(answers) >= 2
    spread = answers["eager"].std()
    for logits in answers.values():
        assert np.abs(logits - answers["eager"]).max() < 1e-4 * spread


@each_backend
def test_an_input_with_too_few_channels_is_bad_input(made: Made, backend: Backend) -> None:
    with backend.open(artifact_in(made.folder, backend), images(1)) as session:
        with pytest.raises(InputError):
            run_on(session, images(1)[:, :1])
        run_on(session, images(1))
        assert session.outputs().shape == (1, 10), "the session lives on"


@each_backend
@pytest.mark.parametrize("left", ["nothing", "half", "garbage", "no file"])
def test_a_damaged_artifact_is_bad_input(made: Made, tmp_path: Path, backend: Backend, left: str) -> None:
    folder = Path(shutil.copytree(made.folder, tmp_path / "damaged"))
    artifact = artifact_in(folder, backend)
    path = artifact / "weights.safetensors" if artifact.is_dir() else artifact
    content = path.read_bytes()
    path.write_bytes({"half": content[: len(content) // 2], "garbage": bytes(range(256)) * 40}.get(left, b""))
    if left == "no file":
        path.unlink()
    with pytest.raises(InputError, match=re.escape(path.name)) as caught, backend.open(artifact, images(1)):
        pass
    assert caught.value.fix
