"""Which addresses go together: bound and connected to, of one version and the other, with a scope.

Each pair is tried on the kernel's sockets and on a Stack's, and has to come to the same.
"""

from __future__ import annotations

import socket
import time
from itertools import product
from typing import Any

import pytest
from compare import outcome
from quiet import BOUND_S

import pystack
from pystack.interface import AddressState

STREAM, DATAGRAM, RAW = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
KINDS = (STREAM, DATAGRAM)
NOWHERE = 9  # a port without a listener
BOUND4 = (None, "0.0.0.0", "127.0.0.1", "127.0.0.5")
PEERS4 = ("0.0.0.0", "", "127.0.0.1", "127.0.0.5", "127.255.255.255")
BOUND6 = (None, "::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0")
PEERS6 = ("::1", "::", "", "::ffff:127.0.0.1", "::ffff:0.0.0.0")
NO_LINK = 999
SCOPED = (
    ("fe80::1", NOWHERE), ("fe80::1", NOWHERE, 0, NO_LINK), ("::1", NOWHERE, 0, NO_LINK),
    ("ff02::1", NOWHERE), ("ff02::1", NOWHERE, 0, NO_LINK),
    ("::ffff:127.0.0.1", NOWHERE, 0, NO_LINK),
)  # fmt: skip


def hosts(sock: Any) -> tuple[Any, ...]:
    """The socket's address and its peer's, without their ports."""
    return tuple(
        outcome(lambda ask=ask: (ask()[0], *ask()[2:]))
        for ask in (sock.getsockname, sock.getpeername)
    )


def made(
    module: Any, family: int, kind: int, bound: str | None, v6only: int = 0
) -> tuple[Any, Any]:
    """A socket, and what binding it came to."""
    sock = module.socket(family, kind)
    sock.settimeout(2)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    return sock, outcome(sock.bind, (bound, 0)) if bound is not None else None


def connected(
    module: Any, family: int, kind: int, bound: str | None, v6only: int, peer: str
) -> Any:
    """What connecting and sending come to."""
    sock, binding = made(module, family, kind, bound, v6only)
    with sock:
        connecting = outcome(sock.connect, (peer, NOWHERE))
        told: list[Any] = [binding, connecting, hosts(sock)]
        if family == socket.AF_INET6:
            told.append(outcome(sock.getsockopt, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
    if kind == DATAGRAM:
        with made(module, family, kind, bound, v6only)[0] as sock:
            told.append(outcome(sock.sendto, b"x", (peer, NOWHERE)))
    return told


def until_usable(interface: pystack.Interface) -> None:
    """Until nobody else is known to have the addresses."""
    end = time.monotonic() + BOUND_S
    while any(one.state is not AddressState.PREFERRED for one in interface.addresses.list()):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def sockets() -> Any:
    """Those of a Stack with an interface, whose far end takes nothing."""
    near, _far = pystack.nic.wire()
    with pystack.Stack() as net:
        until_usable(net.attach(near, "192.0.2.2/24", "2001:db8::2/64"))
        yield net.sockets


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bound", BOUND4)
def test_ipv4(sockets: Any, kind: int, bound: str | None) -> None:
    for peer in PEERS4:
        ours, theirs = (
            connected(module, socket.AF_INET, kind, bound, 0, peer) for module in (sockets, socket)
        )
        assert ours == theirs, peer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bound", BOUND6)
def test_both_versions(sockets: Any, kind: int, bound: str | None) -> None:
    for peer, v6only in product(PEERS6, (0, 1)):
        ours, theirs = (
            connected(module, socket.AF_INET6, kind, bound, v6only, peer)
            for module in (sockets, socket)
        )
        assert ours == theirs, (peer, v6only)


@pytest.mark.parametrize("bound", ["0.0.0.0", "127.0.0.1", "127.0.0.5"])
@pytest.mark.parametrize("kind", KINDS)
def test_itself(sockets: Any, kind: int, bound: str) -> None:
    """The unspecified address is the address that the socket is bound to."""

    def told(module: Any) -> Any:
        sock, _ = made(module, socket.AF_INET, kind, bound)
        with sock:
            return outcome(sock.connect, ("", sock.getsockname()[1])), hosts(sock)

    assert told(sockets) == told(socket)


@pytest.mark.parametrize("address", SCOPED)
@pytest.mark.parametrize("kind", KINDS)
def test_scope(sockets: Any, kind: int, address: tuple[Any, ...]) -> None:
    def told(module: Any) -> Any:
        with (
            module.socket(socket.AF_INET6, kind) as sock,
            module.socket(socket.AF_INET6, kind) as two,
        ):
            sock.settimeout(2)
            binding = outcome(two.bind, (address[0], 0, *address[2:]))
            if address == SCOPED[4] and kind == STREAM:
                binding = None  # EINVAL, and ENODEV here: both are true
            return outcome(sock.connect, address), hosts(sock), binding

    assert told(sockets) == told(socket)


@pytest.mark.parametrize("kind", KINDS)
def test_peer_without_port(sockets: Any, kind: int) -> None:
    def told(module: Any) -> Any:
        with module.socket(socket.AF_INET, kind) as sock:
            return outcome(sock.connect, ("127.0.0.1", 0)), hosts(sock)

    assert told(sockets) == told(socket)


class Watch:
    """The frames that a Stack sends."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def frame_out(self, _interface: int, frame: Any) -> bool:
        self.frames.append(bytes(frame))
        return True


@pytest.mark.parametrize(
    ("bound", "peer"),
    [
        ("::ffff:192.0.2.2", "2001:db8::1"),
        ("2001:db8::2", "::ffff:192.0.2.1"),
        ("::ffff:0.0.0.0", "2001:db8::1"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_no_packet_of_the_wrong_version(kind: int, bound: str, peer: str) -> None:
    watch, (near, _far) = Watch(), pystack.nic.wire()
    with pystack.Stack(frame_out=watch) as net:
        until_usable(net.attach(near, "192.0.2.2/24", "2001:db8::2/64"))
        sock, _ = made(net.sockets, socket.AF_INET6, kind, bound)
        watch.frames.clear()
        with sock:
            results = [outcome(sock.connect, (peer, NOWHERE))]
            if kind == DATAGRAM:
                results.append(outcome(sock.sendto, b"x", (peer, NOWHERE)))
        sent = [frame for frame in watch.frames if frame[12:14] != b"\x86\xdd" or frame[20] != 58]
    code = 101 if peer.startswith("::ffff:") else 97
    assert results == [("raises", "OSError", code)] * len(results)
    assert sent == []
