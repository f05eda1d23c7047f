"""TCP's buffers and windows: how far they grow, what bounds them, what a long fast path gets."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from path import Path, path

import pystack
from pystack.nic import Impairment

MEBIBYTE = 1 << 20
LONG = Impairment(delay=0.01, rate=2 * 10**9)  # a round trip of 20 ms, 5 MB in flight
TEN_GIGABITS = Impairment(delay=0.01, rate=10**10, queue_frames=100_000)


def sizes(sender: socket.socket, receiver: socket.socket) -> tuple[int, int]:
    """The send buffer of the one and the receive buffer of the other."""
    return (
        sender.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
        receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
    )


@pytest.mark.slow
def test_one_flow_fills_ten_gigabits_over_twenty_milliseconds() -> None:
    with path(TEN_GIGABITS, LONG, mtu=9000, memory_limit=1 << 30) as it:
        client, server = it.connected()
        client.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # or the end waits for a round trip
        took = it.transfer(client, server, 120 * MEBIBYTE, after=60 * MEBIBYTE)
        # The wire's clock counts whole microseconds: a frame of 7.2 takes 8.
        assert took < 60 * MEBIBYTE / (8948 / 8e-6) * 1.05


@pytest.mark.slow
def test_buffers_grow_with_the_path_up_to_their_maximum() -> None:
    with path(LONG, memory_limit=256 << 20) as it:
        for stack in (it.sender, it.receiver):
            stack.sysctl["net.ipv4.tcp_rmem_max"] = 3 * MEBIBYTE
            stack.sysctl["net.ipv4.tcp_wmem_max"] = 2 * MEBIBYTE
        client, server = it.connected()
        assert sizes(client, server) == (MEBIBYTE, MEBIBYTE)
        it.transfer(client, server, 20 * MEBIBYTE)
        assert sizes(client, server) == (2 * MEBIBYTE, 3 * MEBIBYTE)


def test_a_slow_path_leaves_them_small() -> None:
    with path(Impairment(delay=0.01, rate=10**7, queue_frames=50)) as it:
        client, server = it.connected()
        it.transfer(client, server, 4 * MEBIBYTE)
        assert sizes(client, server) == (MEBIBYTE, MEBIBYTE)


def test_a_reader_that_comes_seldom_is_not_a_long_path() -> None:
    with path(Impairment(delay=0.0005)) as it:
        client, server = it.connected()
        for _ in range(20):
            sent = client.send(bytes(MEBIBYTE // 2))
            it.run(lambda: False, seconds=0.1)  # nobody reads, and all of it comes
            got = 0
            while got < sent:
                got += len(server.recv(sent))
        assert sizes(client, server)[1] == MEBIBYTE


def test_a_slow_handshake_is_no_long_path() -> None:
    clock = pystack.hypercalls.ManualClock(1000.0)
    left, right = pystack.nic.wire(mtu=65500)
    with (
        pystack.Stack(threaded=False, clock=clock) as a,
        pystack.Stack(threaded=False, clock=clock) as b,
    ):
        a.attach(left, "10.0.0.1/24")
        b.attach(right, "10.0.0.2/24")
        listener = b.sockets.create_server(("10.0.0.2", 80))
        client = a.socket()
        client.setblocking(False)
        client.connect_ex(("10.0.0.2", 80))
        for _ in range(20):  # 20 ms go by with ARP and the handshake, then none for a round trip
            a.step()
            clock.advance(0.001)
            b.step()
        server, _peer = listener.accept()
        server.setblocking(False)
        initially, _ = sizes(client, server)
        for _ in range(200):
            with suppress(BlockingIOError):
                while True:
                    client.send(bytes(MEBIBYTE))
            for one in (a, b, a):
                one.step()
            clock.advance(0.0002)
            with suppress(BlockingIOError):
                while True:
                    server.recv(MEBIBYTE)
        assert sizes(client, server)[0] == initially
        for one in (client, server, listener):
            one.close()


def test_a_size_that_the_user_set_stays() -> None:
    def prepare(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)

    with path(LONG) as it:
        client, server = it.connected(prepare)
        took = it.transfer(client, server, 2 * MEBIBYTE)
        assert sizes(client, server) == (400_000, 200_000)  # set to the double, as in Linux
        # A window a round trip, and no more.
        assert took > 2 * MEBIBYTE / 200_000 * 0.02 - 0.1


@pytest.mark.slow
def test_growing_can_be_switched_off() -> None:
    with path(LONG) as it:
        it.receiver.sysctl["net.ipv4.tcp_moderate_rcvbuf"] = 0
        client, server = it.connected()
        it.transfer(client, server, 20 * MEBIBYTE)
        assert sizes(client, server)[1] == MEBIBYTE


def test_without_scaling_a_window_has_sixteen_bits() -> None:
    with path(LONG) as it:
        it.receiver.sysctl["net.ipv4.tcp_window_scaling"] = 0
        client, server = it.connected()
        took = it.transfer(client, server, 2 * MEBIBYTE)
        assert took > 2 * MEBIBYTE / 65535 * 0.02 - 0.1
        assert sizes(client, server)[1] == MEBIBYTE


def test_what_nobody_reads_waits_at_the_sender() -> None:
    def fill(it: Path) -> int:
        client, _server = it.connected()
        sent = 0

        def more() -> bool:
            nonlocal sent
            try:
                while True:
                    sent += client.send(bytes(65536))
            except BlockingIOError:
                return False

        it.run(more, seconds=3)
        return sent

    with path(LONG) as it:
        # A receive buffer and a send buffer, and neither grows for nothing.
        assert fill(it) < 5 * MEBIBYTE


def test_a_batch_is_acknowledged_once() -> None:
    with path(Impairment(delay=0.01)) as it:
        client, server = it.connected()
        it.transfer(client, server, MEBIBYTE)
        it.run(lambda: False, seconds=0.1)
        nic = it.receiver.interfaces[1].nic
        before = nic.statistics()
        client.send(bytes(30 * 1448))
        it.run(lambda: False, seconds=0.015)
        after = nic.statistics()
        assert after.received_frames - before.received_frames == 30
        assert after.sent_frames - before.sent_frames == 1


def test_a_reader_tells_of_its_window_when_that_says_something() -> None:
    with path(Impairment(delay=0.001)) as it:
        client, server = it.connected()
        it.transfer(client, server, MEBIBYTE)
        client.send(bytes(MEBIBYTE // 2))
        it.run(lambda: False, seconds=0.2)
        nic = it.receiver.interfaces[1].nic
        before = nic.statistics().sent_frames
        for _ in range(64):
            assert len(server.recv(MEBIBYTE // 128)) == MEBIBYTE // 128
        assert nic.statistics().sent_frames - before <= 4


def test_a_sender_that_waits_for_room_hears_of_it_soon() -> None:
    with path(Impairment(delay=0.001)) as it:
        client, server = it.connected()
        sent = 0
        while (count := _send(client)) > 0:  # until nothing more goes
            sent += count
            it.run(lambda: False, seconds=0.1)
        nic = it.receiver.interfaces[1].nic
        before = nic.statistics().sent_frames
        assert len(server.recv(8 * 1448)) == 8 * 1448
        assert nic.statistics().sent_frames - before == 1


def _send(client: socket.socket) -> int:
    try:
        return client.send(bytes(MEBIBYTE))
    except BlockingIOError:
        return 0
