"""The child's side of the connection with a coordinator.

It answers every message with one message, and dies with its coordinator. A child is started as `python -m <module> FD PID`, with
the descriptor of its socket and the coordinator's process number.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prune_deploy.errors import PruneDeployError, StorageError, first_line, storage_errors
from prune_deploy.execution.workers.protocol import Channel, ChannelClosed, Message

_PR_SET_PDEATHSIG = 1

Answer = Callable[[Message], tuple[dict[str, Any], bytes]]
"""Handler of a message. It returns the header and the bytes to send back."""


def run_child(answer: Answer, is_lost: Callable[[], bool] = lambda: False) -> None:
    """Serve the coordinator on the command line until it closes the channel.

    `is_lost` is asked after an error: whether this process can do nothing more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator decides when to end
    die_with(int(sys.argv[2]))
    try:
        serve(Channel(socket.socket(fileno=int(sys.argv[1]))), answer, is_lost)
    except ChannelClosed:
        return


def die_with(parent: int) -> None:
    """Ask the kernel for a SIGKILL when the coordinator ends.

    It does not matter how it ends. The signal reaches a stopped process too.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before the request was made
        os._exit(1)


def serve(channel: Channel, answer: Answer, is_lost: Callable[[], bool] = lambda: False) -> None:
    """Answer messages until the coordinator closes the channel.

    An error is an answer too. It tells with `lost` whether the process can go on, and with `storage` whether a disk refused.
    """
    channel.send({"ready": True})
    while (message := channel.receive()) is not None:
        try:
            header, data = answer(message)
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises is this case's record, not the end of the comparison
            channel.send({"error": _described(error) | {"lost": is_lost()}})
        else:
            channel.send(header, data)


def _described(error: Exception) -> dict[str, Any]:
    """Describe an error for the other side.

    A full disk is an error there too, and no result of a case.
    """
    try:
        with storage_errors(Path("a file")):
            raise error
    except PruneDeployError as known:
        own = {"status": known.status, "message": known.message, "fix": known.fix}
        return own | {"storage": isinstance(known, StorageError)}
    except Exception as unknown:  # noqa: BLE001 - see above
        traceback.print_exception(unknown)
        text = f"{type(unknown).__name__}: {first_line(unknown, 300)}"
        return {"status": "failed", "message": text, "fix": "see whether the model runs with prune-deploy run", "storage": False}
