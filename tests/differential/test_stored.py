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


@differential
def values_of_few_bytes(place: Place) -> Any:
    found = {}
    options = [
        (0, 1),
        (0, 2),
        (0, 24),
        (0, 10),
        (0, 8),
        (0, 15),
        (0, 19),
        (0, 21),
        (0, 49),
        (0, 33),
        (0, 34),
        (41, 16),
        (41, 67),
        (41, 49),
    ]
    for key in [*options, (SOL, 2), (SOL, 29), (SOL, 36)]:
        sock = place.socket(socket.AF_INET6 if key[0] == 41 else socket.AF_INET, socket.SOCK_DGRAM)
        for value in (b"", b"\1", b"\1\0", b"\1\0\0"):
            found[f"{key} {value!r}"] = [
                place.tried(sock.setsockopt, *key, value),
                place.tried(sock.getsockopt, *key),
            ]
    return found


@differential
def integers_beyond_c(place: Place) -> Any:
    """Numbers that a field in C doesn't hold, and things that are no numbers."""
    found = {}
    sock, new = place.udp("::1"), place.module.socket
    where = sock.getsockname()[:2]
    for value in (-1, 1 << 31, 1 << 32, 1 << 63, 1 << 64, -(1 << 31) - 1, 1.5, "1", None, b"1"):
        found[repr(value)] = place.tries(
            lambda value=value: sock.sendto(b"x", (*where, value)),
            lambda value=value: sock.sendto(b"x", (*where, 0, value)),
            lambda value=value: sock.sendto(b"x", ("::1", value)),
            lambda value=value: sock.setsockopt(SOL, 2, None, value),
            lambda value=value: sock.setsockopt(SOL, value, 1),
            lambda value=value: sock.getsockopt(SOL, 2, value),
            lambda value=value: sock.recvmsg(1, value, socket.MSG_DONTWAIT)[0],
            lambda value=value: sock.sendmsg([b"x"], [(value, 1, b"")], 0, where),
            lambda value=value: sock.sendmsg([b"x"], [(0, value, b"")], 0, where),
        )
        if value != -1:
            found[f"socket {value!r}"] = place.tries(
                lambda value=value: new(value),
                lambda value=value: new(socket.AF_INET, value),
                lambda value=value: new(socket.AF_INET, socket.SOCK_STREAM, value),
            )
    return found
