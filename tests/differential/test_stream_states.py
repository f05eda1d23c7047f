"""Every method of a TCP socket in every state that it can be in."""

from __future__ import annotations

import copy
import io
import pickle
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from differential import LOCAL, LOCAL6, RESET, Place, compare_table
from quick import representatives

REFUSING = (LOCAL, 1)


class Ends:
    """The socket that is looked at, its peer, and a UDP socket to address."""

    def __init__(self, near: Any, far: Any = None) -> None:
        self.near, self.far = near, far


# --- states -----------------------------------------------------------------------------------


def fresh(p: Place) -> Ends:
    near = p.socket()
    near.settimeout(p.patience_s)
    return Ends(near)


def fresh6(p: Place) -> Ends:
    near = p.socket(socket.AF_INET6)
    near.settimeout(p.patience_s)
    return Ends(near)


def fresh_without_waiting(p: Place) -> Ends:
    near = p.socket()
    near.setblocking(False)
    return Ends(near)


def bound(p: Place) -> Ends:
    ends = fresh(p)
    ends.near.bind((LOCAL, 0))
    return ends


def bound6(p: Place) -> Ends:
    ends = fresh6(p)
    ends.near.bind((LOCAL6, 0))
    return ends


def listening(p: Place) -> Ends:
    return Ends(p.listener())


def listening_without_waiting(p: Place) -> Ends:
    listener = p.listener()
    listener.setblocking(False)
    return Ends(listener)


def listening_one_waits(p: Place) -> Ends:
    listener, client = p.listener(), p.socket()
    client.connect(listener.getsockname())
    client.settimeout(p.patience_s)
    p.settle()
    return Ends(listener, client)


def listener_shut(p: Place) -> Ends:
    listener = p.listener()
    listener.shutdown(socket.SHUT_RD)
    return Ends(listener)


def connecting(p: Place) -> Ends:
    listener = p.listener(backlog=0)
    for _ in range(4):  # the queue is full: a SYN is not answered
        one = p.socket()
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        p.settle()
    one.settimeout(p.patience_s)
    return Ends(one)


def refused(p: Place) -> Ends:
    ends = fresh(p)
    with suppress(ConnectionRefusedError):
        ends.near.connect(REFUSING)
    return ends


def refused_untold(p: Place) -> Ends:
    ends = fresh(p)
    ends.near.setblocking(False)
    with suppress(BlockingIOError, ConnectionRefusedError):
        ends.near.connect(REFUSING)
    p.settle()
    ends.near.settimeout(p.patience_s)
    return ends


def connected(p: Place) -> Ends:
    return Ends(*p.pair())


def connected6(p: Place) -> Ends:
    return Ends(*p.pair(LOCAL6))


def accepted(p: Place) -> Ends:
    return Ends(*reversed(p.pair()))


def without_waiting(p: Place) -> Ends:
    ends = connected(p)
    ends.near.setblocking(False)
    return ends


def with_data(p: Place) -> Ends:
    ends = connected(p)
    ends.far.sendall(b"hello world")
    p.settle()
    return ends


def with_urgent_data(p: Place) -> Ends:
    ends = connected(p)
    ends.far.sendall(b"ab")
    ends.far.send(b"!", socket.MSG_OOB)
    ends.far.sendall(b"cd")
    p.settle()
    return ends


def full(p: Place) -> Ends:
    ends = connected(p)
    ends.near.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            ends.near.send(bytes(65536))
    ends.near.settimeout(p.patience_s)
    return ends


def peer_closed(p: Place) -> Ends:
    ends = connected(p)
    ends.far.close()
    p.settle()
    return ends


def peer_closed_with_data(p: Place) -> Ends:
    ends = with_data(p)
    ends.far.close()
    p.settle()
    return ends


def peer_closed_heard(p: Place) -> Ends:
    ends = peer_closed(p)
    ends.near.recv(1)
    return ends


def peer_closed_and_sent_to(p: Place) -> Ends:
    ends = peer_closed(p)
    ends.near.send(b"x")  # answered by a reset
    p.settle()
    return ends


def peer_shut(p: Place) -> Ends:
    ends = connected(p)
    ends.far.shutdown(socket.SHUT_WR)
    p.settle()
    return ends


def peer_shut_with_data(p: Place) -> Ends:
    ends = with_data(p)
    ends.far.shutdown(socket.SHUT_WR)
    p.settle()
    return ends


def peer_shut_reading(p: Place) -> Ends:
    ends = connected(p)
    ends.far.shutdown(socket.SHUT_RD)
    return ends


def peer_reset(p: Place) -> Ends:
    ends = connected(p)
    ends.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    ends.far.close()
    p.settle()
    return ends


def peer_reset_with_data(p: Place) -> Ends:
    ends = with_data(p)
    ends.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    ends.far.close()
    p.settle()
    return ends


def peer_reset_told(p: Place) -> Ends:
    ends = peer_reset(p)
    with suppress(ConnectionResetError):
        ends.near.recv(1)
    return ends


def shut_reading(p: Place) -> Ends:
    ends = connected(p)
    ends.near.shutdown(socket.SHUT_RD)
    return ends


def shut_reading_with_data(p: Place) -> Ends:
    ends = with_data(p)
    ends.near.shutdown(socket.SHUT_RD)
    return ends


def shut_writing(p: Place) -> Ends:
    ends = connected(p)
    ends.near.shutdown(socket.SHUT_WR)
    p.settle()
    return ends


def shut_both(p: Place) -> Ends:
    ends = connected(p)
    ends.near.shutdown(socket.SHUT_RDWR)
    p.settle()
    return ends


def both_ends_shut(p: Place) -> Ends:
    ends = connected(p)
    ends.near.shutdown(socket.SHUT_WR)
    p.settle()
    ends.far.shutdown(socket.SHUT_WR)
    p.settle()
    return ends


def peer_shut_then_shut(p: Place) -> Ends:
    ends = connected(p)
    ends.far.shutdown(socket.SHUT_WR)
    p.settle()
    ends.near.shutdown(socket.SHUT_WR)
    p.settle()
    return ends


def closed(p: Place) -> Ends:
    ends = connected(p)
    ends.near.close()
    p.settle()
    return ends


def detached(p: Place) -> Ends:
    ends = connected(p)
    p.keep(p.module.socket(fileno=ends.near.detach()))
    return ends


def disconnected(p: Place) -> Ends:
    ends = connected(p)
    ends.far.close()
    ends.near.close()
    return ends


STATES: dict[str, Callable[[Place], Ends]] = {
    one.__name__: one
    for one in (
        fresh, fresh6, fresh_without_waiting, bound, bound6, listening, listening_without_waiting,
        listening_one_waits, listener_shut, connecting, refused, refused_untold, connected,
        connected6, accepted, without_waiting, with_data, with_urgent_data, full, peer_closed,
        peer_closed_with_data, peer_closed_heard, peer_closed_and_sent_to, peer_shut,
        peer_shut_with_data, peer_shut_reading, peer_reset, peer_reset_with_data, peer_reset_told,
        shut_reading, shut_reading_with_data, shut_writing, shut_both, both_ends_shut,
        peer_shut_then_shut, closed, detached, disconnected,
    )
}  # fmt: skip

# --- calls ------------------------------------------------------------------------------------


def host(address: Any) -> Any:
    return address and address[0]


def heard(ends: Ends) -> Any:
    """What the peer hears of it."""
    if ends.far is None:
        return None
    try:
        return ends.far.recv(99)
    except OSError as error:
        return type(error).__name__


def accept(p: Place, s: Any) -> Any:
    made, where = s.accept()
    p.keep(made)
    return where[0], made.gettimeout(), made.family, made.type


def readiness(s: Any) -> Any:
    """What select(2) says, which HUP and ERR are part of."""
    return [len(one) for one in select.select([s], [s], [s], 0)]


def listener_of(s: Any) -> Any:
    s.listen()
    return s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


SOCKET_CALLS: dict[str, Callable[[Place, Any], Any]] = {
    "bind": lambda p, s: s.bind((LOCAL, 0)),
    "bind-any": lambda p, s: s.bind(("", 0)),
    "bind-foreign": lambda p, s: s.bind(("192.0.2.1", 0)),
    "listen": lambda p, s: listener_of(s),
    "listen-negative": lambda p, s: s.listen(-1),
    "accept": accept,
    "connect": lambda p, s: s.connect(REFUSING),
    "connect_ex": lambda p, s: s.connect_ex(REFUSING),
    "connect-listener": lambda p, s: s.connect(p.listener().getsockname()),
    "connect-broadcast": lambda p, s: s.connect_ex(("255.255.255.255", 1)),
    "connect-other-family": lambda p, s: s.connect(("::1", 1, 0, 0)),
    "connect-twice": lambda p, s: (s.connect_ex(REFUSING), s.connect_ex(REFUSING)),
    "recv": lambda p, s: s.recv(5),
    "recv-0": lambda p, s: s.recv(0),
    "recv-negative": lambda p, s: s.recv(-1),
    "recv-peek": lambda p, s: (s.recv(5, socket.MSG_PEEK), s.recv(5, socket.MSG_PEEK)),
    "recv-dontwait": lambda p, s: s.recv(5, socket.MSG_DONTWAIT),
    "recv-waitall": lambda p, s: s.recv(20, socket.MSG_WAITALL),
    "recv-trunc": lambda p, s: len(s.recv(5, socket.MSG_TRUNC)),  # no byte of it is written
    "recv-oob": lambda p, s: s.recv(5, socket.MSG_OOB),
    "recv-all": lambda p, s: (s.recv(99), s.recv(99)),
    "recv_into": lambda p, s: s.recv_into(bytearray(5)),
    "recv_into-less": lambda p, s: s.recv_into(bytearray(5), 3),
    "recv_into-empty": lambda p, s: s.recv_into(bytearray()),
    "recvfrom": lambda p, s: s.recvfrom(5),
    "recvfrom-0": lambda p, s: s.recvfrom(0),
    "recvfrom_into": lambda p, s: s.recvfrom_into(bytearray(5)),
    "recvmsg": lambda p, s: s.recvmsg(5, 100),
    "recvmsg-0": lambda p, s: s.recvmsg(0),
    "recvmsg_into": lambda p, s: s.recvmsg_into([bytearray(2), bytearray(4)]),
    "recvmsg_into-nothing": lambda p, s: s.recvmsg_into([]),
    "send": lambda p, s: s.send(b"abc"),
    "send-nothing": lambda p, s: s.send(b""),
    "send-twice": lambda p, s: (s.send(b"abc"), p.settle(), s.send(b"abc")),
    "send-nosignal": lambda p, s: s.send(b"abc", socket.MSG_NOSIGNAL),
    "send-more": lambda p, s: s.send(b"abc", socket.MSG_MORE),
    "send-oob": lambda p, s: s.send(b"abc", socket.MSG_OOB),
    "send-dontwait": lambda p, s: s.send(b"abc", socket.MSG_DONTWAIT),
    "sendall": lambda p, s: s.sendall(b"abc"),
    "sendall-nothing": lambda p, s: s.sendall(b""),
    "sendto": lambda p, s: s.sendto(b"abc", (LOCAL, 9)),
    "sendto-port-0": lambda p, s: s.sendto(b"abc", (LOCAL, 0)),
    "sendmsg": lambda p, s: s.sendmsg([b"a", b"", b"bc"]),
    "sendmsg-nothing": lambda p, s: s.sendmsg([]),
    "sendmsg-to": lambda p, s: s.sendmsg([b"abc"], [], 0, (LOCAL, 9)),
    "sendfile": lambda p, s: s.sendfile(io.BytesIO(b"abc")),
    "shutdown-read": lambda p, s: s.shutdown(socket.SHUT_RD),
    "shutdown-write": lambda p, s: s.shutdown(socket.SHUT_WR),
    "shutdown": lambda p, s: s.shutdown(socket.SHUT_RDWR),
    "shutdown-twice": lambda p, s: p.tries(*[lambda: s.shutdown(socket.SHUT_RDWR)] * 2),
    "shutdown-unknown": lambda p, s: s.shutdown(5),
    "close": lambda p, s: (s.close(), s.fileno()),
    "close-twice": lambda p, s: (s.close(), s.close()),
    "detach": lambda p, s: (p.keep(p.module.socket(fileno=s.detach())).family, s.fileno()),
    "dup": lambda p, s: p.keep(s.dup()).gettimeout(),
    "getpeername": lambda p, s: host(s.getpeername()),
    "getsockname": lambda p, s: host(s.getsockname()),
    "fileno": lambda p, s: s.fileno() > 0,
    "gettimeout": lambda p, s: (s.gettimeout(), s.timeout, s.getblocking()),
    "settimeout": lambda p, s: (s.settimeout(3), s.gettimeout()),
    "setblocking": lambda p, s: (s.setblocking(True), s.gettimeout()),
    "attributes": lambda p, s: (s.family, s.type, s.proto),
    "inheritable": lambda p, s: s.get_inheritable(),
    "set-inheritable": lambda p, s: (s.set_inheritable(True), s.get_inheritable()),
    "makefile": lambda p, s: p.keep(s.makefile("rb")).read(3),
    "makefile-write": lambda p, s: p.keep(s.makefile("wb")).write(b"abc"),
    "makefile-after-close": lambda p, s: (p.keep(s.makefile("rb")), s.close(), s.fileno() > 0),
    "with": lambda p, s: s.__enter__() is s,
    "exit": lambda p, s: (s.__exit__(None, None, None), s.fileno()),
    "pickle": lambda p, s: pickle.dumps(s),
    "copy": lambda p, s: copy.copy(s),
    "select": lambda p, s: readiness(s),
    "SO_ERROR": lambda p, s: p.tries(*[lambda: s.getsockopt(1, socket.SO_ERROR)] * 2),
    "SO_TYPE": lambda p, s: s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
    "SO_DOMAIN": lambda p, s: s.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN),
    "SO_PROTOCOL": lambda p, s: s.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL),
    "SO_ACCEPTCONN": lambda p, s: s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
    "SO_REUSEADDR": lambda p, s: (s.setsockopt(1, socket.SO_REUSEADDR, 1), s.getsockopt(1, 2)),
    "TCP_NODELAY": lambda p, s: (s.setsockopt(6, socket.TCP_NODELAY, 1), s.getsockopt(6, 1)),
    "IP_TTL": lambda p, s: (s.setsockopt(0, socket.IP_TTL, 9), s.getsockopt(0, socket.IP_TTL)),
    "IPV6_V6ONLY": lambda p, s: s.setsockopt(41, socket.IPV6_V6ONLY, 1),
    "unknown-option": lambda p, s: s.getsockopt(socket.SOL_SOCKET, 9999),
    "unknown-level": lambda p, s: s.getsockopt(9999, 1),
    "bool": lambda p, s: (bool(s), s == s, hash(s) == hash(s), s.__class__.__name__),  # noqa: PLR0124
}
# Those of which the peer hears.
HEARD = {
    "send", "send-nothing", "send-oob", "sendall", "sendto", "sendmsg", "sendfile", "shutdown",
    "shutdown-read", "shutdown-write", "close", "recv-all",
}  # fmt: skip


def with_echo(name: str) -> Callable[[Place, Ends], Any]:
    call = SOCKET_CALLS[name]

    def go(p: Place, ends: Ends) -> Any:
        came = p.tried(call, p, ends.near)
        return (came, heard(ends)) if name in HEARD else came

    return go


CALLS = {name: with_echo(name) for name in SOCKET_CALLS}


# Each kind of state; the others differ from one of these in what the peer did before.
QUICK = ("fresh", "bound", "listening_without_waiting", "listener_shut", "without_waiting",
         "refused", "disconnected", "with_data", "peer_shut", "shut_writing", "peer_reset",
         "closed")  # fmt: skip


@pytest.mark.parametrize("state", representatives(STATES, QUICK))
def test_each_call(state: str) -> None:
    compare_table(state, STATES[state], CALLS)
