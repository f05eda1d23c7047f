"""Connections between two Stacks on which little happens for long, in virtual time."""

from __future__ import annotations

import socket
import time

import pytest
from lockstep import PORT, Lockstep, lockstep
from path import Path, path

from pystack.nic import Impairment
from pystack.sockets import Socket

CLEAN = Impairment(delay=0.01)
HOUR = 3600.0


def pass_time(it: Path | Lockstep, seconds: float, stride: float = 20.0) -> None:
    """Time passes in strides; both Stacks have their turn after each."""
    one, other = (it.sender, it.receiver) if isinstance(it, Path) else (it.client, it.server)
    for _ in range(int(seconds / stride)):
        it.clock.advance(stride)
        for _ in range(4):
            one.step()
            other.step()


def is_alive(it: Path, client: Socket, server: Socket) -> bool:
    return it.transfer(client, server, 100_000, seconds=60) < 10


@pytest.mark.parametrize("stamps", [0, 1])
def test_keep_alives_keep_an_idle_connection(stamps: int) -> None:
    with path(CLEAN) as it:
        for net in (it.sender, it.receiver):
            net.sysctl["net.ipv4.tcp_timestamps"] = stamps
        client, server = it.connected(
            lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        )
        before = it.receiver.counters()["tcp.in_segments"]
        pass_time(it, 12 * HOUR)
        assert it.receiver.counters()["tcp.in_segments"] - before >= 5
        assert is_alive(it, client, server)


def test_keep_alives_keep_a_half_closed_connection() -> None:
    with path(CLEAN) as it:
        client, server = it.connected()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.shutdown(socket.SHUT_WR)
        pass_time(it, 12 * HOUR)
        assert server.recv(1) == b""
        server.send(b"still there")
        assert it.run(lambda: arrived(client) == b"still there", seconds=10)


def arrived(sock: Socket) -> bytes:
    try:
        return sock.recv(100)
    except BlockingIOError:
        return b""


def test_a_reader_that_pauses_keeps_its_connection() -> None:
    with path(CLEAN) as it:
        client, server = it.connected()
        sent = 0
        try:
            while True:
                sent += client.send(bytes(65536))
                it.run(lambda: False, seconds=0.1)
        except BlockingIOError:
            pass
        pass_time(it, 6 * HOUR)
        got = 0

        def all_read() -> bool:
            nonlocal got
            try:
                got += len(server.recv(1 << 20))
            except BlockingIOError:
                pass
            return got >= sent

        assert it.run(all_read, seconds=300)
        assert is_alive(it, client, server)


def test_a_lost_window_update_stops_nothing() -> None:
    with path(CLEAN) as it:
        it.receiver.sysctl["net.ipv4.tcp_moderate_rcvbuf"] = 0
        client, server = it.connected(
            lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
        )
        client.send(bytes(100_000))
        it.run(lambda: False, seconds=5)
        it.wire.set(incoming=Impairment(loss=1.0), outgoing=CLEAN)
        got = len(server.recv(1 << 20))
        it.run(lambda: False, seconds=1)
        it.wire.set(incoming=CLEAN, outgoing=CLEAN)

        def all_read() -> bool:
            nonlocal got
            try:
                got += len(server.recv(1 << 20))
            except BlockingIOError:
                pass
            return got >= 100_000

        assert it.run(all_read, seconds=60)


def test_a_slow_reader_gets_all_of_a_closed_socket() -> None:
    """The program at the one end has gone; that at the other reads some each two minutes."""
    with path(CLEAN) as it:
        it.receiver.sysctl["net.ipv4.tcp_moderate_rcvbuf"] = 0
        client, server = it.connected(
            lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
        )
        client.send(bytes(200_000))
        client.close()
        it.run(lambda: False, seconds=120)
        got = 0
        while data := server.recv(16_000):
            got += len(data)
            it.run(lambda: False, seconds=120)
        assert got == 200_000


def cost_of_an_hour(it: Lockstep) -> float:
    """Processor seconds."""
    begin = time.process_time()
    pass_time(it, HOUR, 1.0)
    return time.process_time() - begin


@pytest.mark.parametrize("keep_alive", [0, 1])
def test_idle_connections_cost_nothing(keep_alive: int) -> None:
    with lockstep(memory_limit=256 << 20) as both:
        listener = both.listen()
        empty = cost_of_an_hour(both)
        held: list[Socket] = [listener]
        try:
            for _ in range(2000):
                client = both.client.socket(socket.AF_INET, socket.SOCK_STREAM)
                held.append(client)
                client.setblocking(False)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keep_alive)
                client.connect_ex(("10.0.0.2", PORT))
                for _ in range(4):
                    both.client.step()
                    both.server.step()
                held.append(listener.accept()[0])
            pass_time(both, 10)
            # A walk of them all at each tick would cost twenty times as much.
            assert cost_of_an_hour(both) < 4 * empty + 0.3
        finally:
            for sock in held:
                sock.close()
