"""What somebody says of a socket: the family and type of a descriptor, odd interfaces."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

from differential import LOCAL, Place, differential

UNKNOWN = 99
FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, UNKNOWN)
TYPES = (socket.SOCK_STREAM, socket.SOCK_DGRAM, 77)


def under_each_name(p: Place, fd: int) -> Iterator[Any]:
    for family in FAMILIES:
        for kind in TYPES:
            yield p.keep(p.module.fromfd(fd, family, kind))


def of_each(p: Place, one: Any, *calls: Callable[[Any], Any]) -> list[Any]:
    """What calls come to on the same socket under each name."""
    return [
        [p.tried(call, adopted) for call in calls] for adopted in under_each_name(p, one.fileno())
    ]


@differential
def what_is_said_is_shown(p: Place) -> Any:
    return [
        (int(one.family), int(one.type), one.proto, "laddr" in repr(one))
        for one in under_each_name(p, p.listener().fileno())
    ]


@differential
def a_listener_has_the_address_of_its_real_family(p: Place) -> Any:
    def host(one: Any) -> str:
        return str(one.getsockname()[0])

    return of_each(p, p.listener(), host, lambda one: one.getpeername())


@differential
def a_connection_under_each_name(p: Place) -> Any:
    near, far = p.pair()
    outcomes = []
    for one in under_each_name(p, near.fileno()):
        one.settimeout(1)
        far.sendall(b"in")
        got = p.tried(one.recv, 2)
        one.sendall(b"out")
        names = [
            p.tried(lambda call=call: call()[0])  # type: ignore[misc]
            for call in (one.getsockname, one.getpeername)
        ]
        kind = one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        outcomes.append((got, far.recv(3), names, kind))
    return outcomes


@differential
def a_datagram_under_each_name(p: Place) -> Any:
    near, far = p.udp(), p.udp()
    outcomes = []
    for one in under_each_name(p, near.fileno()):
        if one.family == UNKNOWN:
            continue
        one.settimeout(1)
        far.sendto(b"datagram", near.getsockname())
        data, sender = one.recvfrom(4)
        outcomes.append((data, sender == far.getsockname()))
    return outcomes


@differential
def a_connection_accepted_under_each_name(p: Place) -> Any:
    outcomes = []
    for family in FAMILIES[:3]:
        for kind in TYPES:
            listener = p.listener()
            near = p.socket()
            near.connect(listener.getsockname())
            adopted = p.keep(p.module.fromfd(listener.fileno(), family, kind))
            adopted.settimeout(1)
            far, peer = adopted.accept()
            p.keep(far).sendall(b"there")
            same = peer == near.getsockname(), far.getsockname() == near.getpeername()
            outcomes.append((int(far.family), int(far.type), same, near.recv(9)))
    return outcomes


@differential
def addresses_of_another_family(p: Place) -> Any:
    return [
        of_each(p, p.socket(), lambda one, call=call, where=where: getattr(one, call)(where))
        for call in ("bind", "connect_ex")
        for where in ("short", "as/long/as/one/of/ip", b"as/long/as/one/of/ip", 7, ("::1", 1))
    ]


@differential
def a_copy_of_one_keeps_what_was_said(p: Place) -> Any:
    adopted = p.keep(p.module.fromfd(p.listener().fileno(), socket.AF_UNIX, 77))
    copy = p.keep(adopted.dup())
    return int(copy.family), int(copy.type), copy.getsockname()[0] == LOCAL


PKTINFO, PKTINFO6, MARK = (socket.IPPROTO_IP, 8), (socket.IPPROTO_IPV6, 50), (socket.SOL_SOCKET, 36)


@differential
def ancillary_data_with_odd_interfaces(p: Place) -> Any:
    four, six = p.udp(), p.udp("::1")

    def send(one: Any, key: tuple[int, int], data: bytes) -> Any:
        return p.tried(one.sendmsg, [b"x"], [(*key, data)], 0, one.getsockname())

    return (
        [
            send(four, PKTINFO, struct.pack("i8x", index))
            for index in (-(1 << 31), -1, 0, 1, 99, (1 << 31) - 1)
        ],
        [
            send(six, PKTINFO6, struct.pack("16xI", index))
            for index in (0, 1, 99, 1 << 31, (1 << 32) - 1)
        ],
        [send(four, MARK, data) for data in (b"", bytes(3), bytes(4), bytes(8))],
    )


@differential
def memberships_of_odd_interfaces(p: Place) -> Any:
    one = p.udp()
    group = socket.inet_aton("239.1.2.3")
    return [
        p.tried(
            one.setsockopt, socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
            group + struct.pack("4xi", index),
        )
        for index in (-(1 << 31), -1, 99, (1 << 31) - 1)
    ]  # fmt: skip


@differential
def leaving_by_an_absent_address(p: Place) -> Any:
    group = socket.inet_aton("239.1.2.3") + socket.inet_aton("10.1.1.1")
    one = p.udp()
    return [
        p.tried(one.setsockopt, socket.IPPROTO_IP, option, group)
        for option in (socket.IP_ADD_MEMBERSHIP, socket.IP_DROP_MEMBERSHIP)
    ]


@differential
def scopes_that_fit_nowhere(p: Place) -> Any:
    return [
        p.tried(p.socket(socket.AF_INET6, socket.SOCK_DGRAM).bind, (f"fe80::1%{scope}", 5))
        for scope in (1 << 32, 99999999999)
    ]
