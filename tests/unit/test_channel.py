"""The channel by which other processes use a Stack, with messages that no process of ours sends."""

from __future__ import annotations

import random
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pystack
from pystack._native import ffi, lib

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="Linux's packets in sequence"),
]

HERE = "127.0.0.1"


@pytest.fixture
def net() -> Iterator[pystack.Stack]:
    with pystack.Stack() as made:
        yield made


def channel(net: pystack.Stack) -> socket.socket:
    """A pair's end as another process would have it, by the Stack's name."""
    name = ffi.new("char[]", 108)
    assert lib.ps_channel_listen(net._handle.pointer, name, len(name)) == 0
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.connect(b"\0" + ffi.string(name))
    made.settimeout(30)
    return made


def ask(end: socket.socket, operation: int, handle: int = -1, *numbers: int, room: int = 0,
        data: bytes = b"") -> tuple[int, bytes]:  # fmt: skip
    """A request and its answer; an end of the file is (0, b"")."""
    three = (*numbers, 0, 0, 0)[:3]
    end.send(struct.pack("=IIqqqq", operation, room, handle, *three) + data)
    got = end.recv(1 << 18)
    return (struct.unpack("=q", got[:8])[0], got[8:]) if got else (0, b"")


def test_garbled_messages_cost_the_sender_alone(net: pystack.Stack) -> None:
    chance = random.Random(11)
    with net.sockets.create_server((HERE, 0)) as listener:
        client = net.sockets.create_connection(listener.getsockname())
        server, _peer = listener.accept()
    numbers = [0, 1, -1, 2, 4, 6, 1 << 31, -(1 << 63), (1 << 63) - 1, 255]
    cut_off = answered = 0
    for turn in range(3000):
        with channel(net) as end:
            for _ in range(4):
                operation = chance.choice([*range(40), 0xFFFFFFFF])
                handle = chance.choice([*numbers, server._ps_number, client._ps_number])
                data = chance.randbytes(chance.choice([0, 1, 4, 16, 28, 64, 68, 300, 5000]))
                room = chance.choice([0, 8, 28, 300, 70000, 135168, 0xFFFFFFFF])
                three = [chance.choice(numbers) for _ in range(3)]
                try:
                    if turn % 10 == 0:
                        end.send(data)
                    else:
                        head = struct.pack("=IIqqqq", operation, room, handle, *three)
                        end.send(head + data)
                    got = end.recv(1 << 18)
                except (BrokenPipeError, ConnectionResetError):
                    got = b""
                if not got:
                    cut_off += 1
                    break
                answered += 1
    assert cut_off > 500
    assert answered > 500
    # None of them could touch what is not theirs.
    client.sendall(b"unharmed")
    assert server.recv(100) == b"unharmed"
    client.close()
    server.close()


def test_a_client_that_takes_no_answers_is_cut_off(net: pystack.Stack) -> None:
    with channel(net) as end:
        message = struct.pack("=IIqqqq", 20, 0, -1, 0, 0, 0)
        end.setblocking(False)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    end.send(message)
                except BlockingIOError:
                    time.sleep(0.001)
    assert net.ping(HERE, timeout=30).received == 1


def test_descriptors_that_come_unasked_are_closed(net: pystack.Stack) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with channel(net) as end, Path("/dev/null").open("rb") as file:
        head = struct.pack("=IIqqqq", 0, 0, -1, 1, 0, 0)
        for _ in range(50):
            rights = struct.pack("5i", *[file.fileno()] * 5)
            end.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            assert len(end.recv(100)) == 8
        begun = before + 4 + 2  # the file, the end; the server's poller, stopper, listener, client
        assert len(list(Path("/proc/self/fd").iterdir())) <= begun
