"""Options that are taken and stored: rates of datagrams, Fast Open; and values of no bytes."""

from __future__ import annotations

import select
import socket
import struct
from typing import Any

from differential import Place, differential

SOL, TCP, RATE, CONNECT = socket.SOL_SOCKET, socket.IPPROTO_TCP, 47, 30
RATES = (
    0, 1, -1, 1_000_000, (1 << 31) - 1, b"", b"\1", bytes(4), bytes(15),
    struct.pack("Q", 1 << 33), struct.pack("q", -1), struct.pack("i", -1),
)  # fmt: skip


@differential
def rates_of_datagrams(place: Place) -> Any:
    found = {}
    for value in RATES:
        sock = place.udp()
        found[repr(value)] = [
            place.tried(sock.setsockopt, SOL, RATE, value),
            *(place.tried(sock.getsockopt, SOL, RATE, size) for size in (0, 1, 4, 7, 8, 16)),
        ]
    return found


@differential
def values_of_no_bytes(place: Place) -> Any:
    found = {}
    for level, option in ((SOL, 36), (SOL, 2), (TCP, 1), (TCP, CONNECT), (0, 1), (0, 24)):
        sock = place.socket()
        found[f"{level} {option}"] = [
            place.tried(sock.setsockopt, level, option, None, size) for size in (0, 1, 3, 4, 5)
        ]
    for option in (36, 46, 49):
        found[f"short {option}"] = place.tried(place.udp().setsockopt, SOL, option, b"\1")
    return found


@differential
def fast_open_is_a_flag(place: Place) -> Any:
    found = {}
    for value in (0, 1, 2, -1, True, b"", b"\1", bytes(8)):
        sock = place.socket()
        found[repr(value)] = [
            place.tried(sock.setsockopt, TCP, CONNECT, value),
            place.tried(sock.getsockopt, TCP, CONNECT),
        ]
    near, far = place.pair()
    for name, sock in {"near": near, "far": far, "listener": place.listener()}.items():
        found[name] = [place.tried(sock.setsockopt, TCP, CONNECT, value) for value in (0, 1, 2)]
    return found


@differential
def fast_open_without_a_cookie(place: Place) -> Any:
    """Nobody has a cookie: the handshake comes first, and tells of a refusal."""
    listener = place.listener()
    where = listener.getsockname()
    near = place.socket()
    near.setsockopt(TCP, CONNECT, 1)
    came = [place.tried(near.connect, where), place.tried(near.send, b"hello")]
    far = place.keep(listener.accept()[0])
    far.settimeout(1)
    came.append(place.tried(far.recv, 9))
    listener.close()
    again = place.socket()
    again.setsockopt(TCP, CONNECT, 1)
    return [*came, place.tried(again.connect, where), place.tried(again.send, b"hello")]


@differential
def fast_open_that_does_not_wait(place: Place) -> Any:
    listener, near = place.listener(), place.socket()
    near.setsockopt(TCP, CONNECT, 1)
    near.setblocking(False)
    came = [place.tried(near.connect, listener.getsockname())]
    poll = select.poll()
    poll.register(near, select.POLLOUT)
    came.append([mask for _, mask in poll.poll(3000)])
    came.append(place.tried(near.getsockopt, SOL, socket.SO_ERROR))
    return [*came, place.tried(near.send, b"hello"), place.tried(near.getsockopt, TCP, CONNECT)]
