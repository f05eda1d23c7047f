"""Interfaces that are named by index, present or not: options, scopes and ancillary data."""

from __future__ import annotations

import errno
import itertools
import socket
import struct
from typing import Any

import place
import pytest
from compare import outcome
from differential import LOCAL, LOCAL6, MAPPED, Place, differential, needs_root
from namespace import needs_namespace

import pystack

SOL, IP, IPV6 = socket.SOL_SOCKET, 0, 41
TO_DEVICE, TO_INDEX = 25, 62
PKTINFO, PKTINFO6, HOPLIMIT6, TCLASS6 = 8, 50, 52, 67
ABSENT = 77
INT_MAX = (1 << 31) - 1

KINDS = {
    "tcp4": (socket.AF_INET, socket.SOCK_STREAM),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM),
    "udp4": (socket.AF_INET, socket.SOCK_DGRAM),
    "udp6": (socket.AF_INET6, socket.SOCK_DGRAM),
}
INDICES = (
    0, 1, ABSENT, 255, 256, 257, INT_MAX, -1, -INT_MAX - 1, INT_MAX + 1, 1 << 32, 1 << 63, True,
    b"", b"\1", struct.pack("i", ABSENT), struct.pack("i", -5), struct.pack("q", 1), None, 1.5, "1",
)  # fmt: skip
NAMES = (
    b"lo", b"lo\0x", b"lo" + bytes(40), b"", b"\0", b"absent", b"absent\0", b"a" * 15, b"a" * 40,
    b"\xff\xfe", "lo", bytearray(b"lo"), 0, 1, -1, INT_MAX, INT_MAX + 1,
)  # fmt: skip


def pktinfo(address: str, index: int) -> tuple[int, int, bytes]:
    return IP, PKTINFO, struct.pack("i4s4s", index, socket.inet_aton(address), bytes(4))


def pktinfo6(address: str, index: int) -> tuple[int, int, bytes]:
    packed = socket.inet_pton(socket.AF_INET6, address)
    return IPV6, PKTINFO6, struct.pack("16sI", packed, index & 0xFFFFFFFF)


def bound_to(place: Place, option: int, values: tuple[Any, ...]) -> dict[str, Any]:
    found = {}
    for (name, kind), value in itertools.product(KINDS.items(), values):
        sock = place.socket(*kind)
        found[f"{name} {value!r}"] = place.tries(
            lambda sock=sock, value=value: sock.setsockopt(SOL, option, value),
            lambda sock=sock: sock.getsockopt(SOL, TO_INDEX),
            lambda sock=sock: sock.getsockopt(SOL, TO_DEVICE, 32),
        )
    return found


@differential
def bound_to_an_index(place: Place) -> Any:
    return bound_to(place, TO_INDEX, INDICES)


@differential
def bound_to_a_name(place: Place) -> Any:
    return bound_to(place, TO_DEVICE, NAMES)


@differential
def room_for_a_name(place: Place) -> Any:
    sock = place.socket()
    sock.setsockopt(SOL, TO_DEVICE, b"lo")
    return [place.tried(sock.getsockopt, SOL, TO_DEVICE, size) for size in (0, 1, 4, 15, 16, 17)]


@differential
def use_of_an_absent_one(place: Place) -> Any:
    """What a socket that is bound to an interface that isn't there still does."""
    found = {}
    for host, kind in itertools.product(
        (LOCAL, LOCAL6, MAPPED), (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    ):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound, connected, sending, listening = (place.socket(family, kind) for _ in range(4))
        for sock in (bound, connected, sending, listening):
            sock.setsockopt(SOL, TO_INDEX, ABSENT)
            sock.settimeout(0.05)
        came = [place.tried(bound.bind, (host, 0)), place.tried(bound.connect, (host, 9))]
        came.append(place.tried(connected.connect, (host, 9)))
        if kind == socket.SOCK_DGRAM:
            came.append(place.tried(sending.sendto, b"x", (host, 9)))
            came.append(place.tried(sending.sendto, b"x", ("ff02::1" if ":" in host else host, 9)))
        else:
            came.append(place.tried(listening.listen))
            far = place.socket(family)
            port = listening.getsockname()[1]
            came.append(place.tried(far.connect, (host, port)))
            listening.setsockopt(SOL, TO_INDEX, 0)
            came.append(place.tried(place.socket(family).connect, (host, port)))
        found[f"{host} {kind.name}"] = came
    return found


DESTINATIONS6 = (
    ("fe80::1", 9, 0, ABSENT), ("fe80::1", 9, 0, 0), ("fe80::1", 9, 0, 1), ("::1", 9, 0, ABSENT),
    ("::1", 9), ("ff02::1", 9, 0, ABSENT), ("2001:db8::1", 9), ("::", 9),
    ("::ffff:127.0.0.1", 9), ("::ffff:127.0.0.1", 9, 0, ABSENT), ("fe80::1", 0, 0, ABSENT),
)  # fmt: skip
SOURCES6 = ("::", "::1", "fe80::1", "2001:db8::5", "::ffff:127.0.0.1", "::ffff:192.0.2.5")
OTHERS = (
    (IPV6, HOPLIMIT6, struct.pack("i", -1)), (IPV6, HOPLIMIT6, struct.pack("i", 256)),
    (IPV6, TCLASS6, struct.pack("i", 300)), (IPV6, PKTINFO6, b"x"), (IPV6, 99, b"xxxx"),
    (IPV6, 62, struct.pack("i", 2)), (IP, 2, struct.pack("i", 300)), (IP, 1, struct.pack("i", 0)),
    (IP, PKTINFO, b"x"), (IP, 99, b"xxxx"), (1, 99, b"xxxx"),
)  # fmt: skip


def each_sent(place: Place, kind: Any, to: Any, *controls: list[Any]) -> list[Any]:
    came = []
    for control in controls:
        sock = place.socket(*kind)
        came.append(place.tried(sock.sendmsg, [b"x"], control, 0, to)[:3])
        sock.close()
    return came


@differential
def source_and_interface6(place: Place) -> Any:
    return {
        f"{to} {source}": each_sent(
            place,
            KINDS["udp6"],
            to,
            *([pktinfo6(source, index)] for index in (0, 1, ABSENT, INT_MAX, -1)),
        )
        for to, source in itertools.product(DESTINATIONS6, SOURCES6)
    }


@differential
def what_is_of_another_version(place: Place) -> Any:
    """IPv4's ancillary data to an IPv6 destination, and IPv6's to an IPv4 one."""
    given = [pktinfo(*one) for one in itertools.product((LOCAL, "192.0.2.5"), (0, ABSENT, -1))]
    absent = pktinfo6("::", ABSENT)
    return {
        f"{to}": each_sent(
            place, KINDS["udp6"], to, *([one] for one in (*given, *OTHERS)),
            *([one, absent] for one in (*given, *OTHERS)),
        )
        for to in DESTINATIONS6
    }  # fmt: skip


@differential
def what_is_of_another_version_when_connected(place: Place) -> Any:
    found = {}
    for host in (LOCAL6, MAPPED):
        sock = place.socket(*KINDS["udp6"])
        sock.connect((host, 9))
        for control in ([pktinfo(LOCAL, 0)], [pktinfo6("::", 0)], *([one] for one in OTHERS)):
            found[f"{host} {control}"] = place.tried(sock.sendmsg, [b"x"], control)[:2]
            sock.connect((host, 9))  # what ICMP said of the one before is forgotten
    return found


@differential
def source_and_interface(place: Place) -> Any:
    indices = (0, ABSENT, -1, INT_MAX, -INT_MAX - 1)
    return {
        f"{to} {source}": each_sent(
            place, KINDS["udp4"], (to, 9), *([pktinfo(source, index)] for index in indices)
        )
        for to, source in itertools.product(
            (LOCAL, "192.0.2.1", "224.0.0.1"), ("0.0.0.0", LOCAL, "192.0.2.5", "224.0.0.5")
        )
    }


@differential
def other_interface_than_the_one_bound_to(place: Place) -> Any:
    found = {}
    for bound, index in itertools.product((0, 1, ABSENT), (0, 1, ABSENT, ABSENT + 1)):
        for kind, to, control in (
            ("udp4", (LOCAL, 9), pktinfo("0.0.0.0", index)),
            ("udp6", (LOCAL6, 9), pktinfo6("::", index)),
            ("udp6", (MAPPED, 9), pktinfo6("::ffff:0.0.0.0", index)),
        ):
            sock = place.socket(*KINDS[kind])
            sock.setsockopt(SOL, TO_INDEX, bound)
            found[f"{bound} {index} {to}"] = place.tried(sock.sendmsg, [b"x"], [control], 0, to)[:3]
    return found


@needs_root
@differential
def raw_source_and_interface6(place: Place) -> Any:
    return {
        f"{to} {source}": each_sent(
            place,
            (socket.AF_INET6, socket.SOCK_RAW, 253),
            (to[0], 0, *to[2:]),
            *([pktinfo6(source, index)] for index in (0, 1, ABSENT)),
        )
        for to, source in itertools.product(DESTINATIONS6[:7], SOURCES6)
    }


@differential
def nowhere_to_go(place: Place) -> Any:
    """A host with its loopback alone."""
    found = {}
    for (name, kind), scope in itertools.product(KINDS.items(), (0, ABSENT)):
        to = ("2001:db8::1", 9, 0, scope) if kind[0] == socket.AF_INET6 else ("192.0.2.1", 9)
        sock, sending = place.socket(*kind), place.socket(*kind)
        sock.settimeout(0.3)
        found[f"{name} {scope}"] = [place.tried(sock.connect, to)]
        if kind[1] == socket.SOCK_DGRAM:
            found[f"{name} {scope}"].append(place.tried(sending.sendto, b"x", to))
    return found


@differential
def by_the_loopback_to_another_host(place: Place) -> Any:
    found = {}
    for name, kind in KINDS.items():
        if kind[0] == socket.AF_INET6:
            continue
        sock, sending = place.socket(*kind), place.socket(*kind)
        sock.settimeout(0.3)
        for one in (sock, sending):
            one.setsockopt(SOL, TO_DEVICE, b"lo")
        found[name] = [place.tried(sock.connect, ("192.0.2.1", 9))]
        if kind[1] == socket.SOCK_DGRAM:
            found[name].append(place.tried(sending.sendto, b"x", ("192.0.2.1", 9)))
    return found


def test_a_loopback_alone_leads_nowhere() -> None:
    with pystack.Stack() as net, net.socket(socket.AF_INET6) as sock:
        sock.settimeout(1)
        with pytest.raises(OSError, match="unreachable") as raised:
            sock.connect(("2001:db8::1", 9))
        assert raised.value.errno == errno.ENETUNREACH


# --- on a link --------------------------------------------------------------------------------

OURS, PEER = place.OURS, place.PEER
NOWHERE = {socket.AF_INET: "203.0.113.9", socket.AF_INET6: "2001:db8::9"}
LOOPBACK = {socket.AF_INET: LOCAL, socket.AF_INET6: LOCAL6}


def bound_and_connected(module: Any, link: int, family: int) -> dict[str, Any]:
    """What a source address and an interface that are bound to lead to.

    Without what Linux lets vanish: IPv4 by the loopback to others, ::1 to a host on a link.
    """
    found = {}
    for kind, to, source, device in itertools.product(
        (socket.SOCK_STREAM, socket.SOCK_DGRAM),
        (OURS[family], PEER[family], NOWHERE[family]),
        (None, LOOPBACK[family], OURS[family]),
        (0, link),
    ):
        if family == socket.AF_INET6 and to == PEER[family] and source == LOCAL6 and not device:
            continue
        with module.socket(family, kind) as sock:
            sock.setblocking(False)
            sock.setsockopt(SOL, TO_INDEX, device)
            bound = outcome(sock.bind, (source, 0)) if source else None
            came = outcome(sock.connect, (to, 9))
            name = f"{kind.name} {to} from {source} by {bool(device)}"
            found[name] = bound, came, sock.getsockname()[0]
    return found


def sent_by_a_scope(module: Any, link: int, family: int) -> dict[str, Any]:
    found = {}
    names = {0: "any", link: "the link", ABSENT: "an absent one"}
    for to, scope, device, source, index in itertools.product(
        ("fe80::9", "fd09::2", "fd09::1", "2001:db8::9", "::1"),
        (0, link, ABSENT), (0, link), ("::", "::1", "fd09::1", "fd09::2"), (0, link, ABSENT),
    ):  # fmt: skip
        if to in ("fd09::2", "fe80::9") and source == "::1":
            continue  # Linux lets it vanish
        with module.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(SOL, TO_INDEX, device)
            control = [pktinfo6(source, index)]
            name = f"{to}%{names[scope]} by {names[device]} from {source}%{names[index]}"
            found[name] = outcome(sock.sendmsg, [b"x"], control, 0, (to, 9, 0, scope))
    return found


def broadcast(module: Any, _link: int, family: int) -> dict[str, Any]:
    """To all on a link without addresses of the link layer: leave is needed there, too."""
    found = {}
    for to, leave in itertools.product(("10.9.0.255", "10.9.0.0", "10.9.255.255"), (0, 1)):
        with module.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(SOL, socket.SO_BROADCAST, leave)
            found[f"{to} {leave}"] = [
                outcome(sock.sendto, b"x", (to, 9)),
                outcome(sock.connect, (to, 9)),
                outcome(sock.send, b"x"),
            ]
        with module.socket(family) as sock:
            sock.setsockopt(SOL, socket.SO_BROADCAST, leave)
            sock.setblocking(False)
            found[f"{to} {leave} stream"] = [outcome(sock.connect, (to, 9))]
    return found


@needs_namespace
@pytest.mark.parametrize(
    ("tried", "family"),
    [
        (broadcast, socket.AF_INET),
        (bound_and_connected, socket.AF_INET),
        (bound_and_connected, socket.AF_INET6),
        (sent_by_a_scope, socket.AF_INET6),
    ],
)
def test_on_a_link(tried: Any, family: int) -> None:
    with place.kernels() as kernel, place.stacks() as stack:
        link = kernel.run(socket.if_nametoindex, "h0")
        kernels = kernel.run(tried, socket, link, family)
        link = stack.module.if_nametoindex(
            next(name for _, name in stack.module.if_nameindex() if name != "lo")
        )
        stacks = tried(stack.module, link, family)
    assert {name: stacks[name] for name in stacks if stacks[name] != kernels.get(name)} == {}
