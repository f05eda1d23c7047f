"""TCP's options beside the kernel's: what they take, what they say, and who inherits them.

Every number of IPPROTO_TCP is tried, and what a connection has from its listener with every option
of the other levels that a TCP socket takes; what stays different is named.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from compare import outcome
from declared import of_engine

import pystack

TCP, SOL = socket.IPPROTO_TCP, socket.SOL_SOCKET
IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
VALUES = (
    -2, -1, 0, 1, 2, 3, 7, 60, 88, 127, 128, 255, 256, 300, 1000, 32767, 32768, 65536, 1 << 20,
    (1 << 31) - 1,
)  # fmt: skip
LOCAL = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FAMILIES = (socket.AF_INET, socket.AF_INET6)
SYNCNT, INFO, CONGESTION, CLAMP, INQ = 7, 11, 13, 10, 36
LAST = 50  # a number beyond Linux's

LWIP = {
    "timers for thin streams": [16, 17],
    "repair, and what it looks into": [19, 20, 21, 22, 29],
    "the clock of timestamps": [24],
    "the SYN as it came": [27, 28],
    "congestion control has no report": [26],
    "Fast Open": [30, 33, 34],
    "other protocols on top": [31, 35, 45],
    "MD5 signatures": [14, 32],
    "delays and timeouts of one's own": [37, 43, 44, 46],
}
# Of Linux 7.2 in the process, beside the machine's 6.18.
LINUX = {
    "the clock of timestamps": [24],
    "the process's pages are not the kernel's to receive into": [35],
    "TCP-AO is built in (RFC 5925), and the machine's kernel may be without": [38, 39, 40, 41, 42],
    "times are rounded to ticks, of which each kernel has its own number a second": [44, 45, 46],
}
REASONS = of_engine(lwip=LWIP, linux=LINUX)
DIFFERENT = {number: reason for reason, numbers in REASONS.items() for number in numbers}


@pytest.fixture(scope="module")
def sockets() -> Iterator[Any]:
    with pystack.Stack() as net:
        yield net.sockets


def fresh(module: Any, family: int, number: int) -> list[Any]:
    with module.socket(family) as sock:
        told = [outcome(sock.getsockopt, TCP, number) if number != SYNCNT else None]
        if number == SYNCNT:  # the sysctl's value differs
            sock.setsockopt(TCP, SYNCNT, 1)
        for value in VALUES:
            told.append(outcome(sock.setsockopt, TCP, number, value))
            told.append(outcome(sock.getsockopt, TCP, number))
    return told


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_taken(sockets: Any, family: int) -> None:
    found = {}
    for number in range(1, LAST):
        if number in (INFO, CONGESTION):
            continue
        ours, kernels = fresh(sockets, family, number), fresh(socket, family, number)
        if ours != kernels:
            found[number] = (ours, kernels)
    unnamed = {number: told for number, told in found.items() if number not in DIFFERENT}
    assert not unnamed


def later(module: Any, number: int) -> list[Any]:
    """The same of a listener, and of both ends of a connection."""
    told = []
    with module.create_server(("127.0.0.1", 0)) as listener:
        near = module.create_connection(listener.getsockname())
        far, _ = listener.accept()
        for sock in (listener, near, far):
            for value in (0, 1, 5, 100, 70000):
                told.append(outcome(sock.setsockopt, TCP, number, value))
                told.append(outcome(sock.getsockopt, TCP, number) if value else None)
        near.close()
        far.close()
    return told


@pytest.mark.parametrize("number", [1, 3, 4, 5, 6, 7, 8, 9, 10, 12, 18, 23, 25, 36])
def test_what_is_taken_later(sockets: Any, number: int) -> None:
    ours, kernels = later(sockets, number), later(socket, number)
    if number == SYNCNT:
        ours, kernels = ours[2:], kernels[2:]  # the sysctl's value differs
    assert ours == kernels


NAMES = (b"reno", b"nosuch", b"", b"reno\0junk", b"reno" + 30 * b"x", 1)


@pytest.mark.parametrize("name", NAMES)
def test_congestion(sockets: Any, name: Any) -> None:
    def told(module: Any) -> Any:
        with module.socket() as sock:
            sock.setsockopt(TCP, CONGESTION, b"reno")
            lengths = (0, 1, 4, 16, 64)
            return (
                outcome(sock.setsockopt, TCP, CONGESTION, name),
                [outcome(sock.getsockopt, TCP, CONGESTION, length) for length in lengths],
            )

    assert told(sockets) == told(socket)


# --- what a connection has from its listener -----------------------------------------------------

# Numbers that a listener may be given without being kept from its work; Linux's.
INHERITED: dict[str, tuple[int, int, Any]] = {
    f"level {level}, {number} = {value}": (level, number, value)
    for level, numbers in {
        SOL: (1, 2, 5, 6, 9, 10, 12, 15, 18, 19, 30, 36, 40, 46),
        TCP: (1, 3, 4, 5, 6, 7, 8, 9, 12, 18, 23, 25, 36),
        IP: (1, 2, 8, 12, 13, 19, 21, 24, 34),
        IPV6: (16, 49, 51, 66, 67, 73),
    }.items()
    for number in numbers
    for value in (1, 2, 60)
} | {
    "SO_LINGER": (SOL, 13, struct.pack("ii", 1, 7)),
    "SO_RCVTIMEO": (SOL, 20, struct.pack("ll", 5, 0)),
    "SO_SNDTIMEO": (SOL, 21, struct.pack("ll", 5, 500_000)),
    "SO_BINDTODEVICE": (SOL, 25, b"lo"),
    "SO_RCVBUF": (SOL, 8, 20_000),
    "SO_SNDBUF": (SOL, 7, 20_000),
    "TCP_MAXSEG": (TCP, 2, 600),
    "TCP_WINDOW_CLAMP": (TCP, 10, 20_000),
}


def inheritance(module: Any, family: int, level: int, number: int, value: Any) -> Any:
    size = 16 if isinstance(value, bytes) else 4
    with module.socket(family) as listener:
        listener.settimeout(5)
        listener.bind((LOCAL[family], 0))
        setting = outcome(listener.setsockopt, level, number, value)
        listener.listen()
        with module.create_connection(listener.getsockname()[:2]) as near:
            near.send(b"x")  # a listener may wait for it
            far, _ = listener.accept()
            with far:
                return setting, [
                    outcome(one.getsockopt, level, number, size) for one in (listener, far)
                ]


@pytest.mark.parametrize("name", INHERITED)
def test_what_is_inherited(sockets: Any, name: str) -> None:
    level, number, value = INHERITED[name]
    for family in FAMILIES if level != IPV6 else (socket.AF_INET6,):
        ours, kernels = (
            inheritance(module, family, level, number, value) for module in (sockets, socket)
        )
        if name in ("SO_SNDBUF", "SO_RCVBUF", "TCP_MAXSEG"):
            assert ours[0] == kernels[0]  # what comes of it is each one's own
        else:
            assert ours == kernels


# --- TCP_INQ, TCP_DEFER_ACCEPT --------------------------------------------------------------------


def left(module: Any) -> Any:
    with module.create_server(("127.0.0.1", 0)) as listener:
        near = module.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setsockopt(TCP, INQ, 1)
    near.settimeout(5)
    far.send(b"0123456789")
    told = [outcome(near.recvmsg, 4, 100), outcome(near.recvmsg, 2, 100, socket.MSG_PEEK)]
    told += [outcome(near.recvmsg, 9, 4)]
    far.send(b"abc")
    told += [outcome(near.recvmsg, 3, 100)]
    far.close()
    told += [outcome(near.recvmsg, 3, 100)]
    near.close()
    return told


def test_what_is_left(sockets: Any) -> None:
    assert left(sockets) == left(socket)


def deferred(module: Any) -> Any:
    with module.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(TCP, socket.TCP_DEFER_ACCEPT, 5)
        listener.settimeout(0.3)
        with module.create_connection(listener.getsockname(), 5) as near:
            told = [outcome(listener.accept)]
            near.send(b"now")
            far, _ = listener.accept()
            with far:
                told.append(outcome(far.recv, 9))
        return told


def test_a_listener_that_waits_for_data(sockets: Any) -> None:
    assert deferred(sockets) == deferred(socket)
