"""A worker that writes half of its answer and stalls.

On request its memory grows meanwhile.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import sys
import time

from prune_deploy.execution.workers.protocol import Channel


def main() -> None:
    """Report readiness, read one request, and stall within the answer."""
    end = socket.socket(fileno=int(sys.argv[1]))
    channel = Channel(end)
    channel.send({"ready": True})
    request = channel.receive()
    assert request is not None
    text, data = json.dumps({"kind": "run"}).encode(), bytes(1000)
    end.sendall(struct.pack("!II", len(text), len(data)) + text + data[:500])
    if request.header["kind"] == "stop":
        signal.raise_signal(signal.SIGSTOP)
    held = []
    while True:
        held.append(bytearray(b"x" * (4 << 20)))
        time.sleep(0.01)


if __name__ == "__main__":
    main()
