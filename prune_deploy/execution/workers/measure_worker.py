"""A process that opens candidates, and runs them on request.

It imports nothing but what its backend needs.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from prune_deploy.errors import OutputError
from prune_deploy.execution.workers.inputs import make_inputs
from prune_deploy.execution.workers.protocol import Message
from prune_deploy.execution.workers.server import run_child
from prune_deploy.execution.workers.timing import device_ms, time_runs
from prune_deploy.interfaces import Session
from prune_deploy.specs import RunOptions

_DEVICE_RUNS = 3


class MeasureWorker:
    """The sessions of this process, by the candidate's number."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._sessions: dict[int, Session] = {}

    def answer(self, message: Message) -> tuple[dict[str, Any], bytes]:
        """Handle a message."""
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
        if not np.isfinite(session.outputs()).all():
            raise OutputError(
                "its outputs are not finite numbers",
                fix="see prune-deploy verify; half precision may overflow, weights may be damaged",
            )
        session.check()  # a label that does not hold is an error before anything is timed
        self._sessions[candidate] = session
        gc.freeze()  # existing objects stay, new ones are few and collected between blocks
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
        """Check all runs against the label, and return the settings in force."""
        session = self._sessions[candidate]
        session.check()
        return {"settings": session.settings()}, b""

    def device_bytes(self, *, candidate: int) -> tuple[dict[str, Any], bytes]:
        """Measure the peak device memory, in a pass that is not timed."""
        return {"bytes": self._sessions[candidate].device_bytes()}, b""


def main() -> None:
    """Run as a worker process."""
    with ExitStack() as stack:
        run_child(MeasureWorker(stack).answer)


if __name__ == "__main__":
    main()
