"""MSG_WAITALL: a call that waits for all it asks for, and what ends it before."""

from __future__ import annotations

import socket
import struct
from typing import Any

from differential import RESET, Place, differential


def waiting_pair(p: Place, timeout: float | None = None) -> tuple[Any, Any]:
    near, far = p.pair()
    near.settimeout(timeout)
    return near, far


@differential
def waitall_waits_for_all(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 6, socket.MSG_WAITALL)
    far.sendall(b"abc")
    p.quiet()
    early = list(out)
    far.sendall(b"def")
    return early, p.joined(out)


@differential
def waitall_ends_with_the_stream(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 6, socket.MSG_WAITALL)
    far.sendall(b"abc")
    far.close()
    return p.joined(out)


@differential
def waitall_ends_with_a_reset(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 6, socket.MSG_WAITALL)
    far.sendall(b"abc")
    p.settle()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    far.close()
    return p.joined(out), p.tried(near.recv, 1)


@differential
def waitall_stops_at_urgent_data(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 6, socket.MSG_WAITALL)
    far.sendall(b"ab")
    far.send(b"!", socket.MSG_OOB)
    far.sendall(b"cdefgh")
    return p.joined(out), p.tried(near.recv, 9)


@differential
def waitall_and_peek(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recv, 6, socket.MSG_WAITALL | socket.MSG_PEEK)
    far.sendall(b"abc")
    p.quiet()
    early = list(out)
    far.sendall(b"def")
    return early, p.joined(out), p.tried(near.recv, 9)


@differential
def waitall_into_many_buffers(p: Place) -> Any:
    near, far = waiting_pair(p)
    buffers = [bytearray(2), bytearray(3)]
    out = p.thread(near.recvmsg_into, buffers, 0, socket.MSG_WAITALL)
    far.sendall(b"abc")
    p.quiet()
    early = list(out)
    far.sendall(b"de")
    return early, p.joined(out), buffers


@differential
def waitall_recvmsg(p: Place) -> Any:
    near, far = waiting_pair(p)
    out = p.thread(near.recvmsg, 5, 0, socket.MSG_WAITALL)
    far.sendall(b"abc")
    p.quiet()
    early = list(out)
    far.sendall(b"de")
    return early, p.joined(out)


@differential
def waitall_under_a_receive_limit(p: Place) -> Any:
    near, far = waiting_pair(p)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 300_000))
    far.sendall(b"abc")
    return p.tried(near.recv, 9, socket.MSG_WAITALL)


@differential
def waitall_with_a_timeout(p: Place) -> Any:
    near, far = waiting_pair(p, 0.4)
    far.sendall(b"abc")
    p.settle()
    return p.tried(near.recv, 9, socket.MSG_WAITALL)


@differential
def low_water(p: Place) -> Any:
    near, far = waiting_pair(p)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 4)
    out = p.thread(near.recv, 9)
    far.sendall(b"ab")
    p.quiet()
    early = list(out)
    far.sendall(b"cd")
    return early, p.joined(out)
