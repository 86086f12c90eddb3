"""Sessions of PyTorch in one process: each in its own precision, on one stream, with errors that say whose fault they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from prune_deploy.backends.compile import CompiledSession
from prune_deploy.backends.pytorch.precision import check_precision
from prune_deploy.backends.pytorch.session import TorchSession
from prune_deploy.backends.pytorch.settings import applied, set_tf32, tf32_state
from prune_deploy.errors import BuildError, CannotRunError, InputError, OutOfMemoryError
from prune_deploy.specs import Precision, RunOptions
from prune_deploy.tensors import named_input

IMAGES = np.zeros((2, 3, 4, 4), dtype=np.float32)


class Raises(nn.Module):
    """A network whose GPU answers with an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise self.error


def session(precision: Precision) -> TorchSession:
    """A session as it is opened: with its own switches in force."""
    with applied(RunOptions(precision=precision)):
        return TorchSession(nn.Conv2d(3, 4, 1), named_input(IMAGES), RunOptions(precision=precision))


@pytest.mark.parametrize("order", [("tf32", "fp32", "tf32"), ("fp32", "tf32", "fp32")])
def test_each_session_has_its_own_tf32_in_force_whichever_was_opened_last(order: tuple[Precision, ...]) -> None:
    sessions = [(precision, session(precision)) for precision in order]
    before = tf32_state()
    for precision, each in sessions + sessions[::-1]:
        with each.active():
            each.run()
            each.check()
            wanted = "tf32" if precision == "tf32" else "ieee"
            assert tf32_state() == f"matmul {wanted}, conv {wanted}"
    assert tf32_state() == before


def test_a_switch_that_changes_during_a_block_is_an_error() -> None:
    before = tf32_state()
    quick = session("tf32")
    with pytest.raises(BuildError, match="tf32 was asked for, PyTorch says: matmul ieee, conv ieee"), quick.active():
        set_tf32(False)
    assert tf32_state() == before


@pytest.mark.parametrize("precision", ["fp32", None, "fp16", "bf16"])
def test_tf32_under_another_label_is_refused(precision: Precision | None) -> None:
    module = nn.Conv2d(3, 4, 1).to({"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision or "", torch.float32))
    for state in ("matmul tf32, conv ieee", "matmul ieee, conv tf32"):
        with pytest.raises(BuildError, match="was asked for, PyTorch says"):
            check_precision(module, RunOptions(device="cuda", precision=precision), state)
    check_precision(module, RunOptions(device="cuda", precision=precision), "matmul none, conv ieee")


@pytest.mark.parametrize("enabled", [False, True])
def test_pytorchs_older_and_newer_switches_agree(enabled: bool) -> None:
    with applied(RunOptions(precision="tf32" if enabled else "fp32")):
        assert torch.backends.cuda.matmul.allow_tf32 is enabled
        assert torch.backends.cudnn.allow_tf32 is enabled, "this getter raises where the two differ"
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=enabled):
            pass
        assert torch.backends.cudnn.rnn.fp32_precision == ("tf32" if enabled else "ieee")  # type: ignore[attr-defined]
    assert torch.backends.cudnn.allow_tf32 in (True, False)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), CannotRunError, "illegal memory access"),
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemoryError, "not enough memory"),
        (RuntimeError("expected input to have 3 channels, but got 4"), InputError, "3 channels"),
    ],
)
def test_an_error_of_the_gpu_is_not_a_wrong_input(error: Exception, kind: type[Exception], message: str) -> None:
    opened = TorchSession(Raises(error), named_input(IMAGES), RunOptions())
    with pytest.raises(kind, match=message) as caught:
        opened.run()
    assert type(caught.value) is kind


def test_compiled_code_that_needs_too_much_memory_is_no_failed_compilation() -> None:
    opened = CompiledSession(nn.Conv2d(3, 4, 1), named_input(IMAGES), RunOptions())
    opened._call = Raises(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(OutOfMemoryError):
        opened.run()
