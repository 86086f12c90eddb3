"""Messages between a coordinator and a worker over one Unix socket.

Each has a JSON header and raw bytes. The framing is our own, since half a message must not block the coordinator. A worker may be
stopped, or hang in native code, while it sends an answer. `multiprocessing.connection.Connection.poll` then reports that there is
something to read, and `recv_bytes` waits for the rest, past the time limit and without a check of the worker's memory. It has no
timeout. Here the bytes that have arrived are kept, and the wait for the rest ends with `timeout_s`.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from typing import Any

_LENGTHS = struct.Struct("!II")


class ChannelClosed(Exception):  # noqa: N818 - the usual end of a connection
    """Reports that the other side is gone."""


@dataclass(frozen=True, slots=True)
class Message:
    """A header that fits into JSON, and raw bytes."""

    header: dict[str, Any]
    data: bytes = b""


class Channel:
    """One end of the connection. It sends and receives whole messages."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._received = bytearray()

    def fileno(self) -> int:
        """Return the descriptor, to wait on several channels at once."""
        return self._socket.fileno()

    def send(self, header: dict[str, Any], data: bytes = b"") -> None:
        """Send one message.

        Raises:
            ChannelClosed: the other side is gone.
        """
        text = json.dumps(header).encode()
        try:
            self._socket.settimeout(None)
            self._socket.sendall(_LENGTHS.pack(len(text), len(data)) + text + data)
        except OSError as error:
            raise ChannelClosed from error

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """Return the next message, or None if none is complete after `timeout_s`.

        Raises:
            ChannelClosed: the other side is gone.
        """
        while True:
            if (message := self._complete()) is not None:
                return message
            try:
                self._socket.settimeout(timeout_s)
                received = self._socket.recv(1 << 20)
            except TimeoutError:
                return None
            except OSError as error:
                raise ChannelClosed from error
            if not received:
                raise ChannelClosed
            self._received += received

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _complete(self) -> Message | None:
        """Take one whole message out of what has arrived."""
        if len(self._received) < _LENGTHS.size:
            return None
        header_bytes, data_bytes = _LENGTHS.unpack_from(self._received)
        middle = _LENGTHS.size + header_bytes
        end = middle + data_bytes
        if len(self._received) < end:
            return None
        message = Message(json.loads(self._received[_LENGTHS.size : middle]), bytes(self._received[middle:end]))
        del self._received[:end]
        return message
