"""Errors of CUDA: which of them end its use in a process, and what a worker tells of that."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from prune_deploy.backends import cuda_runtime
from prune_deploy.errors import CannotRunError
from prune_deploy.execution.workers.protocol import Channel, ChannelClosed
from prune_deploy.execution.workers.server import serve


@pytest.mark.parametrize(
    ("status", "lost"),
    [
        ("cudaSuccess", False),
        ("cudaErrorMemoryAllocation", False),
        ("cudaErrorInsufficientDriver", False),
        ("cudaErrorIllegalAddress", True),
        ("cudaErrorLaunchFailure", True),
        ("cudaErrorAssert", True),
    ],
)
def test_some_errors_last(status: str, lost: bool) -> None:
    api = SimpleNamespace(cudaDeviceSynchronize=lambda: (SimpleNamespace(name=status),))
    assert cuda_runtime.is_lost(api) is lost


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("error", [CannotRunError("the GPU failed", fix="use another"), ValueError("what a runtime raises")])
def test_a_worker_tells_with_an_error_whether_it_can_go_on(error: Exception, lost: bool) -> None:
    mine, theirs = socket.socketpair()

    def answer(_: Any) -> tuple[dict[str, Any], bytes]:
        raise error

    def work() -> None:
        with suppress(ChannelClosed):
            serve(Channel(theirs), answer, lambda: lost)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    channel = Channel(mine)
    ready = channel.receive(10.0)
    assert ready is not None
    assert ready.header == {"ready": True}
    channel.send({"kind": "run"})
    told = channel.receive(10.0)
    assert told is not None
    assert told.header["error"]["lost"] is lost
    channel.close()
