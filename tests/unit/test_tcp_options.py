"""TCP_USER_TIMEOUT, TCP_MAXSEG, SO_RCVTIMEO and SO_SNDTIMEO: see tcp(7) and socket(7)."""

from __future__ import annotations

import errno
import random
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from lockstep import PORT as LOCKSTEP_PORT
from lockstep import lockstep
from pair import LEFT, RIGHT, Pair, pair, whole
from path import PORT, RECEIVER, path

from pystack.nic import Impairment

CLEAN, CUT = Impairment(delay=0.01), Impairment(loss=1.0)
SOL, TCP = socket.SOL_SOCKET, socket.IPPROTO_TCP
TCP_USER_TIMEOUT = 18
TIMESTAMPS = 12  # the option's bytes, which TCP_MAXSEG leaves out once connected, as in Linux


@pytest.fixture(scope="module")
def it() -> Iterator[Pair]:
    with pair() as made:
        yield made


def error_of(sock: socket.socket) -> int:
    return sock.getsockopt(SOL, socket.SO_ERROR)


def test_unacknowledged_data_ends_a_connection_after_the_user_timeout() -> None:
    with path(CLEAN) as it:
        client, _server = it.connected()
        client.setsockopt(TCP, TCP_USER_TIMEOUT, 3000)
        assert client.getsockopt(TCP, TCP_USER_TIMEOUT) == 3000
        it.run(lambda: False, seconds=60)  # idle time does not count
        assert error_of(client) == 0
        it.wire.set(outgoing=CUT, incoming=CUT)
        client.send(b"lost")
        begin, code = it.now, 0

        def failed() -> bool:
            nonlocal code
            code = error_of(client)
            return code != 0

        assert it.run(failed)
        assert code == errno.ETIMEDOUT
        assert it.now - begin == pytest.approx(3, abs=0.15)


def test_a_long_user_timeout_outlives_the_number_of_retries() -> None:
    with path(CLEAN) as it:
        it.sender.sysctl["net.ipv4.tcp_retries2"] = 2
        client, server = it.connected()
        client.setsockopt(TCP, TCP_USER_TIMEOUT, 60_000)
        it.wire.set(outgoing=CUT, incoming=CUT)
        client.send(b"late")
        it.run(lambda: False, seconds=30)
        it.wire.set(outgoing=CLEAN, incoming=CLEAN)
        it.run(lambda: False, seconds=25)
        assert server.recv(10) == b"late"


def test_a_closed_window_counts_and_an_answered_one_does_not_begin_early() -> None:
    with path(CLEAN) as it:
        client, _server = it.connected(lambda s: s.setsockopt(SOL, socket.SO_RCVBUF, 5000))
        client.setsockopt(TCP, TCP_USER_TIMEOUT, 5000)
        client.send(bytes(20_000))
        it.run(lambda: False, seconds=3)
        assert error_of(client) == 0
        it.run(lambda: False, seconds=3)
        assert error_of(client) == errno.ETIMEDOUT


def test_a_connect_has_the_user_timeout_too() -> None:
    with path(CUT) as it, it.sender.socket() as client:
        client.setblocking(False)
        client.setsockopt(TCP, TCP_USER_TIMEOUT, 2000)
        client.connect_ex((RECEIVER, PORT))
        it.run(lambda: False, seconds=1.8)
        assert error_of(client) == 0
        it.run(lambda: False, seconds=0.4)
        assert error_of(client) == errno.ETIMEDOUT


def test_the_largest_segment_is_what_was_set(it: Pair) -> None:
    with it.right.sockets.create_server((RIGHT, 0)) as listener, it.left.socket() as client:
        for wrong in (-1, 87, 32768):
            with pytest.raises(OSError) as caught:
                client.setsockopt(TCP, socket.TCP_MAXSEG, wrong)
            assert caught.value.errno == errno.EINVAL
        client.setsockopt(TCP, socket.TCP_MAXSEG, 700)
        assert client.getsockopt(TCP, socket.TCP_MAXSEG) == 700
        client.connect(listener.getsockname())
        server, _peer = listener.accept()
        with server:
            # It bounds what the one sends, and is offered, so that it bounds the other.
            assert client.getsockopt(TCP, socket.TCP_MAXSEG) == 700 - TIMESTAMPS
            assert server.getsockopt(TCP, socket.TCP_MAXSEG) == 700 - TIMESTAMPS


def test_a_listeners_largest_segment_is_its_connections(it: Pair) -> None:
    with it.right.socket() as listener:
        listener.setsockopt(TCP, socket.TCP_MAXSEG, 900)
        listener.bind((RIGHT, 0))
        listener.listen()
        with it.left.sockets.create_connection(listener.getsockname(), 30) as client:
            server, _peer = listener.accept()
            with server:
                assert client.getsockopt(TCP, socket.TCP_MAXSEG) == 900 - TIMESTAMPS
                assert server.getsockopt(TCP, socket.TCP_MAXSEG) == 900 - TIMESTAMPS


def test_an_mtu_that_shrinks_under_a_waiting_segment(it: Pair) -> None:
    client, server = it.connected()
    with client, server:
        client.setsockopt(TCP, 3, 1)  # TCP_CORK
        client.send(bytes(1000))
        it.left_interface.mtu = 600
        client.send(bytes(1000))
        client.setsockopt(TCP, 3, 0)
        assert len(whole(server, 2000)) == 2000
        it.left_interface.mtu = 1500


def test_a_receive_timeout_ends_a_wait(it: Pair) -> None:
    limit = struct.pack("ll", 0, 150_000)
    client, server = it.connected()
    with client, server:
        client.settimeout(None)
        client.setsockopt(SOL, socket.SO_RCVTIMEO, limit)
        assert client.getsockopt(SOL, socket.SO_RCVTIMEO, 16) == limit
        for call in (lambda: client.recv(1), lambda: client.recvmsg(1)):
            begin = time.monotonic()
            with pytest.raises(BlockingIOError):
                call()
            assert 0.14 < time.monotonic() - begin < 5
        server.send(b"x")
        assert client.recv(1) == b"x"
        client.settimeout(0.01)  # Python's own timeout comes first, and raises its own error
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_a_send_timeout_ends_a_wait(it: Pair) -> None:
    client, server = it.connected()
    with client, server:
        client.settimeout(None)
        client.setsockopt(SOL, socket.SO_SNDTIMEO, struct.pack("ll", 0, 100_000))
        with pytest.raises(BlockingIOError):
            while True:
                client.send(bytes(1 << 20))
        with pytest.raises(BlockingIOError):
            client.sendall(bytes(64 << 20))


def test_an_accept_has_the_receive_timeout(it: Pair) -> None:
    with it.left.sockets.create_server((LEFT, 0)) as listener:
        listener.setsockopt(SOL, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_what_is_no_time_is_refused(it: Pair) -> None:
    with it.left.socket() as sock:
        with pytest.raises(OSError) as caught:
            sock.setsockopt(SOL, socket.SO_RCVTIMEO, struct.pack("ll", 1, 1_000_000))
        assert caught.value.errno == errno.EDOM
        with pytest.raises(OSError) as caught:
            sock.setsockopt(SOL, socket.SO_SNDTIMEO, 5)
        assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("size", [2048, 1 << 20])
@pytest.mark.parametrize("scaling", [0, 1])
def test_the_buffer_changes_between_our_syn_and_its_answer(size: int, scaling: int) -> None:
    with lockstep() as it:
        it.server.sysctl["net.ipv4.tcp_window_scaling"] = scaling
        with it.listen() as listener, it.client.socket(socket.AF_INET) as client:
            client.setblocking(False)
            client.connect_ex(("10.0.0.2", LOCKSTEP_PORT))
            client.setsockopt(SOL, socket.SO_RCVBUF, size)
            taken: list[Any] = []

            def accepted() -> bool:
                try:
                    taken.append(listener.accept()[0])
                except BlockingIOError:
                    return False
                return True

            assert it.run(accepted, seconds=5)
            # Nothing but the handshake: an acknowledgement before it would have been reset.
            assert it.server.counters()["tcp.out_resets"] == 0
            with taken[0] as server:
                data, got = random.Random(size).randbytes(100_000), bytearray()
                server.setblocking(False)
                sent = 0

                def done() -> bool:
                    nonlocal sent
                    try:
                        sent += server.send(data[sent:])
                    except BlockingIOError:
                        pass
                    try:
                        got.extend(client.recv(65536))
                    except BlockingIOError:
                        pass
                    return len(got) == len(data)

                assert it.run(done)
                assert got == data
