"""When a World says that nothing can ever happen again, in virtual and in real time."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from growth import need

from pystack._native import world as native
from pystack.world import DeadlockError, World

ENGINES = ["lwip", "linux", "gvisor"]
MPTCP = 262


def when_nothing_is_left(engine: str, **pace: str) -> float:
    """When a World says so in which two connections and their neighbours grow old."""
    need(engine)
    with World(**pace) as world:  # type: ignore[arg-type]
        left, right = world.host("left", engine=engine), world.host("right", engine=engine)
        world.link(left, right, delay="20ms")
        listener = right.sockets.create_server(("", 80))
        with listener, left.sockets.create_connection(("right", 80)) as sock:
            left.sockets.create_connection(("right", 80)).close()  # TIME-WAIT, a minute of it
            kept = listener.accept()[0]
            listener.accept()[0].close()
            with kept, pytest.raises(DeadlockError):
                sock.recv(1)
            return world.now


@pytest.mark.parametrize("engine", ENGINES)
def test_timers_that_lead_to_nothing_are_not_waited_for(engine: str) -> None:
    # Until no router is asked for any more, and groups are reported.
    assert when_nothing_is_left(engine) < 20


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.slow
def test_nor_are_they_in_real_time(engine: str) -> None:
    in_real_time = when_nothing_is_left(engine, time="real")
    if engine == "gvisor":  # its first Stacks in a process report groups at other moments
        assert in_real_time < 20
    else:
        assert in_real_time == when_nothing_is_left(engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pace", ["virtual", "real"])
def test_a_timer_that_ends_a_wait_is_waited_for(pace: str, engine: str, monkeypatch: Any) -> None:
    need(engine)
    monkeypatch.setattr(native, "SILENCE_S", 0.2)
    with World(time=pace) as world:
        left, right = world.host("left", engine=engine), world.host("right", engine=engine)
        world.link(left, right)
        listener = right.sockets.create_server(("", 80))
        with listener, left.sockets.create_connection(("right", 80)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
                sock.setsockopt(socket.IPPROTO_TCP, option, 1)
            right.crash()
            with pytest.raises(TimeoutError):
                sock.recv(1)


def test_silence_is_a_deadlock_where_an_engine_says_nothing(monkeypatch: Any) -> None:
    need("linux")
    monkeypatch.setattr(native, "SILENCE_S", 0.2)
    with World(time="real") as world:
        left, right = world.host("left", engine="linux"), world.host("right", engine="linux")
        world.link(left, right)
        hidden = left.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)  # no listing has its timers
        with hidden, left.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("", 9))
            with pytest.raises(DeadlockError):
                sock.recv(1)
        assert world.now < 100


def test_what_waits_in_a_queue_is_waited_for() -> None:
    need("linux")
    with World() as world:
        left, right = world.host("left", engine="linux"), world.host("right", engine="linux")
        world.link(left, right)
        eth, peer = left.interfaces[-1], right.interfaces[-1]
        assert peer.mac is not None
        left.neighbours.add(peer.addresses.list()[0].ip, peer.mac, eth)
        eth.qdisc("netem", delay=100.0)
        with right.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("", 9))
            with left.socket(type=socket.SOCK_DGRAM) as sender:
                sender.sendto(b"late", ("right", 9))
                assert sock.recv(9) == b"late"
        assert world.now >= 100
