"""`fcntl.ioctl` on a socket: how much is queued, on the way and unsent, and the mark."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from compare import outcome
from quiet import BOUND_S, settle

import pystack

READ, OUT, OUT_NOT_SENT, MARK = 0x541B, 0x5411, 0x894B, 0x8905
NOT_BLOCKING, TERMINAL, NONSENSE = 0x5421, 0x5401, 0x1234
REQUESTS = (READ, OUT, OUT_NOT_SENT, MARK, TERMINAL, NONSENSE, -1)
LOCAL = "127.0.0.1"
ROOM = 10_000


@pytest.fixture(scope="module")
def sockets() -> Iterator[Any]:
    with pystack.Stack() as net:
        yield net.sockets


def ask(sock: Any, request: int) -> Any:
    return outcome(fcntl.ioctl, sock, request, b"\xff" * 4)


def pair(module: Any) -> tuple[Any, Any]:
    with module.create_server((LOCAL, 0)) as listener:
        near = module.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for one in (near, far):  # what is sent doesn't wait for a delayed acknowledgement
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def until(true: Callable[[], bool]) -> None:
    """Waits for what an acknowledgement brings about, which may be delayed."""
    end = time.monotonic() + BOUND_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def number(sock: Any, request: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sock, request, bytes(4)))[0])


def each_kind(module: Any) -> Any:
    told = []
    near, far = pair(module)
    far.send(b"hello")
    datagrams = module.socket(type=socket.SOCK_DGRAM)
    datagrams.bind((LOCAL, 0))
    for data in (b"abc", b"another"):
        datagrams.sendto(data, datagrams.getsockname())
    settle(module)
    until(lambda: number(far, OUT) == 0)
    listener, fresh = module.create_server((LOCAL, 0)), module.socket()
    for sock in (near, far, datagrams, listener, fresh):
        told.append([ask(sock, request) for request in REQUESTS])
        told.append([ask(sock.fileno(), request) for request in REQUESTS])
    for sock in (near, far, datagrams, listener, fresh):
        sock.close()
    return told


ARGUMENTS = (0, 7, b"", b"\0", bytes(8), "abcd", None, 1.5, bytes(1024), bytes(1025))
BUFFERS = (bytearray(2), bytearray(4), bytearray(2000), array.array("i", [7, 7]))


def arguments(module: Any) -> Any:
    near, far = pair(module)
    far.send(b"hello")
    settle(module)
    told: list[Any] = [outcome(fcntl.ioctl, near, READ, argument) for argument in ARGUMENTS]
    told.append(outcome(fcntl.ioctl, near, READ))
    for buffer in BUFFERS:
        for mutate in (False, True):
            copy = buffer[:]
            told += [outcome(fcntl.ioctl, near, READ, copy, mutate), bytes(copy)]
    near.close()
    far.close()
    return told


def as_it_is_read(module: Any) -> Any:
    near, far = pair(module)
    near.settimeout(5)
    far.send(b"hello")
    settle(module)
    told = [ask(near, READ), outcome(near.recv, 2), ask(near, READ)]
    far.close()
    settle(module)
    told += [ask(near, READ), outcome(near.recv, 9), ask(near, READ)]
    near.close()
    return told


def urgent(module: Any) -> Any:
    near, far = pair(module)
    near.settimeout(5)
    far.send(b"ab", socket.MSG_OOB)
    far.send(b"c")
    settle(module)
    told = [ask(near, MARK), outcome(near.recv, 9), ask(near, MARK), outcome(near.recv, 9)]
    told.append(ask(near, MARK))
    near.close()
    far.close()
    return told


def not_blocking(module: Any) -> Any:
    near, far = pair(module)
    told = []
    for on in (1, 0):
        told.append(outcome(fcntl.ioctl, near, NOT_BLOCKING, struct.pack("i", on)))
        told.append(os.get_blocking(near.fileno()))
    near.close()
    far.close()
    return told


@pytest.mark.parametrize("tried", [each_kind, arguments, as_it_is_read, urgent, not_blocking])
def test_as_the_kernel(sockets: Any, tried: Any) -> None:
    assert tried(sockets) == tried(socket)


def test_what_has_not_left() -> None:
    """A peer that reads nothing: what it has no room for stays here, and all is counted."""
    near, far = pystack.nic.wire()
    with pystack.Stack() as ours, pystack.Stack() as theirs:
        ours.attach(near, "192.0.2.1/24")
        theirs.attach(far, "192.0.2.2/24")
        with theirs.sockets.create_server(("192.0.2.2", 80)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
            sock = ours.sockets.create_connection(("192.0.2.2", 80))
            peer, _ = listener.accept()
        sock.setblocking(False)
        sent = sock.send(bytes(200_000))
        until(lambda: number(peer, READ) >= ROOM)
        # Those that are sent to look whether there is room are read before it is known here.
        until(lambda: number(sock, OUT) == sent - number(peer, READ))
        assert 0 < number(sock, OUT_NOT_SENT) <= number(sock, OUT)
        sock.close()
        peer.close()
