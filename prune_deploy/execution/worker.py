"""One process that opens candidates and runs them when told: `python -m prune_deploy.execution.worker FD`.

It imports nothing but what its backend needs, dies with its coordinator, and answers every message with one message.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prune_deploy.errors import PruneDeployError, first_line
from prune_deploy.execution.inputs import make_inputs
from prune_deploy.execution.protocol import Channel, ChannelClosed, Message
from prune_deploy.execution.timing import device_ms, time_runs
from prune_deploy.interfaces import Session
from prune_deploy.specs import RunOptions

_PR_SET_PDEATHSIG = 1
_DEVICE_RUNS = 3


class Worker:
    """The sessions of this process, by the candidate's number."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._sessions: dict[int, Session] = {}

    def answer(self, message: Message) -> tuple[dict[str, Any], bytes]:
        """Do what a message asks for."""
        handlers: dict[str, Callable[..., tuple[dict[str, Any], bytes]]] = {
            "open": self.open,
            "run": self.run,
            "check": self.check,
            "device_bytes": self.device_bytes,
        }
        header = dict(message.header)
        return handlers[header.pop("kind")](**header)

    def open(
        self, *, candidate: int, backend: str, artifact: str, options: dict[str, Any], inputs: str, shape: list[int], seed: int
    ) -> tuple[dict[str, Any], bytes]:
        """Open an artifact and run it once."""
        from prune_deploy import backends

        images = make_inputs(inputs, tuple(shape), seed)  # type: ignore[arg-type]  # checked when the spec was built
        begin = time.perf_counter()
        session = self._stack.enter_context(backends.usable(backend).open(Path(artifact), images, RunOptions(**options)))
        opened = time.perf_counter()
        session.run()
        session.synchronize()
        ended = time.perf_counter()
        self._sessions[candidate] = session
        gc.freeze()  # what is there stays; what comes is little, and is collected between blocks
        gc.disable()
        return {"open_s": opened - begin, "first_run_s": ended - opened, "settings": session.settings()}, b""

    def run(self, *, candidate: int, runs: int, mode: str) -> tuple[dict[str, Any], bytes]:
        """Time a block of runs."""
        gc.collect()
        started_ns = time.perf_counter_ns()
        session = self._sessions[candidate]
        samples = time_runs(session, runs, mode)  # type: ignore[arg-type]  # checked when the spec was built
        # The device's own clock as an extra, from runs of their own: events between timed runs would cost host time.
        extra = device_ms(session, _DEVICE_RUNS) if mode == "latency" else None
        readings = {} if extra is None else {"device_ms": extra}
        return {"started_ns": started_ns, "readings": readings}, samples.tobytes()

    def check(self, *, candidate: int) -> tuple[dict[str, Any], bytes]:
        """Whether all runs were what the label says, and what is in force now."""
        session = self._sessions[candidate]
        session.check()
        return {"settings": session.settings()}, b""

    def device_bytes(self, *, candidate: int) -> tuple[dict[str, Any], bytes]:
        """Peak device memory, in a pass that is not timed."""
        return {"bytes": self._sessions[candidate].device_bytes()}, b""


def die_with(parent: int) -> None:
    """Ask the kernel for a SIGKILL when the coordinator ends, however it ends; it reaches a stopped process too."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before the request was made
        os._exit(1)


def serve(channel: Channel) -> None:
    """Answer messages until the coordinator closes the channel."""
    with ExitStack() as stack:
        worker = Worker(stack)
        channel.send({"ready": True})
        while (message := channel.receive()) is not None:
            try:
                header, data = worker.answer(message)
            except PruneDeployError as error:
                channel.send({"error": {"status": error.status, "message": error.message, "fix": error.fix}})
            except Exception as error:  # noqa: BLE001 - whatever a runtime raises is this candidate's record, not the end of the comparison
                traceback.print_exc()
                said = f"{type(error).__name__}: {first_line(error, 300)}"
                channel.send(
                    {"error": {"status": "failed", "message": said, "fix": "see whether the model runs with prune-deploy run"}}
                )
            else:
                channel.send(header, data)


def main() -> None:
    """Entry point: the descriptor of the socket and the coordinator's process number are the arguments."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator decides when to end
    die_with(int(sys.argv[2]))
    try:
        serve(Channel(socket.socket(fileno=int(sys.argv[1]))))
    except ChannelClosed:
        return


if __name__ == "__main__":
    main()
