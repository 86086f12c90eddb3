"""The coordinator's handle of a worker process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from prune_deploy.errors import LimitError, StorageError, storage_errors
from prune_deploy.execution.workers import watchdog as watchdog
from prune_deploy.execution.workers.memory import MemoryWatch, peak_rss_bytes
from prune_deploy.execution.workers.protocol import Channel, ChannelClosed, Message
from prune_deploy.records import Status

_TICK_S = 0.2
_STOP_LIMIT_S = 10.0
_LAST_WORDS = 300
_FIXES = {
    "opening": "raise `open_limit_s`, or take a smaller batch",
    "exporting": "raise `build_limit_s`, or leave this model out",
    "scoring": "lower `data_samples`, or raise `build_limit_s`",
    "tracing": "trace it with fewer `runs`, or a smaller batch",
}
"""Fixes for a timeout, by the worker's activity."""


class WorkerError(Exception):
    """The end of a worker: a status, a message and a fix.

    The worker is dead or must be ended. `log` is its log where `fix` names it.
    """

    def __init__(self, status: Status, message: str, fix: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.status: Status = status
        self.message = message
        self.fix = fix
        self.log = log


class RefusedError(WorkerError):
    """A worker's answer that it cannot do what it was asked.

    The worker is unharmed and takes the next message.
    """


class Watchdog:
    """A process that ends the workers of a killed coordinator.

    It outlives the coordinator for a moment.
    """

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._start()

    def _start(self) -> None:
        reading, self._writing = os.pipe()
        command = [sys.executable, "-I", "-S", watchdog.__file__, str(reading)]
        self._process = subprocess.Popen(command, pass_fds=(reading,), stdin=subprocess.DEVNULL, start_new_session=True)
        os.close(reading)

    def add(self, group: int) -> None:
        """End this process group when the coordinator is gone."""
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Forget a process group that has ended."""
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        """Send a line, and start another watchdog if this one was killed.

        The kernel may choose it when memory runs out.
        """
        try:
            os.write(self._writing, line.encode())
        except BrokenPipeError:
            os.close(self._writing)
            self._process.wait()
            self._start()
            os.write(self._writing, "".join(f"+{each}\n" for each in sorted(self._groups)).encode())

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._writing)
        self._process.wait()


class WorkerProcess:
    """A worker process in a session and process group of its own.

    `module` is the Python module that it runs.
    """

    def __init__(
        self,
        watchdog: Watchdog,
        log: Path,
        environment: Mapping[str, str],
        memory_limit_bytes: int | None,
        module: str = "prune_deploy.execution.workers.measure_worker",
    ) -> None:
        with storage_errors(log, every=True):  # its folder may have been removed meanwhile
            mine, theirs = socket.socketpair()
            stream = log.open("ab")
        self._log = log
        self._watchdog = watchdog
        self._started_at = time.perf_counter()
        with stream, theirs:
            command = [sys.executable, "-m", module, str(theirs.fileno()), str(os.getpid())]
            self._process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=dict(environment),
                start_new_session=True,
            )
        watchdog.add(self.pid)
        self._channel = Channel(mine)
        self._memory = MemoryWatch(self.pid, memory_limit_bytes) if memory_limit_bytes is not None else None
        self._stopped = False

    @property
    def pid(self) -> int:
        """The worker's process number, and its group's."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Return whether the process has not ended yet."""
        return self._process.poll() is None

    def await_ready(self, limit_s: float) -> float:
        """Return the seconds from its start until it takes messages.

        Raises:
            WorkerError: as `answer`.
        """
        self.answer(limit_s, "starting")
        return time.perf_counter() - self._started_at

    def ask(self, header: dict[str, Any], data: bytes = b"") -> None:
        """Send a message without waiting for the answer.

        Raises:
            WorkerError: the worker is gone.
        """
        try:
            self._channel.send(header, data)
        except ChannelClosed:
            raise self._explain_end() from None

    def answer(self, limit_s: float, doing: str) -> Message:
        """Wait for the answer to the last message.

        Raises:
            RefusedError: the answer is an error.
            WorkerError: the worker crashed, hung or passed its memory limit, or an error left it unable to go on.
            StorageError: a disk refused what the worker wrote. That is no result of a case.
        """
        deadline = time.monotonic() + limit_s
        try:
            while (message := self._channel.receive(_TICK_S)) is None:
                if self._memory is not None:
                    self._memory.check()
                if time.monotonic() > deadline:
                    fix = _FIXES.get(doing, "take a smaller batch")
                    raise WorkerError("timeout", f"no answer within {limit_s:.0f} s while {doing}", fix)
        except ChannelClosed:
            raise self._explain_end() from None
        except LimitError as error:
            raise WorkerError("failed", error.message, error.fix) from None
        if (refusal := message.header.get("error")) is not None:
            if refusal["storage"]:
                raise StorageError(refusal["message"], fix=refusal["fix"])
            kind = WorkerError if refusal["lost"] else RefusedError
            raise kind(refusal["status"], refusal["message"], refusal["fix"])
        return message

    def request(self, header: dict[str, Any], limit_s: float, doing: str) -> Message:
        """Send a message and wait for the answer.

        Raises:
            WorkerError: as `ask` and `answer`.
        """
        self.ask(header)
        return self.answer(limit_s, doing)

    def suspend(self) -> None:
        """Stop every thread of the worker.

        Threads that idle by spinning would take the processor from the timed worker. The call returns when the kernel confirms
        the stop.
        """
        if self._stopped or not self._signal(signal.SIGSTOP):
            return
        self._stopped = True
        deadline = time.monotonic() + _STOP_LIMIT_S
        while os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() > deadline:
                raise WorkerError("failed", "the worker could not be stopped", "see whether it waits for a device or a disk")
            time.sleep(0.0001)

    def resume(self) -> None:
        """Let the worker run again."""
        if self._stopped:
            self._signal(signal.SIGCONT)
            self._stopped = False

    def peak_rss_bytes(self) -> int | None:
        """Return the most memory it has had resident so far."""
        return peak_rss_bytes(self.pid)

    def end(self) -> None:
        """Kill the worker and all that it started.

        It is safe to call again.
        """
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._channel.close()
        self._watchdog.remove(self.pid)

    def _signal(self, number: signal.Signals) -> bool:
        """Send a signal, and return whether the process was there.

        A process stays known until it is waited for, so the number cannot belong to another one.
        """
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _explain_end(self) -> WorkerError:
        """Return the error for an unexpected end."""
        try:
            code = self._process.wait(timeout=_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            return self._with_log("the worker closed its channel and lives on", "report it")
        if code == -signal.SIGKILL:
            message = "the worker was killed (SIGKILL): if nobody did it by hand, the kernel ran out of memory"
            return WorkerError("failed", message, "take a smaller batch, or see the kernel's log")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        message = f"the worker crashed ({name}){self._last_words()}"
        return self._with_log(message, "the runtime crashed: report it with the model's name")

    def _last_words(self) -> str:
        with self._log.open("rb") as stream:
            stream.seek(max(0, self._log.stat().st_size - 4096))
            lines = stream.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1][:_LAST_WORDS]}" if lines else ""

    def _with_log(self, message: str, fix: str) -> WorkerError:
        """Return an error whose fix names the log, unless that is empty."""
        if not self._log.stat().st_size:
            return WorkerError("failed", message, fix)
        return WorkerError("failed", message, f"{fix}; its log: {self._log}", log=self._log)
