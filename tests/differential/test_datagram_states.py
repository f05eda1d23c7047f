"""Every method of a UDP socket in every state that it can be in."""

from __future__ import annotations

import copy
import io
import pickle
import select
import socket
from collections.abc import Callable
from typing import Any

import pytest
from differential import LOCAL, LOCAL6, MAPPED, Place, compare_table
from quick import representatives


class Ends:
    """The socket that is looked at, and another one."""

    def __init__(self, near: Any, far: Any) -> None:
        self.near, self.far = near, far


# --- states -----------------------------------------------------------------------------------


def udp_fresh(p: Place) -> Ends:
    near = p.socket(socket.AF_INET, socket.SOCK_DGRAM)
    near.settimeout(p.patience_s)
    return Ends(near, p.udp())


def udp_fresh6(p: Place) -> Ends:
    near = p.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    near.settimeout(p.patience_s)
    return Ends(near, p.udp(LOCAL6))


def udp_bound(p: Place) -> Ends:
    return Ends(p.udp(), p.udp())


def udp_bound_without_waiting(p: Place) -> Ends:
    ends = udp_bound(p)
    ends.near.setblocking(False)
    return ends


def udp_connected(p: Place) -> Ends:
    far = p.udp()
    return Ends(p.udp(connect=far), far)


def udp_connected6(p: Place) -> Ends:
    far = p.udp(LOCAL6)
    return Ends(p.udp(LOCAL6, connect=far), far)


def udp_mapped(p: Place) -> Ends:
    far, near = p.udp(), p.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    near.settimeout(p.patience_s)
    near.bind((MAPPED, 0))
    near.connect((MAPPED, far.getsockname()[1]))
    return Ends(near, far)


def udp_with_one(p: Place) -> Ends:
    ends = udp_bound(p)
    ends.far.sendto(b"hello world", ends.near.getsockname())
    p.settle()
    return ends


def udp_with_an_empty_one(p: Place) -> Ends:
    ends = udp_bound(p)
    ends.far.sendto(b"", ends.near.getsockname())
    p.settle()
    return ends


def udp_connected_with_one(p: Place) -> Ends:
    ends = udp_connected(p)
    ends.far.sendto(b"hello world", ends.near.getsockname())
    p.settle()
    return ends


def udp_refused(p: Place) -> Ends:
    ends = udp_connected(p)
    ends.far.close()
    ends.near.send(b"x")
    p.settle()
    return ends


def udp_shut_reading(p: Place) -> Ends:
    ends = udp_connected(p)
    ends.near.shutdown(socket.SHUT_RD)
    return ends


def udp_shut_writing(p: Place) -> Ends:
    ends = udp_connected(p)
    ends.near.shutdown(socket.SHUT_WR)
    return ends


def udp_shut_both(p: Place) -> Ends:
    ends = udp_connected(p)
    ends.near.shutdown(socket.SHUT_RDWR)
    return ends


def udp_closed(p: Place) -> Ends:
    ends = udp_connected(p)
    ends.near.close()
    return ends


STATES: dict[str, Callable[[Place], Ends]] = {
    one.__name__: one
    for one in (
        udp_fresh, udp_fresh6, udp_bound, udp_bound_without_waiting, udp_connected,
        udp_connected6, udp_mapped, udp_with_one, udp_with_an_empty_one, udp_connected_with_one,
        udp_refused, udp_shut_reading, udp_shut_writing, udp_shut_both, udp_closed,
    )
}  # fmt: skip

# --- calls ------------------------------------------------------------------------------------


def there(ends: Ends) -> Any:
    """The other's address, as the socket that is looked at has it."""
    address = ends.far.getsockname()
    mapped = ends.near.family == socket.AF_INET6 and ends.far.family == socket.AF_INET
    return (MAPPED, address[1], 0, 0) if mapped else address


def host(address: Any) -> Any:
    return address and (address[0], *address[2:])


def received(ends: Ends) -> Any:
    data, where = ends.far.recvfrom(99999)
    return len(data), data[:20], where[0]


def recvfrom(ends: Ends, *arguments: Any) -> Any:
    data, where = ends.near.recvfrom(*arguments)
    return data, host(where)


def recvmsg(ends: Ends, *arguments: Any) -> Any:
    data, ancillary, flags, where = ends.near.recvmsg(*arguments)
    return data, ancillary, flags, host(where)


def recvmsg_into(ends: Ends, buffers: list[bytearray], *arguments: Any) -> Any:
    got, ancillary, flags, where = ends.near.recvmsg_into(buffers, *arguments)
    return got, buffers, ancillary, flags, host(where)


def readiness(s: Any) -> Any:
    return [len(one) for one in select.select([s], [s], [s], 0)]


CALLS: dict[str, Callable[[Place, Ends], Any]] = {
    "bind": lambda p, e: e.near.bind((LOCAL, 0)),
    "bind-foreign": lambda p, e: e.near.bind(("192.0.2.1", 0)),
    "listen": lambda p, e: e.near.listen(),
    "accept": lambda p, e: e.near.accept(),
    "connect": lambda p, e: (e.near.connect(there(e)), host(e.near.getpeername())),
    "connect-again": lambda p, e: (
        e.near.connect(there(e)), e.near.connect(there(e)), e.near.send(b"x"), received(e),
    ),
    "connect_ex": lambda p, e: e.near.connect_ex(there(e)),
    "connect-broadcast": lambda p, e: e.near.connect_ex(("255.255.255.255", 1)),
    "connect-other-family": lambda p, e: e.near.connect(("::1", 1, 0, 0)),
    "recv": lambda p, e: e.near.recv(99),
    "recv-0": lambda p, e: (e.near.recv(0), e.near.recv(99)),
    "recv-short": lambda p, e: (e.near.recv(3), e.near.recv(99)),
    "recv-negative": lambda p, e: e.near.recv(-1),
    "recv-peek": lambda p, e: (e.near.recv(3, socket.MSG_PEEK), e.near.recv(99)),
    "recv-trunc": lambda p, e: e.near.recv_into(bytearray(3), 3, socket.MSG_TRUNC),
    "recv-dontwait": lambda p, e: e.near.recv(99, socket.MSG_DONTWAIT),
    "recv-waitall": lambda p, e: e.near.recv(99, socket.MSG_WAITALL),
    "recv-oob": lambda p, e: e.near.recv(99, socket.MSG_OOB),
    "recv_into": lambda p, e: e.near.recv_into(bytearray(5)),
    "recv_into-empty": lambda p, e: (e.near.recv_into(bytearray()), e.near.recv(99)),
    "recvfrom": lambda p, e: recvfrom(e, 99),
    "recvfrom-0": lambda p, e: p.tries(lambda: recvfrom(e, 0), lambda: recvfrom(e, 99)),
    "recvfrom_into": lambda p, e: host(e.near.recvfrom_into(bytearray(5))[1]),
    "recvfrom_into-empty": lambda p, e: p.tries(
        lambda: e.near.recvfrom_into(bytearray())[0], lambda: e.near.recv(99)
    ),
    "recvmsg": lambda p, e: recvmsg(e, 99, 99),
    "recvmsg-short": lambda p, e: recvmsg(e, 3, 0),
    "recvmsg-0": lambda p, e: p.tries(lambda: recvmsg(e, 0), lambda: e.near.recv(99)),
    "recvmsg-trunc": lambda p, e: recvmsg(e, 3, 0, socket.MSG_TRUNC),
    "recvmsg-peek": lambda p, e: (recvmsg(e, 3, 0, socket.MSG_PEEK), e.near.recv(99)),
    "recvmsg_into": lambda p, e: recvmsg_into(e, [bytearray(2), bytearray(), bytearray(4)]),
    "recvmsg_into-nothing": lambda p, e: recvmsg_into(e, []),
    "send": lambda p, e: (e.near.send(b"abc"), received(e)),
    "send-nothing": lambda p, e: (e.near.send(b""), received(e)),
    "send-large": lambda p, e: (e.near.send(bytes(65507)), received(e)),
    "send-too-large": lambda p, e: e.near.send(bytes(65508)),
    "send-much-too-large": lambda p, e: e.near.send(bytes(200_000)),
    "send-more": lambda p, e: (
        e.near.send(b"ab", socket.MSG_MORE), e.near.send(b"c"), received(e),
    ),
    "send-oob": lambda p, e: e.near.send(b"abc", socket.MSG_OOB),
    "send-twice": lambda p, e: p.tries(
        lambda: e.near.send(b"a"), p.settle, lambda: e.near.send(b"b"), lambda: e.near.send(b"c")
    ),
    "sendall": lambda p, e: (e.near.sendall(b"abc"), received(e)),
    "sendall-nothing": lambda p, e: (e.near.sendall(b""), received(e)),
    "sendall-too-large": lambda p, e: e.near.sendall(bytes(70_000)),
    "sendto": lambda p, e: (e.near.sendto(b"abc", there(e)), received(e)),
    "sendto-flags": lambda p, e: (
        e.near.sendto(b"abc", socket.MSG_DONTWAIT, there(e)), received(e),
    ),
    "sendto-nothing": lambda p, e: (e.near.sendto(b"", there(e)), received(e)),
    "sendto-port-0": lambda p, e: e.near.sendto(b"abc", (there(e)[0], 0)),
    "sendto-any": lambda p, e: (e.near.sendto(b"abc", ("", there(e)[1])), received(e)),
    "sendto-broadcast": lambda p, e: e.near.sendto(b"abc", ("255.255.255.255", 9)),
    "sendto-nobody": lambda p, e: p.tries(
        lambda: e.near.sendto(b"abc", (there(e)[0], 9)), p.settle, lambda: e.near.recv(99)
    ),
    "sendto-too-large": lambda p, e: e.near.sendto(bytes(65508), there(e)),
    "sendto-other-family": lambda p, e: e.near.sendto(b"abc", ("::1", 9)),
    "sendmsg": lambda p, e: (e.near.sendmsg([b"a", b"", b"bc"]), received(e)),
    "sendmsg-to": lambda p, e: (e.near.sendmsg([b"abc"], [], 0, there(e)), received(e)),
    "sendmsg-nothing": lambda p, e: (e.near.sendmsg([], [], 0, there(e)), received(e)),
    "sendmsg-many": lambda p, e: (e.near.sendmsg([b"a"] * 1000, [], 0, there(e)), received(e)),
    "sendmsg-too-many": lambda p, e: e.near.sendmsg([b"a"] * 1025, [], 0, there(e)),
    "sendfile": lambda p, e: e.near.sendfile(io.BytesIO(b"abc")),
    "shutdown-read": lambda p, e: e.near.shutdown(socket.SHUT_RD),
    "shutdown-write": lambda p, e: e.near.shutdown(socket.SHUT_WR),
    "shutdown": lambda p, e: p.tries(*[lambda: e.near.shutdown(socket.SHUT_RDWR)] * 2),
    "close": lambda p, e: (e.near.close(), e.near.fileno()),
    "detach": lambda p, e: p.keep(p.module.socket(fileno=e.near.detach())).type,
    "dup": lambda p, e: p.keep(e.near.dup()).gettimeout(),
    "getpeername": lambda p, e: host(e.near.getpeername()),
    "getsockname": lambda p, e: host(e.near.getsockname()),
    "attributes": lambda p, e: (e.near.family, e.near.type, e.near.proto, e.near.gettimeout()),
    "makefile": lambda p, e: p.keep(e.near.makefile("rb")).read(3),
    "pickle": lambda p, e: pickle.dumps(e.near),
    "copy": lambda p, e: copy.copy(e.near),
    "select": lambda p, e: readiness(e.near),
    "SO_ERROR": lambda p, e: p.tries(*[lambda: e.near.getsockopt(1, socket.SO_ERROR)] * 2),
    "SO_TYPE": lambda p, e: e.near.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
    "SO_PROTOCOL": lambda p, e: e.near.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL),
    "TCP_NODELAY": lambda p, e: e.near.setsockopt(6, socket.TCP_NODELAY, 1),
    "TCP_NODELAY-get": lambda p, e: e.near.getsockopt(6, socket.TCP_NODELAY),
    "SO_BROADCAST": lambda p, e: (e.near.setsockopt(1, 6, 1), e.near.getsockopt(1, 6)),
    "unknown-option": lambda p, e: e.near.getsockopt(socket.SOL_SOCKET, 9999),
    "unknown-level": lambda p, e: e.near.getsockopt(9999, 1),
    "unknown-level-set": lambda p, e: e.near.setsockopt(9999, 1, 1),
}  # fmt: skip


QUICK = ("udp_fresh6", "udp_bound_without_waiting", "udp_with_one", "udp_refused", "udp_closed")


@pytest.mark.parametrize("state", representatives(STATES, QUICK))
def test_each_call(state: str) -> None:
    compare_table(state, STATES[state], CALLS)
