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

from prune_deploy.backends import cuda_runtime
from prune_deploy.errors import OutputError
from prune_deploy.execution.workers.inputs import make_inputs
from prune_deploy.execution.workers.protocol import Message
from prune_deploy.execution.workers.server import run_child
from prune_deploy.execution.workers.timing import time_runs
from prune_deploy.execution.workers.waiting import waited_ns
from prune_deploy.interfaces import Session
from prune_deploy.specs import RunOptions
from prune_deploy.tensors import named_input


class MeasureWorker:
    """The sessions of this process, by the candidate's number.

    Several share a process on a GPU. The process-wide settings of each are in force while it runs, and only then.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._sessions: dict[int, Session] = {}
        self._closing: dict[int, ExitStack] = {}
        self._uses_cuda = False

    def answer(self, message: Message) -> tuple[dict[str, Any], bytes]:
        """Handle a message."""
        handlers: dict[str, Callable[..., tuple[dict[str, Any], bytes]]] = {
            "open": self.open,
            "run": self.run,
            "check": self.check,
            "device_bytes": self.device_bytes,
            "outputs": self.outputs,
            "close": self.close,
        }
        header = dict(message.header)
        return handlers[header.pop("kind")](**header)

    def open(
        self,
        *,
        candidate: int,
        backend: str,
        artifact: str,
        options: dict[str, Any],
        inputs: str,
        shape: list[int],
        seed: int,
        rows: int | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        """Open an artifact and run it once.

        It runs on the first `rows` images of the input, or on all. What fails afterwards is closed, so that its memory is there for the
        next candidate.
        """
        from prune_deploy import backends

        run_options = RunOptions(**options)
        self._uses_cuda |= run_options.device == "cuda"
        images = make_inputs(inputs, tuple(shape), seed)[:rows]  # type: ignore[arg-type]  # checked when the spec was built
        with ExitStack() as closing:
            begin = time.perf_counter()
            session = closing.enter_context(backends.usable(backend).open(Path(artifact), named_input(images), run_options))
            opened = time.perf_counter()
            session.run()
            session.synchronize()
            ended = time.perf_counter()
            if not all(np.isfinite(output).all() for output in session.outputs().values()):
                raise OutputError(
                    "its outputs are not finite numbers",
                    fix="see prune-deploy verify; half precision may overflow, weights may be damaged",
                )
            session.check()  # a label that does not hold is an error before anything is timed
            self._closing[candidate] = self._stack.enter_context(closing.pop_all())
        self._sessions[candidate] = session
        gc.freeze()  # existing objects stay, new ones are few and collected between blocks
        gc.disable()
        return {"open_s": opened - begin, "first_run_s": ended - opened, "settings": session.settings()}, b""

    def run(self, *, candidate: int, runs: int, mode: str) -> tuple[dict[str, Any], bytes]:
        """Time a block of runs.

        The reading `waited_share` is the time that threads waited for a core, over the block's.
        """
        gc.collect()
        session = self._sessions[candidate]
        with session.active() as readings:
            before = waited_ns()
            started_ns = time.perf_counter_ns()
            samples = time_runs(session, runs, mode)  # type: ignore[arg-type]  # checked when the spec was built
            ended_ns, after = time.perf_counter_ns(), waited_ns()
        if before is not None and after is not None:
            readings["waited_share"] = max(0, after - before) / (ended_ns - started_ns)
        return {"started_ns": started_ns, "readings": readings}, samples.tobytes()

    def check(self, *, candidate: int) -> tuple[dict[str, Any], bytes]:
        """Check all runs against the label, and return the settings in force."""
        session = self._sessions[candidate]
        with session.active():
            session.check()
            return {"settings": session.settings()}, b""

    def outputs(self, *, candidate: int, rows: int) -> tuple[dict[str, Any], bytes]:
        """Return the outputs for the first images of the last run.

        The header has their names and shapes, and the bytes are float32, one after the other.
        """
        outputs = self._sessions[candidate].outputs()
        first = {name: np.ascontiguousarray(output[:rows], dtype=np.float32) for name, output in outputs.items()}
        header = {"shapes": {name: output.shape for name, output in first.items()}}
        return header, b"".join(output.tobytes() for output in first.values())

    def device_bytes(self, *, candidate: int) -> tuple[dict[str, Any], bytes]:
        """Measure the peak device memory, in a pass that is not timed."""
        session = self._sessions[candidate]
        with session.active():
            return {"bytes": session.device_bytes()}, b""

    def is_lost(self) -> bool:
        """Tell whether an error on the GPU has ended all sessions."""
        return self._uses_cuda and cuda_runtime.is_lost()

    def close(self, *, candidate: int) -> tuple[dict[str, Any], bytes]:
        """Close a candidate, so that its memory serves the others."""
        self._sessions.pop(candidate, None)
        if (closing := self._closing.pop(candidate, None)) is not None:
            closing.close()
        gc.unfreeze()  # a module's own cycles keep its weights
        gc.collect()
        gc.freeze()
        return {}, b""


def main() -> None:
    """Run as a worker process."""
    with ExitStack() as stack:
        worker = MeasureWorker(stack)
        run_child(worker.answer, worker.is_lost)


if __name__ == "__main__":
    main()
