"""Datagrams carried between a Stack's socket and the kernel's, without Python for each."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import pystack
from pystack.sockets.relay import carry_in, carry_out

PATIENCE_S = 20.0


class Ends:
    """near - inside, both a Stack's; outside - far, both the kernel's."""

    def __init__(self) -> None:
        self.net = pystack.Stack()
        self.near, self.inside = self._pair(self.net.sockets)
        self.outside, self.far = self._pair(socket)
        self.inside.setblocking(False)

    @staticmethod
    def _pair(sockets: Any) -> tuple[Any, Any]:
        both = [sockets.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for one in both:
            one.settimeout(PATIENCE_S)
            one.bind(("127.0.0.1", 0))
        both[0].connect(both[1].getsockname())
        both[1].connect(both[0].getsockname())
        return both[0], both[1]

    def close(self) -> None:
        self.outside.close()
        self.far.close()
        self.net.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def waits(one: Any) -> bool:
    one.setblocking(False)
    try:
        one.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True


def test_as_many_as_there_are_and_no_more_than_asked_for(ends: Ends) -> None:
    assert carry_out(ends.inside, ends.outside.fileno(), 10) == (0, 0)
    assert carry_in(ends.inside, ends.outside.fileno(), 10) == (0, 0)
    sent = [b"one", b"", b"three", bytes(1400)]
    for data in sent:
        ends.near.send(data)
        ends.far.send(data)
    for carry in (carry_out, carry_in):
        assert carry(ends.inside, ends.outside.fileno(), 3) == (3, 0)
        assert carry(ends.inside, ends.outside.fileno(), 3) == (1, 0)
    assert [ends.far.recv(2000) for _ in sent] == sent
    assert [ends.near.recv(2000) for _ in sent] == sent


def test_one_that_is_too_long_is_lost_alone(ends: Ends) -> None:
    outside, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with outside, far:
        outside.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        for data in (bytes(60_000), b"after it"):
            ends.near.send(data)
        assert carry_out(ends.inside, outside.fileno(), 10) == (2, 0)
        assert far.recv(100) == b"after it"


def test_the_kernels_socket_has_an_error(ends: Ends) -> None:
    ends.far.close()
    ends.near.send(b"to nobody")
    assert carry_out(ends.inside, ends.outside.fileno(), 10) == (1, 0)
    ends.near.send(b"which is known by now")
    ends.near.send(b"and has not to wait")
    assert carry_out(ends.inside, ends.outside.fileno(), 1) == (2, errno.ECONNREFUSED)
    assert carry_in(ends.inside, ends.outside.fileno(), 10) == (0, errno.ECONNREFUSED)
    assert carry_in(ends.inside, -1, 10) == (0, errno.EBADF)


def test_the_stacks_socket_has_an_error(ends: Ends) -> None:
    ends.near.close()
    ends.far.send(b"to nobody")
    assert carry_in(ends.inside, ends.outside.fileno(), 10) == (1, 0)
    with pytest.raises(ConnectionRefusedError):
        carry_out(ends.inside, ends.outside.fileno(), 10)
    ends.inside.close()
    for carry in (carry_out, carry_in):
        ends.far.send(b"to one that is closed")
        with pytest.raises(OSError, match=r"closed|descriptor") as caught:
            carry(ends.inside, ends.outside.fileno(), 10)
        assert caught.value.errno == errno.EBADF
    assert not waits(ends.far)


def test_what_waits_behind_an_error_is_carried(ends: Ends) -> None:
    """Of either socket, in either direction; an error comes before what has come earlier."""
    sent = [b"one", b"", bytes(60_000)]
    where = ends.far.getsockname()
    for data in sent:
        ends.far.send(data)
    ends.far.close()
    ends.outside.send(b"to nobody")
    assert carry_in(ends.inside, ends.outside.fileno(), 1) == (3, errno.ECONNREFUSED)
    assert [ends.near.recv(70_000) for _ in sent] == sent
    ends.outside.send(b"to nobody")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.settimeout(PATIENCE_S)
        again.bind(where)  # the one that meets the error is for somebody again
        for data in sent:
            ends.near.send(data)
        assert carry_out(ends.inside, ends.outside.fileno(), 1) == (3, errno.ECONNREFUSED)
        assert [again.recv(70_000) for _ in sent] == sent


def test_what_waits_behind_an_error_of_the_stacks_is_carried(ends: Ends) -> None:
    sent = [b"one", b"", bytes(60_000)]
    for data in sent:
        ends.near.send(data)
    ends.near.close()
    ends.far.send(b"to nobody")
    assert carry_in(ends.inside, ends.outside.fileno(), 10) == (1, 0)
    with pytest.raises(ConnectionRefusedError):
        carry_out(ends.inside, ends.outside.fileno(), 1)
    assert [ends.far.recv(70_000) for _ in sent] == sent
