"""Virtual time: when an engine sends again, and that two runs are the same."""

from __future__ import annotations

import errno
import itertools
import socket
from typing import Any

import pytest
from lockstep import PORT, lockstep

import pystack
from pystack.hypercalls import ManualClock


class Recorder:
    """A wire that keeps what is sent on it, with the time."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.frames: list[tuple[float, bytes]] = []

    def frame_out(self, interface: int, frame: bytes) -> bool:
        self.frames.append((self.clock.now_us() / 1e6, frame))
        return True


def pass_time(net: pystack.Stack, clock: ManualClock, seconds: float) -> None:
    end = clock.now_us() + round(seconds * 1e6)
    while (wait := net.step()) is not None:
        if clock.now_us() + round(wait * 1e6) > end:
            break
        clock.advance(wait)
    clock.advance((end - clock.now_us()) / 1e6)
    net.step()


def syn_times(engine: str) -> tuple[list[float], int]:
    clock = ManualClock()
    wire = Recorder(clock)
    left, _right = pystack.nic.wire()
    with pystack.Stack(engine=engine, clock=clock, threaded=False, seed=3, frame_out=wire) as net:
        eth = net.attach(left, "10.0.0.1/24")
        net.neighbours.add("10.0.0.2", "02:00:00:00:00:02", eth)
        pass_time(net, clock, 5)
        wire.frames.clear()
        with net.socket() as client:
            client.setblocking(False)
            started = clock.now_us() / 1e6
            assert client.connect_ex(("10.0.0.2", 80)) == errno.EINPROGRESS
            pass_time(net, clock, 400)
            error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        times = [
            round(moment - started, 3)
            for moment, frame in wire.frames
            if frame[12:14] == b"\x08\x00" and frame[47] & 0x12 == 0x02
        ]
    return times, error


def test_syns_are_sent_again_in_virtual_time(engine: str) -> None:
    times, error = syn_times(engine)
    # RFC 6298, 2.1 and 5.5: after a second, then backing off; Linux sends some at that pace first.
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(gaps) >= 6
    assert 1 <= gaps[0] < 1.1
    assert all(0.9 * one <= other <= 2.2 * one for one, other in itertools.pairwise(gaps))
    assert error == errno.ETIMEDOUT
    if engine == "gvisor":
        assert times == [0, 1, 3, 7, 15, 31, 63]


def test_syn_acks_are_sent_again(engine: str) -> None:
    with lockstep(engines=("lwip", engine)) as it:
        listener = it.listen()
        client = it.client.socket()
        client.setblocking(False)
        it.client.neighbours.add("10.0.0.2", it.server.interfaces[1].mac, it.client.interfaces[1])
        # Nobody will answer the server's questions for its neighbour.
        mac = it.client.interfaces[1].mac
        it.server.neighbours.add("10.0.0.1", mac, it.server.interfaces[1])
        client.connect_ex(("10.0.0.2", PORT))
        it.client.step()
        it.client.close(abrupt=True)
        started = it.clock.now_us()
        moments = []
        before = it.server.counters()["tcp.out_segments"]
        while it.clock.now_us() - started < 40_000_000:
            it.server.step()
            now = it.server.counters()["tcp.out_segments"]
            if now != before:
                moments.append(round((it.clock.now_us() - started) / 1e6, 1))
                before = now
            it.clock.advance(0.1)
        listener.close()
    # Linux's timers are late by up to an eighth.
    assert moments[:6] == pytest.approx([0, 1, 3, 7, 15, 31], rel=0.125, abs=0.15)


def exchange(engines: tuple[str, str]) -> list[tuple[float, bytes]]:
    """The frames of a short exchange, of both sides."""
    clock = ManualClock()
    wire = Recorder(clock)
    left, right = pystack.nic.wire()
    options: Any = {"threaded": False, "clock": clock, "frame_out": wire}
    with (
        pystack.Stack(engine=engines[0], seed=1, **options) as client,
        pystack.Stack(engine=engines[1], seed=2, **options) as server,
    ):
        client.attach(left, "10.0.0.1/24", "fd00::1/64")
        server.attach(right, "10.0.0.2/24", "fd00::2/64")

        def run(seconds: float) -> None:
            for _ in range(round(seconds / 0.05)):
                for _turn in range(4):
                    client.step()
                    server.step()
                clock.advance(0.05)

        run(5)
        for host in ("10.0.0.2", "fd00::2"):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = server.socket(family)
            peer = client.socket(family)
            for each in (listener, peer):
                each.setblocking(False)
            listener.bind((host, PORT))
            listener.listen()
            peer.connect_ex((host, PORT))
            run(0.2)
            other, _address = listener.accept()
            other.setblocking(False)
            peer.send(bytes(100_000))
            run(0.2)
            other.send(other.recv(100_000))
            run(0.2)
            for each in (peer, other, listener):
                each.close()
            run(1)
        # And what stays inside one stack.
        local = client.sockets.create_server(("10.0.0.1", PORT))
        local.setblocking(False)
        inner = client.socket()
        inner.setblocking(False)
        inner.connect_ex(("10.0.0.1", PORT))
        run(0.2)
        accepted, _address = local.accept()
        inner.send(bytes(100_000))
        run(0.2)
        for each in (inner, accepted, local):
            each.close()
        run(1)
    return wire.frames


def test_the_same_seed_makes_the_same_frames(engines: tuple[str, str]) -> None:
    runs = [exchange(engines) for _ in range(3)]
    assert len(runs[0]) > 100
    assert runs[0] == runs[1] == runs[2]


def test_time_wait_ends_and_keepalive_speaks(engine: str) -> None:
    with lockstep(engines=(engine, engine)) as it:
        it.client.sysctl["net.ipv4.tcp_msl_ms"] = 1000
        listener = it.listen()
        client = it.client.socket()
        client.setblocking(False)
        client.connect_ex(("10.0.0.2", PORT))
        it.run(lambda: bool(it.server.counters()["tcp.passive_opens"]))
        server, _peer = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        it.run(seconds=1)
        before = it.client.counters()["tcp.out_segments"]
        it.run(seconds=8)
        assert it.client.counters()["tcp.out_segments"] == before
        it.run(seconds=3)
        assert it.client.counters()["tcp.out_segments"] == before + 1
        client.close()
        it.run(seconds=0.5)
        server.close()
        it.run(seconds=0.5)
        assert [str(one.state.name) for one in it.client.connections()] == ["TIME_WAIT"]
        it.run(seconds=2)
        assert it.client.connections() == []
        listener.close()
