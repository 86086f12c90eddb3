"""The timed loop has a sample for each run, and messages arrive whole."""

from __future__ import annotations

import socket
import struct
import threading
import time
from multiprocessing.connection import Connection

import numpy as np
import pytest

from prune_deploy.execution.workers.inputs import make_inputs
from prune_deploy.execution.workers.protocol import Channel, ChannelClosed
from prune_deploy.execution.workers.timing import time_each
from prune_deploy.specs import InputKind
from support.timing_pairs import Nothing


def test_each_run_has_a_sample_and_all_of_them_fit_into_the_loop() -> None:
    begin_ns = time.perf_counter_ns()
    samples = time_each(Nothing(), 1000)  # type: ignore[arg-type]  # all that the loop uses
    elapsed_ns = time.perf_counter_ns() - begin_ns
    assert samples.shape == (1000,)
    assert samples.min() >= 0
    assert samples.sum() <= elapsed_ns


def test_a_message_arrives_whole_however_large() -> None:
    ends = socket.socketpair()
    sender, receiver = (Channel(end) for end in ends)
    data = np.arange(1_000_000, dtype=np.int64).tobytes()

    def send() -> None:
        sender.send({"kind": "run"}, data)
        sender.send({"kind": "é"})

    thread = threading.Thread(target=send)
    thread.start()
    first, second = receiver.receive(10), receiver.receive(10)
    thread.join()
    assert first is not None
    assert second is not None
    assert (first.header, first.data) == ({"kind": "run"}, data)
    assert (second.header, second.data) == ({"kind": "é"}, b"")


def test_silence_is_no_message_and_an_end_is_an_end() -> None:
    ends = socket.socketpair()
    sender, receiver = (Channel(end) for end in ends)
    assert receiver.receive(0.01) is None
    sender.close()
    with pytest.raises(ChannelClosed):
        receiver.receive(1)
    with pytest.raises(ChannelClosed):
        receiver.send({})


def test_half_a_message_is_no_message_and_does_not_block() -> None:
    sender, end = socket.socketpair()
    receiver = Channel(end)
    text = b'{"kind": "run"}'
    whole = struct.pack("!II", len(text), 3) + text + b"abc"
    for cut in (1, 8, 10, len(whole) - 1):
        sender.sendall(whole[:cut])
        assert receiver.receive(0.01) is None
        sender.sendall(whole[cut:])
        message = receiver.receive(10)
        assert message is not None
        assert (message.header, message.data) == ({"kind": "run"}, b"abc")


def test_the_standard_library_s_connection_would_wait_for_the_other_half() -> None:
    """The reason for a framing of our own: a readable connection blocks until its message is whole, past any limit."""
    sender, end = socket.socketpair()
    connection = Connection(end.detach())
    sender.sendall(struct.pack("!i", 10) + b"half!")
    assert connection.poll(1)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(connection.recv_bytes()))
    reader.start()
    reader.join(0.3)
    assert reader.is_alive()
    sender.sendall(b"other")
    reader.join(10)
    assert received == [b"half!other"]


@pytest.mark.parametrize("kind", ["images", "normal", "uniform", "zeros"])
def test_inputs_are_seeded_and_of_about_unit_scale(kind: InputKind) -> None:
    images = make_inputs(kind, (4, 3, 40, 56), seed=3)
    assert images.shape == (4, 3, 40, 56)
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    np.testing.assert_array_equal(images, make_inputs(kind, (4, 3, 40, 56), seed=3))
    if kind == "zeros":
        assert not images.any()
        return
    assert not np.array_equal(images, make_inputs(kind, (4, 3, 40, 56), seed=4))
    assert 0.2 < images.std() < 1.5


def test_images_are_smooth_where_noise_is_not() -> None:
    def roughness(kind: InputKind) -> float:
        images = make_inputs(kind, (2, 3, 64, 64), seed=0)
        return float(np.abs(np.diff(images, axis=-1)).mean() / images.std())

    assert roughness("images") < 0.6 * roughness("normal")
