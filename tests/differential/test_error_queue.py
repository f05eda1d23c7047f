"""The queue of errors (IP_RECVERR, IPV6_RECVERR, MSG_ERRQUEUE) beside the kernel's.

The kernel's sockets are in a namespace of the test's. ICMP errors of every type and code are made
by hand, and sent by a raw socket of the same host.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from typing import Any

import pytest
from compare import compare, outcome
from declared import by_arena, of_engine
from namespace import Namespace, needs_namespace

import pystack

pytestmark = needs_namespace

LOCAL = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
SILENT = 9  # a port where nobody is
IP_RECVERR, IPV6_RECVERR, RFC4884_4, RFC4884_6 = 11, 25, 26, 31
IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
QUEUE = socket.MSG_ERRQUEUE
FAMILIES = pytest.mark.parametrize(
    "family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"]
)


def opened(module: Any, family: int, on: bool = True, kind: int = socket.SOCK_DGRAM) -> Any:
    sock = module.socket(family, kind)
    sock.bind((LOCAL[family], 0))
    sock.settimeout(0)
    switch(sock, family, on)
    return sock


def switch(sock: Any, family: int, on: bool) -> None:
    if family == socket.AF_INET6:
        sock.setsockopt(IPV6, IPV6_RECVERR, on)
    else:
        sock.setsockopt(IP, IP_RECVERR, on)


def queued(sock: Any, size: int = 2000, room: int = 500, flags: int = 0) -> Any:
    """The next of the queue, without what has to differ: our own port in the data of raw ones."""
    return outcome(sock.recvmsg, size, room, QUEUE | flags)


def all_queued(sock: Any) -> list[Any]:
    found = []
    while (one := queued(sock))[0] == "returns":
        found.append(one)
    return found


def so_error(sock: Any) -> int:
    return int(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


# --- what a closed port makes of it ----------------------------------------------------


def nothing(module: Any, family: int) -> Any:
    with opened(module, family) as sock:
        return queued(sock), so_error(sock)


def refused(module: Any, family: int) -> Any:
    with opened(module, family) as sock:
        sock.sendto(b"hello", (LOCAL[family], SILENT))
        return so_error(sock), so_error(sock), queued(sock), queued(sock), so_error(sock)


def refused_without(module: Any, family: int) -> Any:
    with opened(module, family, on=False) as sock:
        sock.sendto(b"hello", (LOCAL[family], SILENT))
        return so_error(sock), queued(sock), outcome(sock.recv, 10)


def next_calls(module: Any, family: int) -> Any:
    with opened(module, family) as sock:
        came = []
        for call in (sock.recv, sock.send, sock.recv):
            outcome(sock.sendto, b"hello", (LOCAL[family], SILENT))
            argument = b"x" if call == sock.send else 10
            came.append((outcome(call, argument), outcome(call, argument)))
        return came, all_queued(sock), so_error(sock)


def several(module: Any, family: int) -> Any:
    """Taking one out sets SO_ERROR to the next."""
    with opened(module, family) as sock:
        for port in (9, 10, 11):
            outcome(sock.sendto, b"to %d" % port, (LOCAL[family], port))
        outcome(sock.sendto, b"again", (LOCAL[family], 12))
        return [(queued(sock), so_error(sock)) for _ in range(5)]


def cut(module: Any, family: int) -> Any:
    with opened(module, family) as sock:
        found = []
        for size, room in (
            (3, 500),
            (0, 500),
            (100, 0),
            (100, 15),
            (100, 16),
            (100, 40),
            (100, 48),
        ):
            outcome(sock.sendto, b"hello", (LOCAL[family], SILENT))
            found.append(queued(sock, size, room))
            so_error(sock)
        return found


def other_calls(module: Any, family: int) -> Any:
    """recv and recvfrom take one, too; MSG_PEEK leaves none."""
    with opened(module, family) as sock:
        found = []
        for call in (sock.recv, sock.recvfrom):
            outcome(sock.sendto, b"hello", (LOCAL[family], SILENT))
            found.append((outcome(call, 100, QUEUE), outcome(call, 100, QUEUE)))
        outcome(sock.sendto, b"hello", (LOCAL[family], SILENT))
        found.append((queued(sock, flags=socket.MSG_PEEK), queued(sock)))
        outcome(sock.sendto, b"hello", (LOCAL[family], SILENT))
        found.append((queued(sock, 2, flags=socket.MSG_TRUNC), queued(sock)))
        return found


def switched_off(module: Any, family: int) -> Any:
    with opened(module, family) as sock:
        sock.sendto(b"hello", (LOCAL[family], SILENT))
        switch(sock, family, False)
        return queued(sock), so_error(sock)


def with_packet(module: Any, family: int) -> Any:
    """The message's own addresses, TTL and type of service."""
    with opened(module, family) as sock:
        for level, option in ((IP, 8), (IP, 12), (IP, 13), (IPV6, 49), (IPV6, 51), (IPV6, 66)):
            outcome(sock.setsockopt, level, option, 1)
        sock.sendto(b"hello", (LOCAL[family], SILENT))
        return queued(sock)


def connected(module: Any, family: int) -> Any:
    with opened(module, family) as sock:
        sock.connect((LOCAL[family], SILENT))
        sock.send(b"one")
        came = [outcome(sock.send, b"two"), outcome(sock.send, b"three"), outcome(sock.recv, 9)]
        return came, all_queued(sock)


def data_comes_all_the_same(module: Any, family: int) -> Any:
    with opened(module, family) as sock, opened(module, family) as peer:
        peer.sendto(b"data", sock.getsockname())
        sock.sendto(b"hello", (LOCAL[family], SILENT))
        first = outcome(sock.recv, 10)
        return first, outcome(sock.recv, 10), len(all_queued(sock))


def waits_as_long(module: Any, family: int) -> Any:
    """CPython waits with a timeout, and only then."""
    with opened(module, family) as sock:
        sock.settimeout(0.05)
        timed = queued(sock)
        sock.settimeout(None)
        return timed, queued(sock)


def on_tcp(module: Any, family: int) -> Any:
    with module.socket(family) as sock:
        switch(sock, family, True)
        sock.settimeout(1)
        came = outcome(sock.connect, (LOCAL[family], SILENT))
        sock.settimeout(0)
        return came, queued(sock)


def options(module: Any, family: int) -> Any:
    found = []
    with module.socket(family, socket.SOCK_DGRAM) as sock:
        for level, option in ((IP, 11), (IP, 26), (IPV6, 25), (IPV6, 31)):
            for value in (0, 1, 2, -1):
                came = outcome(sock.setsockopt, level, option, value)
                found.append((level, option, value, came, outcome(sock.getsockopt, level, option)))
    return found


def masks(module: Any, family: int) -> Any:
    """POLLERR stands while something is in the queue, whoever has taken SO_ERROR."""
    where, found = (LOCAL[family], SILENT), []
    with opened(module, family) as sock:
        poll = select.poll()
        poll.register(sock, 0xFFFF)
        edges = select.epoll()
        edges.register(sock, select.EPOLLIN | select.EPOLLET)

        def shown() -> Any:
            news = [mask for _, mask in edges.poll(0)]
            return [mask for _, mask in poll.poll(0)], news

        found.append(shown())
        for _ in range(3):
            for step in (
                lambda: sock.sendto(b"one", where),
                lambda: sock.sendto(b"fails", where),
                lambda: sock.sendto(b"two", where),
                lambda: so_error(sock),
                lambda: sock.recv(1),
                lambda: queued(sock),
                lambda: queued(sock),
                lambda: queued(sock),
            ):
                outcome(step)
                found.append(shown())
        edges.close()
    return found


ALIKE = [
    nothing, refused, refused_without, next_calls, several, cut, other_calls, switched_off,
    masks, with_packet, connected, data_comes_all_the_same, waits_as_long, on_tcp, options,
]  # fmt: skip


@FAMILIES
@pytest.mark.parametrize("function", ALIKE, ids=lambda one: one.__name__)
def test_alike(kernel: Namespace, net: pystack.Stack, function: Any, family: int) -> None:
    compare(kernel, net, function, family)


def mapped(module: Any) -> Any:
    """An IPv4 error on an IPv6 socket is IP_RECVERR's, and told by IPV6_RECVERR's structure."""
    found = []
    with module.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::", 0))
        sock.settimeout(0)
        for level, option in ((IPV6, IPV6_RECVERR), (IP, IP_RECVERR), (IPV6, 49), (IP, 8)):
            sock.setsockopt(level, option, 1)
            sock.sendto(b"hello", ("::ffff:127.0.0.1", SILENT))
            found.append((so_error(sock), queued(sock)))
    return found


def test_mapped(kernel: Namespace, net: pystack.Stack) -> None:
    assert compare(kernel, net, mapped)[0][0] == 0


# --- every ICMP error ---------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def quoted(family: int, protocol: int, payload: bytes) -> bytes:
    """A packet of this host's to itself."""
    ends = socket.inet_pton(family, LOCAL[family]) * 2
    if family == socket.AF_INET6:
        return struct.pack("!IHBB", 0x60000000, len(payload), protocol, 64) + ends + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, 0) + ends
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def send_error(module: Any, family: int, kind: int, code: int, word: int, about: bytes) -> None:
    """An ICMP error from this host to itself."""
    message = struct.pack("!BBHI", kind, code, 0, word) + about
    proto = socket.IPPROTO_ICMPV6  # whose checksum is made by the raw socket
    if family == socket.AF_INET:
        proto = socket.IPPROTO_ICMP
        message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    with module.socket(family, socket.SOCK_RAW, proto) as raw:
        raw.sendto(message, (LOCAL[family], 0))


def udp(sock: Any, remote: int, data: bytes) -> bytes:
    return struct.pack("!4H", sock.getsockname()[1], remote, 8 + len(data), 0) + data


def each_error(module: Any, family: int, kind: int, states: Any) -> Any:
    found = {}
    for code in range(17):
        for is_connected, on in states:
            with opened(module, family, on) as sock:
                if is_connected:
                    sock.connect((LOCAL[family], 4000))
                about = quoted(family, socket.IPPROTO_UDP, udp(sock, 4000, b"some data"))
                word = 0x05AC0578  # a pointer, or an MTU, which is the last half in IPv4
                send_error(module, family, kind, code, word, about)
                found[code, is_connected, on] = so_error(sock), all_queued(sock)
    return found


STATES = [(False, False), (False, True), (True, False), (True, True)]


@pytest.mark.parametrize("kind", [0, 3, 4, 5, 8, 12, 13, 40])
def test_each_icmp_error(kernel: Namespace, net: pystack.Stack, kind: int) -> None:
    compare(kernel, net, each_error, socket.AF_INET, kind, STATES)


def test_time_exceeded(kernel: Namespace, net: pystack.Stack) -> None:
    """Linux keeps to itself that a packet could not be reassembled, which RFC 1122 3.2.2.4
    wants told, and lwIP tells; all else is alike.
    """

    def all_but_those(module: Any) -> Any:
        found = each_error(module, socket.AF_INET, 11, STATES)
        return {key: value for key, value in found.items() if not (key[0] == 1 and key[2])}

    compare(kernel, net, all_but_those)
    assert not kernel.call(each_error, socket, socket.AF_INET, 11, STATES)[1, False, True][1]
    stacks = each_error(net.sockets, socket.AF_INET, 11, STATES)
    assert stacks[1, False, True][0] == of_engine(lwip=errno.EHOSTUNREACH, linux=0)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 100, 127])
def test_each_icmp6_error(kernel: Namespace, net: pystack.Stack, kind: int) -> None:
    compare(kernel, net, each_error, socket.AF_INET6, kind, STATES)


def on_raw(module: Any, family: int) -> Any:
    """A raw socket is told of packets of its protocol, and gets them from behind the IP header."""
    found = []
    protocol = 253
    for is_connected, on in STATES:
        with module.socket(family, socket.SOCK_RAW, protocol) as sock:
            sock.settimeout(0)
            switch(sock, family, on)
            if is_connected:
                sock.connect((LOCAL[family], 0))
            about = quoted(family, protocol, b"some data")
            for kind, code in ((1, 4), (3, 0)) if family == socket.AF_INET6 else ((3, 3), (11, 0)):
                send_error(module, family, kind, code, 0, about)
                found.append((so_error(sock), all_queued(sock)))
    return found


@FAMILIES
def test_raw(kernel: Namespace, net: pystack.Stack, family: int) -> None:
    compare(kernel, net, on_raw, family)


def extended(module: Any, family: int) -> Any:
    """RFC 4884: where the message's extensions begin, and whether they are whole."""
    found = []
    payload = bytes(range(200))[: 128 - (48 if family == socket.AF_INET6 else 28)]
    body = bytes.fromhex("00080101") + b"ABCD"
    plain = bytes.fromhex("20000000") + body
    summed = b"\x20\0" + struct.pack("!H", checksum(plain)) + body
    start = b"\x20\0\0\0"
    tails = [
        b"", plain, summed, b"\x10" + plain[1:], b"\x20\0\x12\x34" + body, plain[:-1],
        start + b"\0\x03\x01\x01ABCD", start + b"\0\x09\x01\x01ABCD",
    ]  # fmt: skip
    units = 16 if family == socket.AF_INET6 else 32
    for tail in tails:
        for length in (0, 1, units, units + 1, 255):
            with opened(module, family) as sock:
                level, option = (IPV6, RFC4884_6) if family == socket.AF_INET6 else (IP, RFC4884_4)
                sock.setsockopt(level, option, 1)
                about = quoted(family, socket.IPPROTO_UDP, udp(sock, 4000, payload)) + tail
                if len(about) % 2:
                    about += b"\0"
                word = length << (24 if family == socket.AF_INET6 else 16)
                kind = 1 if family == socket.AF_INET6 else 3
                send_error(module, family, kind, 1 if kind == 1 else 13, word, about)
                found.append((len(tail), length, all_queued(sock)))
    return found


@FAMILIES
def test_extensions(kernel: Namespace, net: pystack.Stack, family: int) -> None:
    compare(kernel, net, extended, family)


# --- bounds -------------------------------------------------------------------------------------


@by_arena
def test_the_queue_is_bounded() -> None:
    """Errors have their room in the receive buffer, and take it from the datagrams."""
    with pystack.Stack() as net, opened(net.sockets, socket.AF_INET) as sock:
        port = ("127.0.0.1", SILENT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)  # 20,000 bytes
        before = net.arena.used_bytes
        for _ in range(500):
            outcome(sock.sendto, bytes(500), port)
        assert 20 < len(all_queued(sock)) < 40
        assert net.arena.used_bytes == before


@by_arena
def test_a_closed_socket_keeps_nothing() -> None:
    with pystack.Stack() as net:
        opened(net.sockets, socket.AF_INET).close()  # the first makes the table of them
        before = net.arena.used_bytes
        with opened(net.sockets, socket.AF_INET) as sock:
            outcome(sock.sendto, bytes(500), ("127.0.0.1", SILENT))
            assert net.arena.used_bytes > before + 500
        assert net.arena.used_bytes == before


@by_arena
def test_no_memory_for_an_error_loses_it() -> None:
    with pystack.Stack() as net, opened(net.sockets, socket.AF_INET) as sock:
        sock.sendto(b"x", ("127.0.0.1", SILENT))
        assert len(all_queued(sock)) == 1
        net.arena.fail_allocations(after=0, count=1000)
        outcome(sock.sendto, b"x", ("127.0.0.1", SILENT))
        net.arena.fail_allocations(after=0, count=0)
        assert all_queued(sock) == []
