"""SO_TIMESTAMP and SO_TIMESTAMPNS beside the kernel, and by other clocks than the system's."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from compare import agree, outcome
from quiet import BOUND_S, settle

import pystack
from pystack.hypercalls import ManualClock

LOCAL = "127.0.0.1"
SOL, DATAGRAM, STREAM = socket.SOL_SOCKET, socket.SOCK_DGRAM, socket.SOCK_STREAM
STAMP, STAMPNS, STAMP_NEW, STAMPNS_NEW = 29, 35, 63, 64
ALL = (STAMP, STAMPNS, STAMP_NEW, STAMPNS_NEW)
IP_RECVERR, IP_RECVTTL = 11, 12
SLACK_S = 0.002  # clocks are read to some such precision


@pytest.fixture(scope="module")
def net() -> Iterator[pystack.Stack]:
    # The kernel stamps packets while somebody wants it, and begins to do so a little later.
    with pystack.Stack() as made, socket.socket(socket.AF_INET, DATAGRAM) as one:
        one.setsockopt(SOL, STAMP, 1)
        one.bind((LOCAL, 0))
        end = time.monotonic() + BOUND_S
        while True:
            one.sendto(b"x", one.getsockname())
            arrived = time.time()
            time.sleep(0.01)
            if stamp(one.recvmsg(1, 100)[1][0]) < arrived + SLACK_S:
                break
            assert time.monotonic() < end, "the kernel stamps no packets"
        yield made


def compare(net: pystack.Stack, function: Callable[..., Any], *arguments: Any) -> None:
    agree(lambda: function(socket, *arguments), lambda: function(net.sockets, *arguments))


def on(sock: Any) -> list[Any]:
    return [outcome(sock.getsockopt, SOL, option) for option in ALL]


def stamp(item: Any) -> float:
    """Seconds since 1970."""
    seconds, rest = struct.unpack("qq", item[2])
    return float(seconds + rest / (1e6 if item[1] in (STAMP, STAMP_NEW) else 1e9))


def told(received: Any, since: float, until: float) -> Any:
    """What was received, after the times in it are found to be between those of `time.time`."""
    data, items, flags, _ = received
    stamps = [stamp(item) for item in items if item[:2] in {(SOL, option) for option in ALL}]
    assert all(since - SLACK_S <= one <= until + SLACK_S for one in stamps), (since, stamps, until)
    return data, [(level, kind, len(content)) for level, kind, content in items], flags


def each_pair(module: Any, kind: int) -> Any:
    found = []
    for first in ALL:
        for second in ALL:
            for value in (0, 1, 5):
                with module.socket(socket.AF_INET, kind) as sock:
                    sock.setsockopt(SOL, first, 1)
                    before = on(sock)
                    sock.setsockopt(SOL, second, value)
                    found.append((first, second, value, before, on(sock)))
    return found


@pytest.mark.parametrize("kind", [DATAGRAM, STREAM])
def test_each_pair(net: pystack.Stack, kind: int) -> None:
    compare(net, each_pair, kind)


def datagrams(module: Any, option: int) -> Any:
    with module.socket(socket.AF_INET, DATAGRAM) as sock:
        sock.bind((LOCAL, 0))
        sock.settimeout(5)
        sock.setsockopt(SOL, option, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        here = sock.getsockname()
        found, began = [], time.time()

        def hear(one: Any, *arguments: int) -> None:
            received = one.recvmsg(10, *arguments)
            found.append(told(received, began, time.time()) if arguments[0] > 20 else received[2])

        sock.sendto(b"one", here)
        for room in (500, 16, 20, 0):
            sock.sendto(b"more", here)
            if room > 20:
                hear(sock, room, socket.MSG_PEEK)
            hear(sock, room)
        copy = sock.dup()
        sock.sendto(b"", here)
        hear(copy, 500)
        copy.setsockopt(SOL, option, 0)
        sock.sendto(b"x", here)
        hear(sock, 500)
        copy.close()
        return found


@pytest.mark.parametrize("option", ALL)
def test_datagrams(net: pystack.Stack, option: int) -> None:
    compare(net, datagrams, option)


def waited(module: Any) -> Any:
    """The time is the arrival's, not that of the call."""
    with module.socket(socket.AF_INET, DATAGRAM) as sock:
        sock.bind((LOCAL, 0))
        sock.setsockopt(SOL, STAMPNS, 1)
        began = time.time()
        sock.sendto(b"x", sock.getsockname())
        settle(module)
        arrived = time.time()
        time.sleep(0.1)
        return told(sock.recvmsg(10, 500), began, arrived)


def test_waited(net: pystack.Stack) -> None:
    compare(net, waited)


def of_errors(module: Any) -> Any:
    with module.socket(socket.AF_INET, DATAGRAM) as sock:
        sock.setsockopt(SOL, STAMP, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        began = time.time()
        sock.sendto(b"x", (LOCAL, 9))
        settle(module)
        arrived = time.time()
        time.sleep(0.02)
        return told(sock.recvmsg(10, 500, socket.MSG_ERRQUEUE), began, arrived)


def test_of_errors(net: pystack.Stack) -> None:
    compare(net, of_errors)


def streams(module: Any, option: int) -> Any:
    """What is accepted has the option, and each piece that is read the time of its last byte."""
    with module.create_server((LOCAL, 0)) as listener:
        listener.setsockopt(SOL, option, 1)
        near = module.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        found: list[Any] = [on(far)]
        began = time.time()
        near.sendall(b"abcdef")
        settle(module)
        arrived = time.time()
        time.sleep(0.05)
        found += [told(far.recvmsg(2, 500, socket.MSG_PEEK), began, arrived)]
        found += [told(far.recvmsg(2, 500), began, arrived) for _ in range(3)]
        near.close()
        ended = far.recvmsg(2, 500)
        assert ended[1] == []
        found.append(told(ended, began, arrived))
        return found


@pytest.mark.parametrize("option", ALL)
def test_streams(net: pystack.Stack, option: int) -> None:
    compare(net, streams, option)


def test_a_clock_of_pythons_counts_from_the_epoch() -> None:
    clock = ManualClock(1_000_000.25)
    with (
        pystack.Stack(threaded=False, clock=clock) as net,
        net.socket(socket.AF_INET, DATAGRAM) as sock,
    ):
        sock.bind((LOCAL, 0))
        sock.setsockopt(SOL, STAMP, 1)
        sock.sendto(b"x", sock.getsockname())
        clock.advance(5)
        assert sock.recvmsg(10, 100)[1] == [(SOL, STAMP, struct.pack("qq", 1_000_000, 250_000))]
