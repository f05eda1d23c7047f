"""Urgent data: MSG_OOB, SO_OOBINLINE and the mark in the stream, as tcp(7) has them."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator

import pytest
from pair import Pair, pair, whole

OOB, PEEK = socket.MSG_OOB, socket.MSG_PEEK


@pytest.fixture(scope="module")
def it() -> Iterator[Pair]:
    with pair() as made:
        yield made


def out_of_band(sock: socket.socket, flags: int = 0) -> bytes:
    """The urgent byte, when it has come."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return sock.recv(1, OOB | flags)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EAGAIN) or time.monotonic() > deadline:
                raise
        time.sleep(0.001)


def test_the_last_byte_is_out_of_band(it: Pair) -> None:
    client, server = it.connected()
    server.settimeout(None)  # else CPython waits for other data before it asks for this
    with client, server:
        with pytest.raises(OSError) as caught:
            server.recv(1, OOB)
        assert caught.value.errno == errno.EINVAL
        assert client.send(b"abc!", OOB) == 4
        assert server.recv(3, socket.MSG_WAITALL) == b"abc"
        assert out_of_band(server, PEEK) == b"!"
        assert out_of_band(server) == b"!"
        with pytest.raises(OSError) as caught:
            server.recv(1, OOB)
        assert caught.value.errno == errno.EINVAL
        client.send(b"def")
        assert whole(server, 3) == b"def"


def test_a_byte_alone_is_no_part_of_the_stream(it: Pair) -> None:
    client, server = it.connected()
    server.settimeout(None)
    with client, server:
        client.send(b"!", OOB)
        assert out_of_band(server) == b"!"
        client.close()
        assert server.recv(10) == b""


def test_a_reader_stops_at_the_mark(it: Pair) -> None:
    client, server = it.connected()
    with client, server:
        client.send(b"before")
        client.send(b"!", OOB)
        client.send(b"after")
        assert out_of_band(server) == b"!"
        got = []
        while sum(map(len, got)) < 11:
            got.append(server.recv(100))
        assert b"before" in (got[0], got[0] + got[1], b"".join(got[:3]))
        assert b"".join(got) == b"beforeafter"
        assert not any(b"ea" in one for one in got)


def test_inline_it_stays_in_the_stream(it: Pair) -> None:
    client, server = it.connected()
    with client, server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        client.send(b"ab!", OOB)
        client.send(b"cd")
        got = b""
        while len(got) < 5:
            got += server.recv(100)
        assert got == b"ab!cd"
        server.settimeout(None)
        with pytest.raises(OSError) as caught:
            server.recv(1, OOB)
        assert caught.value.errno == errno.EINVAL


def test_a_listener_says_it_for_those_it_accepts(it: Pair) -> None:
    with it.right.sockets.create_server(("10.0.0.2", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        with it.left.sockets.create_connection(listener.getsockname()[:2], 30) as client:
            client.send(b"ab!", OOB)  # before it is accepted
            server, _peer = listener.accept()
            with server:
                assert server.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)
                assert whole(server, 3) == b"ab!"


def test_in_the_middle_of_much_data(it: Pair) -> None:
    client, server = it.connected()
    with client, server:
        client.sendall(b"x" * 100_000)
        client.send(b"!", OOB)
        client.sendall(b"y" * 100_000)
        client.shutdown(socket.SHUT_WR)
        got = b""
        while piece := server.recv(30_000):
            got += piece
        assert got == b"x" * 100_000 + b"y" * 100_000
        assert server.recv(1, OOB) == b"!"
