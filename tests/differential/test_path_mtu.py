"""How large datagrams may be, and who may cut them, beside the kernel: IP_MTU_DISCOVER,
IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_DONTFRAG and the reports of routers, by what is on the wire.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from compare import agree, outcome
from declared import ENGINE, of_engine
from namespace import needs_namespace
from place import MTU, OURS, PEER, Place, checksum, kernels, stacks

pytestmark = needs_namespace

PORT = 5000
IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
IP_MTU_DISCOVER, IP_MTU, IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_DONTFRAG = 10, 14, 23, 24, 62
IPV6_PATHMTU = 61
MODES = range(6)
FAMILIES = pytest.mark.parametrize(
    "family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"]
)


@pytest.fixture
def places() -> Iterator[tuple[Place, Place]]:
    with kernels() as kernel, stacks() as stack:
        yield kernel, stack


def compare(places: tuple[Place, Place], function: Callable[..., Any], *arguments: Any) -> Any:
    kernel, stack = places
    return agree(
        lambda: kernel.run(function, kernel, *arguments),
        lambda: stack.run(function, stack, *arguments),
    )


def report(place: Place, sock: Any, family: int, mtu: int, protocol: int = 17) -> None:
    """A router says that a packet of the socket's was too big."""
    ends = socket.inet_pton(family, OURS[family]) + socket.inet_pton(family, PEER[family])
    udp = struct.pack("!4H", sock.getsockname()[1], PORT, 1008, 0) + bytes(20)
    if family == socket.AF_INET6:
        quoted = struct.pack("!IHBB", 0x60000000, 1008, protocol, 64) + ends + udp
        message = struct.pack("!BBHI", 2, 0, 0, mtu) + quoted
        proto = socket.IPPROTO_ICMPV6
    else:
        quoted = struct.pack("!BBHHHBBH", 0x45, 0, 1028, 7, 0x4000, 64, protocol, 0) + ends + udp
        message = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted
        message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
        proto = socket.IPPROTO_ICMP
    with place.module.socket(family, socket.SOCK_RAW, proto) as raw:
        raw.sendto(message, (OURS[family], 0))


def opened(
    place: Place, family: int, mode: int | None = None, kind: Any = socket.SOCK_DGRAM
) -> Any:
    sock = place.module.socket(family, kind)
    sock.bind((OURS[family], 0))
    sock.settimeout(0)
    is_v6 = family == socket.AF_INET6
    if mode is not None:
        sock.setsockopt(*((IPV6, IPV6_MTU_DISCOVER) if is_v6 else (IP, IP_MTU_DISCOVER)), mode)
    sock.setsockopt(*((IPV6, 25) if is_v6 else (IP, 11)), 1)
    return sock


def path_mtu(sock: Any, family: int) -> Any:
    return outcome(
        sock.getsockopt, *((IPV6, IPV6_MTU) if family == socket.AF_INET6 else (IP, IP_MTU))
    )


def errors(sock: Any) -> list[Any]:
    found = []
    while (one := outcome(sock.recvmsg, 3000, 500, socket.MSG_ERRQUEUE))[0] == "returns":
        found.append(one)
    return found


def headers(family: int) -> int:
    return 48 if family == socket.AF_INET6 else 28


def sends(place: Place, sock: Any, family: int, sizes: Any = None) -> list[Any]:
    """What becomes of packets of each size."""
    found = []
    for size in sizes or (40, 100, 552, 553, 1280, 1281, 1300, 1301, MTU, MTU + 1, 3000):
        data = bytes(max(size - headers(family), 0))
        came = outcome(sock.sendto, data, (PEER[family], PORT))
        found.append((size, came, place.packets(), errors(sock)))
    return found


def each_mode(place: Place, family: int, reported: int | None) -> Any:
    found: list[Any] = []
    if reported is not None:
        with opened(place, family) as sock:
            sock.sendto(b"", (PEER[family], PORT))
            report(place, sock, family, reported)
            found.append((errors(sock), outcome(sock.recv, 1)))
    place.packets()
    for mode in MODES:
        with opened(place, family, mode) as sock:
            found.append((mode, path_mtu(sock, family), sends(place, sock, family)))
            sock.connect((PEER[family], PORT))
            found.append(path_mtu(sock, family))
    return found


@FAMILIES
@pytest.mark.parametrize(
    "reported", [None, 1300, 1281, 1280, 1279, 600, 552, 551, 68, 0, 1401, 65535]
)
def test_each_mode(places: tuple[Place, Place], family: int, reported: int | None) -> None:
    compare(places, each_mode, family, reported)


def who_believes(place: Place, family: int) -> Any:
    """The report's own socket: what its mode makes of it, connected or not."""
    found: list[Any] = []
    for mode in MODES:
        for connected in (False, True):
            number = 10 + 2 * mode + connected
            peers = {socket.AF_INET: f"10.9.0.{number}", socket.AF_INET6: f"fd09::{number}"}
            with opened(place, family, mode) as sock, swapped(peers):
                if connected:
                    sock.connect((PEER[family], PORT))
                report(place, sock, family, 1300)
                found.append((mode, connected, outcome(sock.recv, 1), errors(sock)))
                sock.connect((PEER[family], PORT))
                found.append(path_mtu(sock, family))
    return found


@contextmanager
def swapped(peers: dict[Any, str]) -> Iterator[None]:
    before = dict(PEER)
    PEER.update(peers)
    try:
        yield
    finally:
        PEER.update(before)


@FAMILIES
def test_who_believes(places: tuple[Place, Place], family: int) -> None:
    kernel, stack = places
    if ENGINE != "linux":
        compare(places, who_believes, family)
        return
    # Linux 7.2, and 6.12 since one of its stable releases, updates the route of any report about
    # UDP before it looks for the socket (udp_err calls ipv4_update_pmtu, __udp6_lib_err
    # ip6_update_pmtu): the machine's kernel may be older than the engine.
    agree(
        lambda: all_believed(kernel.run(who_believes, kernel, family)),
        lambda: stack.run(who_believes, stack, family),
    )


def all_believed(found: list[Any]) -> list[Any]:
    return [("returns", 1300) if one == ("returns", MTU) else one for one in found]


def to_ourselves(place: Place, family: int) -> Any:
    """It takes no link, and so none's MTU."""
    found = []
    for mode in MODES:
        with opened(place, family, mode) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.settimeout(1)
            for size in (100, MTU - headers(family) + 1, 5000, 60_000):
                came = outcome(sock.sendto, bytes(size), sock.getsockname())
                found.append((mode, came, outcome(lambda: len(sock.recv(70_000)))))
            sock.setsockopt(socket.IPPROTO_UDP, 103, 2000)
            found.append(outcome(sock.sendto, bytes(5000), sock.getsockname()))
            found.append([outcome(lambda: len(sock.recv(70_000))) for _ in range(3)])
    return found


@FAMILIES
def test_to_ourselves(places: tuple[Place, Place], family: int) -> None:
    compare(places, to_ourselves, family)


def options_of_ipv6(place: Place) -> Any:
    found: list[Any] = []
    family = socket.AF_INET6
    for fragment in (0, 1280, 1300, 1500):
        for whole in (0, 1):
            with opened(place, family) as sock:
                sock.setsockopt(IPV6, IPV6_MTU, fragment)
                sock.setsockopt(IPV6, IPV6_DONTFRAG, whole)
                found.append((fragment, whole, sends(place, sock, family)))
                sock.connect((PEER[family], PORT))
                found.append((path_mtu(sock, family), sock.getsockopt(IPV6, IPV6_DONTFRAG)))
                found.append(outcome(sock.getsockopt, IPV6, IPV6_PATHMTU, 64))
    return found


def test_options_of_ipv6(places: tuple[Place, Place]) -> None:
    compare(places, options_of_ipv6)


def dont_fragment_once(place: Place) -> Any:
    """IPV6_DONTFRAG as ancillary data."""
    found = []
    with opened(place, socket.AF_INET6) as sock:
        for whole in (0, 1, 2, -1):
            for on in (0, 1):
                sock.setsockopt(IPV6, IPV6_DONTFRAG, on)
                control = [(IPV6, IPV6_DONTFRAG, struct.pack("i", whole))]
                came = outcome(sock.sendmsg, [bytes(2000)], control, 0, ("fd09::2", PORT))
                found.append((whole, on, came, place.packets()))
    return found


def test_dont_fragment_once(places: tuple[Place, Place]) -> None:
    compare(places, dont_fragment_once)


def with_segments(place: Place, family: int) -> Any:
    """UDP_SEGMENT: pieces that are too long for the path are refused."""
    found = []
    with opened(place, family) as sock:
        sock.connect((PEER[family], PORT))
        report(place, sock, family, 1300)
        so_far = errors(sock), outcome(sock.recv, 1)
        for size in (1300, 1301, MTU, MTU + 1):
            sock.setsockopt(socket.IPPROTO_UDP, 103, size - headers(family))
            found.append((outcome(sock.send, bytes(3000)), place.packets()))
    return so_far, found


def test_with_segments(places: tuple[Place, Place]) -> None:
    compare(places, with_segments, socket.AF_INET6)


def test_with_segments_of_ipv4(places: tuple[Place, Place]) -> None:
    """Linux looks whether all of it together needs cutting, and then sets DF in no piece, which
    lwIP does in each.
    """
    kernel, stack = (place.run(with_segments, place, socket.AF_INET)[1] for place in places)
    assert {flag for _, sent in kernel for _, flag, _ in sent} == {False}
    assert {flag for _, sent in stack for _, flag, _ in sent} == of_engine(
        lwip={True}, linux={False}
    )

    def rest(found: Any) -> Any:
        return [(came, [(length, cut) for length, _, cut in sent]) for came, sent in found]

    assert rest(kernel) == rest(stack)


def raw(place: Place, family: int) -> Any:
    found = []
    for mode in MODES:
        with place.module.socket(family, socket.SOCK_RAW, socket.IPPROTO_UDP) as sock:
            sock.settimeout(0)
            is_v6 = family == socket.AF_INET6
            sock.setsockopt(*((IPV6, IPV6_MTU_DISCOVER) if is_v6 else (IP, IP_MTU_DISCOVER)), mode)
            sock.setsockopt(*((IPV6, 25) if is_v6 else (IP, 11)), 1)
            for size in (100, MTU, MTU + 1, 3000):
                data = bytes(size - headers(family) + 8)
                came = outcome(sock.sendto, data, (PEER[family], 0))
                found.append((size, came, place.packets(), errors(sock)))
    return found


@FAMILIES
def test_raw(places: tuple[Place, Place], family: int) -> None:
    compare(places, raw, family)


def values(place: Place, family: int, kind: int) -> Any:
    found = []
    with place.module.socket(family, kind) as sock:
        for level, option in (
            (IP, IP_MTU_DISCOVER), (IP, IP_MTU), (IPV6, IPV6_MTU_DISCOVER), (IPV6, IPV6_MTU),
            (IPV6, IPV6_DONTFRAG), (IPV6, IPV6_PATHMTU),
        ):  # fmt: skip
            for value in (None, -1, 0, 1, 2, 5, 6, 1279, 1280, 70_000):
                came = None if value is None else outcome(sock.setsockopt, level, option, value)
                found.append((level, option, value, came, outcome(sock.getsockopt, level, option)))
    return found


@FAMILIES
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_values(places: tuple[Place, Place], family: int, kind: int) -> None:
    compare(places, values, family, kind)
