"""Eager PyTorch: options are really in force while a session is open, and gone when it is closed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prune_deploy.backends.eager import BACKEND
from prune_deploy.backends.pytorch.settings import applied, set_tf32, tf32_state
from prune_deploy.errors import CannotRunError
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import named_input, only
from support.commands import Made, made

__all__ = ["made"]  # a fixture


INPUTS = np.random.default_rng(0).standard_normal((2, 3, 160, 160), dtype=np.float32)


def answer(made: Made, **options: object) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], dict[str, str]]:
    """Logits, and what the session said of itself."""
    with BACKEND.open(made.folder, named_input(INPUTS), RunOptions(**options)) as session:  # type: ignore[arg-type]
        session.run()
        session.synchronize()
        return only(session.outputs()), session.settings()


def test_threads_are_in_force_and_put_back(made: Made) -> None:
    before = torch.get_num_threads()
    with BACKEND.open(made.folder, named_input(INPUTS), RunOptions(threads=before + 1)) as session:
        assert torch.get_num_threads() == before + 1
        assert session.settings()["threads"] == str(before + 1)
    assert torch.get_num_threads() == before


def test_channels_last_changes_the_layout_and_not_the_logits(made: Made) -> None:
    plain, settings = answer(made)
    other, other_settings = answer(made, channels_last=True)
    assert (settings["channels_last"], other_settings["channels_last"]) == ("false", "true")
    np.testing.assert_allclose(other, plain, atol=1e-5 * float(plain.std()) + 1e-6)


@pytest.mark.parametrize(("enabled", "message"), [(False, "matmul ieee, conv ieee"), (True, "matmul tf32, conv tf32")])
def test_tf32_is_set_for_all_of_cuda_and_read_back_and_put_back(enabled: bool, message: str) -> None:
    before = tf32_state()
    on_cpu = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    with applied(RunOptions(device="cuda", precision="tf32" if enabled else "fp32")):
        assert tf32_state() == message
        # The older switch says the same: Inductor's templates still ask it, and PyTorch raises where the two differ.
        assert torch.backends.cuda.matmul.allow_tf32 is enabled
        assert torch.backends.mkldnn.matmul.fp32_precision == on_cpu  # type: ignore[attr-defined]
    assert tf32_state() == before
    assert torch.backends.mkldnn.matmul.fp32_precision == on_cpu  # type: ignore[attr-defined]


def test_tf32_set_by_others_is_put_back(made: Made) -> None:
    before = tf32_state()
    with applied(RunOptions()):  # which puts back what it finds
        set_tf32(True)
        _, settings = answer(made)
        assert settings["tf32"] == "matmul ieee, conv ieee"
        assert tf32_state() == "matmul tf32, conv tf32"
    assert tf32_state() == before
    assert torch.backends.cudnn.allow_tf32 in (True, False), "this getter raises where convolutions and recurrent layers differ"


def test_the_search_of_cudnn_is_put_back(made: Made) -> None:
    before = torch.backends.cudnn.benchmark
    with BACKEND.open(made.folder, named_input(INPUTS), RunOptions(cudnn_benchmark=True)):
        assert torch.backends.cudnn.benchmark is True
    assert torch.backends.cudnn.benchmark is before


def test_options_are_put_back_when_a_session_fails(made: Made) -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), BACKEND.open(made.folder, named_input(INPUTS), RunOptions(threads=before + 1)):
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_torch_without_cuda_is_said_so_where_there_is_a_gpu(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prune_deploy.backends.run_options.local_target", lambda: "sm86")
    with pytest.raises(CannotRunError, match="sees no CUDA device") as caught:
        answer(made, device="cuda")
    assert caught.value.fix
