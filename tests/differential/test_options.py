"""Every option of a socket beside the kernel's, by its number: what it is at first, and what comes
of setting it to each of some values. Then what those options do that both have.
"""

from __future__ import annotations

import platform
import socket
import struct
from typing import Any

import pytest
from compare import compare, outcome
from declared import of_engine
from namespace import Namespace, needs_namespace
from quiet import BOUND_S, settle

import pystack
from pystack.nic import Layer, wire

pytestmark = needs_namespace

SOL, IP, IPV6, UDP, RAW, TCP = socket.SOL_SOCKET, 0, 41, 17, 255, 6
LEVELS = {
    SOL: range(1, 85),
    IP: range(1, 60),
    IPV6: range(1, 85),
    UDP: range(1, 106),
    RAW: range(9),
    TCP: range(1, 50),
}
KINDS = {
    "udp4": (socket.AF_INET, socket.SOCK_DGRAM, 0),
    "udp6": (socket.AF_INET6, socket.SOCK_DGRAM, 0),
    "raw4": (socket.AF_INET, socket.SOCK_RAW, 253),
    "raw6": (socket.AF_INET6, socket.SOCK_RAW, 253),
    "tcp4": (socket.AF_INET, socket.SOCK_STREAM, 0),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, 0),
}
VALUES = (0, 1, 2, -1, 64, 256)

# What stays different, and why. The numbers are those of asm-generic/socket.h, linux/in.h, in6.h
# and udp.h.
LWIP: dict[str, list[tuple[int, list[int]]]] = {
    "sizes of buffers are the Stack's own": [(SOL, [7, 8])],
    "less than nothing is one byte: TCP's buffer would have to grow": [(SOL, [18])],
    "checksums are always made and looked at": [(SOL, [11]), (IP, [23]), (UDP, [101, 102])],
    "BPF and what goes with it": [(SOL, [26, 27, 44, 48, 50, 51, 52, 68])],
    "of other families: credentials, labels, processes, namespaces": [
        (SOL, [14, 16, 17, 34, 59, 71, 76, 77, 80, 82, 83])
    ],
    "stamps of what is sent, completion, and sending at a time": [(SOL, [37, 60, 61, 65])],
    "peeking from an offset, priority for the queue of errors": [(SOL, [42, 45])],
    "the peer's name in another form, routes that are confirmed, a budget, memory": [
        (SOL, [28, 53, 55, 70, 72, 73, 74, 75])
    ],
    "TCP's pace": [(SOL, [47])],
    "options in IPv4's header, and IPsec": [(IP, [4, 5, 6, 7, 16, 17])],
    "TCP's only: repair and what it leaves": [(IP, [9])],
    "the size of fragments": [(IP, [25]), (IPV6, [77])],
    "filters by source in both forms, and the form of groups that names no family": [
        (IP, [37, 38, 41, 42, 43, 44, 45, 46, 47, 48]),
        (IPV6, [42, 43, 44, 45, 46, 47, 48]),
    ],
    "a range of ports": [(IP, [51])],
    "TCP's for groups, or unicast by an interface": [(IP, [49, 50]), (IPV6, [76])],
    "UDP-Lite's on UDP, and tunnels": [(UDP, [10, 11, 100])],
    "the address family of an open socket": [(IPV6, [1])],
    "RFC 2292's names": [(IPV6, [2, 3, 4, 5, 6, 8])],
    "flow labels are the Stack's own": [(IPV6, [11, 32, 33, 70])],
    "anycast, router alerts, IPsec": [(IPV6, [27, 28, 30, 34, 35])],
    "headers of one's own in IPv6": [(IPV6, [36])],
    "extension headers, sent and received": [(IPV6, [50, 53, 54, 55, 56, 57, 58, 59])],
    "news of the path's MTU": [(IPV6, [60])],
    "netfilter's": [(IPV6, [64, 65, 68, 69, 80])],
    "preferences among source addresses": [(IPV6, [72])],
    "ICMP_FILTER": [(RAW, [1])],
    "how many SYNs, and the congestion control, are the Stack's own": [(TCP, [7, 13, 26])],
    "TCP's of other RFCs, and of kernels: MD5, Fast Open, thin streams, repair, ULP, MPTCP": [
        (TCP, [14, 16, 17, 19, 20, 21, 22, 24, 29, 31, 32, 33, 34, 35, 43])
    ],
    "SYNs that are kept, delays of one's own, bounds of timeouts": [
        (TCP, [27, 28, 37, 44, 45, 46])
    ],
}
# Of Linux 7.2 in the process, beside the machine's 6.18: what one was built without, or changed.
LINUX: dict[str, list[tuple[int, list[int]]]] = {
    "BPF is not built in": [(SOL, [50, 52])],
    "the process's pages are not the kernel's to send, or to receive into": [
        (SOL, [60]),
        (TCP, [35]),
    ],
    "the buffer that bounds it grows less far: tcp_rmem follows the memory": [(SOL, [18])],
    "IPsec is not built in": [(IP, [16, 17]), (IPV6, [34, 35]), (UDP, [100])],
    "7.2 has no UDP-Lite": [(UDP, [10, 11])],
    "netfilter is not built in": [(IPV6, [64, 65, 68, 69, 80])],
    "the address family of an open socket": [(IPV6, [1])],
    "which congestion control is the usual one is for who builds": [(TCP, [13])],
    "the clock of timestamps": [(TCP, [24])],
    "TCP-AO is built in (RFC 5925), and the machine's kernel may be without": [
        (TCP, [38, 39, 40, 41, 42])
    ],
}
REASONS = of_engine(lwip=LWIP, linux=LINUX)
DIFFERENT = {
    (level, option): reason
    for reason, groups in REASONS.items()
    for level, options in groups
    for option in options
}


def each(module: Any, name: str, level: int) -> dict[int, Any]:
    found = {}
    for option in LEVELS[level]:
        with module.socket(*KINDS[name]) as sock:
            came = [outcome(sock.getsockopt, level, option)]
            for value in VALUES:
                came.append(outcome(sock.setsockopt, level, option, value))
                came.append(outcome(sock.getsockopt, level, option))
        found[option] = came
    return found


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", KINDS)
def test_each_option(kernel: Namespace, net: pystack.Stack, name: str, level: int) -> None:
    kernels, stacks = kernel.call(each, socket, name, level), each(net.sockets, name, level)
    found = {
        option: f"\n  kernel {kernels[option]}\n  stack  {stacks[option]}"
        for option in kernels
        if kernels[option] != stacks[option]
    }
    unnamed = {option: text for option, text in found.items() if (level, option) not in DIFFERENT}
    assert not unnamed, "".join(f"\n{option}:{text}" for option, text in unnamed.items())


@pytest.mark.skipif(not platform.release().startswith("6.18"), reason="named for Linux 6.18")
def test_what_is_named_is_different(kernel: Namespace, net: pystack.Stack) -> None:
    found = set()
    for name in KINDS:
        for level in LEVELS:
            kernels, stacks = kernel.call(each, socket, name, level), each(net.sockets, name, level)
            found |= {(level, option) for option in kernels if kernels[option] != stacks[option]}
    assert set(DIFFERENT) <= found


def by_name(module: Any) -> list[str]:
    """The constants of options that the module has, which a program may pass to setsockopt."""
    prefixes = ("SO_", "IP_", "IPV6_")
    return [name for name in dir(module) if name.startswith(prefixes)]


def test_the_module_has_the_kernels_names(net: pystack.Stack) -> None:
    for name in by_name(socket):
        assert getattr(net.sockets, name) == getattr(socket, name), name


# --- what they do ------------------------------------------------------------------------------

ELSEWHERE = {socket.AF_INET: "192.0.2.77", socket.AF_INET6: "2001:db8::77"}
LOCAL = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FREEBIND = {socket.AF_INET: (IP, 15), socket.AF_INET6: (IPV6, 78)}
TRANSPARENT = {socket.AF_INET: (IP, 19), socket.AF_INET6: (IPV6, 75)}
FAMILIES = pytest.mark.parametrize(
    "family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"]
)


def elsewhere(module: Any, family: int, kind: int, option: tuple[int, int]) -> Any:
    """Bound to an address that nobody has."""
    found = []
    proto = 253 if kind == socket.SOCK_RAW else 0
    port = 0 if kind == socket.SOCK_RAW else 9
    for call in ("sendto", "connect", "listen", "sendmsg"):
        with module.socket(family, kind, proto) as sock:
            sock.settimeout(0.05)
            found.append(outcome(sock.bind, (ELSEWHERE[family], 0)))
            sock.setsockopt(*option, 1)
            found.append(outcome(sock.bind, (ELSEWHERE[family], 0)))
            found.append(sock.getsockname()[0])
            if call == "sendto" and kind != socket.SOCK_STREAM:
                found.append(outcome(sock.sendto, b"x", (LOCAL[family], port)))
            elif call == "connect":
                found.append(outcome(sock.connect, (LOCAL[family], 9)))
            elif call == "listen":
                found.append(outcome(sock.listen))
    return found


@FAMILIES
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_RAW])
@pytest.mark.parametrize("which", [FREEBIND, TRANSPARENT], ids=["freebind", "transparent"])
def test_elsewhere(
    kernel: Namespace, net: pystack.Stack, family: int, kind: int, which: Any
) -> None:
    compare(kernel, net, elsewhere, family, kind, which[family])


def test_an_address_that_comes_later() -> None:
    """IP_FREEBIND: a server may be there before its address."""
    near, far = wire(layer=Layer.IP)
    with pystack.Stack() as ours, pystack.Stack() as theirs:
        interface = ours.attach(near, "192.0.2.1/24")
        theirs.attach(far, "192.0.2.9/24")
        with (
            ours.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
            theirs.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            server.setsockopt(IP, 15, 1)
            server.bind(("192.0.2.77", 77))
            server.settimeout(BOUND_S)
            client.settimeout(BOUND_S)
            with pytest.raises(OSError, match="unreachable"):
                server.sendto(b"x", ("192.0.2.9", 9))
            interface.addresses.add("192.0.2.77/24")
            client.sendto(b"hello", ("192.0.2.77", 77))
            data, where = server.recvfrom(10)
            server.sendto(data, where)
            assert client.recvfrom(10) == (b"hello", ("192.0.2.77", 77))


def corked(module: Any, family: int) -> Any:
    here = LOCAL[family]
    with (
        module.socket(family, socket.SOCK_DGRAM) as a,
        module.socket(family, socket.SOCK_DGRAM) as b,
    ):
        for sock in (a, b):
            sock.bind((here, 0))
            sock.settimeout(0.05)
        a.setsockopt(UDP, 1, 1)
        found = [outcome(a.sendto, part, b.getsockname()) for part in (b"one", b"two", b"")]
        found.append(outcome(a.sendto, b"elsewhere", (here, 9)))
        found.append(outcome(b.recv, 100))
        a.setsockopt(UDP, 1, 0)
        settle(module)
        found += [outcome(b.recv, 100), outcome(b.recv, 100)]
        a.setsockopt(UDP, 1, 0)
        a.sendto(b"alone", b.getsockname())
        settle(module)
        return [*found, outcome(b.recv, 100)]


@FAMILIES
def test_corked(kernel: Namespace, net: pystack.Stack, family: int) -> None:
    compare(kernel, net, corked, family)


def dropped(module: Any) -> Any:
    """SO_RXQ_OVFL: how many were lost, in front of the first that came after."""
    with module.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0)
        sock.setsockopt(SOL, 40, 1)
        sock.setsockopt(SOL, socket.SO_RCVBUF, 5000)
        for _ in range(100):
            sock.sendto(bytes(500), sock.getsockname())
        kept = 0
        while outcome(sock.recvmsg, 1, 100)[0] == "returns":
            kept += 1
        sock.sendto(b"x", sock.getsockname())
        (level, kind, data), *rest = sock.recvmsg(10, 100)[1]
        lost = struct.unpack("I", data)[0]
        return level, kind, rest, lost + kept


def test_dropped(kernel: Namespace, net: pystack.Stack) -> None:
    assert compare(kernel, net, dropped)[-1] == 100


def original(module: Any, family: int, to: str) -> Any:
    """IP_RECVORIGDSTADDR, IPV6_RECVORIGDSTADDR, and the order among the others."""
    with module.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind(("" if family == socket.AF_INET else "::", 7777))
        sock.settimeout(1)
        for level, option in ((IP, 20), (IP, 8), (IP, 12), (IPV6, 74), (IPV6, 49), (IPV6, 51)):
            outcome(sock.setsockopt, level, option, 1)
        sock.sendto(b"x", (to, 7777))
        return outcome(sock.recvmsg, 10, 500)


@pytest.mark.parametrize(
    ("family", "to"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::ffff:127.0.0.1"),
    ],
)
def test_original(kernel: Namespace, net: pystack.Stack, family: int, to: str) -> None:
    compare(kernel, net, original, family, to)


def groups(module: Any, value: int) -> Any:
    """IP_MULTICAST_ALL: who has not joined hears of a group that another has joined."""
    group = "239.1.2.3"
    join = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
    with (
        module.socket(socket.AF_INET, socket.SOCK_DGRAM) as member,
        module.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        for sock in (member, other):
            sock.setsockopt(SOL, socket.SO_REUSEADDR, 1)
            sock.bind(("", 7777))
            sock.settimeout(0.05)
        member.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, join)
        member.setsockopt(IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        other.setsockopt(IP, 49, value)
        member.sendto(b"x", (group, 7777))
        settle(module)
        return [outcome(sock.recv, 10) for sock in (member, other)]


@pytest.mark.parametrize("value", [0, 1])
def test_groups(kernel: Namespace, net: pystack.Stack, value: int) -> None:
    compare(kernel, net, groups, value)


def far_away(module: Any, family: int, least: int, ttl: int) -> Any:
    """IP_MINTTL, IPV6_MINHOPCOUNT: segments from too far are dropped."""
    level, option = (IPV6, 73) if family == socket.AF_INET6 else (IP, 21)
    with (
        module.socket(family) as listener,
        module.socket(family) as near,
    ):
        listener.bind((LOCAL[family], 0))
        listener.listen()
        listener.settimeout(0.2)
        near.settimeout(0.2)
        listener.setsockopt(level, option, least)
        if family == socket.AF_INET6:
            near.setsockopt(IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        else:
            near.setsockopt(IP, socket.IP_TTL, ttl)
        came = outcome(near.connect, listener.getsockname())

        def accept() -> None:
            listener.accept()[0].close()

        return came, outcome(accept)


@FAMILIES
@pytest.mark.parametrize(("least", "ttl"), [(0, 1), (64, 64), (65, 64), (255, 255)])
def test_far_away(kernel: Namespace, net: pystack.Stack, family: int, least: int, ttl: int) -> None:
    compare(kernel, net, far_away, family, least, ttl)


def test_by_an_interface() -> None:
    """IP_UNICAST_IF: by it, whatever the routes say."""
    ends = [wire(layer=Layer.IP) for _ in range(2)]
    with pystack.Stack() as net, net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        indices = [
            net.attach(near, f"192.0.2.{1 + number}/24").index
            for number, (near, _) in enumerate(ends)
        ]
        for chosen, (_, far) in zip(indices, ends, strict=True):
            sock.setsockopt(IP, 50, struct.pack("!I", chosen))
            assert sock.getsockopt(IP, 50, 4) == struct.pack("!I", chosen)
            sock.sendto(b"by this", ("192.0.2.99", 9))
            packet = far.receive(1)
            assert packet is not None
            assert packet.endswith(b"by this")


def same_cookie(module: Any) -> Any:
    with module.socket() as a, module.socket() as b, a.dup() as c:
        cookies = [one.getsockopt(SOL, 57, 8) for one in (a, b, c)]
        return cookies[0] == cookies[2], cookies[0] == cookies[1], b"".join(cookies) == bytes(24)


def test_cookies(kernel: Namespace, net: pystack.Stack) -> None:
    compare(kernel, net, same_cookie)


def inherited(module: Any) -> Any:
    wanted = [(SOL, 36), (IP, 15), (IP, 19), (IP, 21), (IP, 11), (SOL, 29), (IP, 8)]
    with module.create_server(("127.0.0.1", 0)) as listener:
        for key in wanted:
            listener.setsockopt(*key, 1)
        with module.create_connection(listener.getsockname()), listener.accept()[0] as far:
            return [far.getsockopt(*key) for key in wanted]


def priority_of_service(module: Any) -> Any:
    found = []
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with module.socket(type=kind) as sock:
            for service in range(0, 256, 4):  # of ECN's bits kernels make this or that
                sock.setsockopt(IP, socket.IP_TOS, service)
                found.append(sock.getsockopt(SOL, socket.SO_PRIORITY))
                sock.setsockopt(SOL, socket.SO_PRIORITY, 3)
                sock.setsockopt(IP, socket.IP_TOS, service)  # no other one: the priority stays
                found.append(sock.getsockopt(SOL, socket.SO_PRIORITY))
    return found


def test_a_type_of_service_brings_its_priority(kernel: Namespace, net: pystack.Stack) -> None:
    compare(kernel, net, priority_of_service)


def discovery_inherited(module: Any) -> Any:
    with module.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        listener.setsockopt(IP, 10, 3)
        listener.setsockopt(41, 23, 2)
        with module.create_connection(listener.getsockname()[:2]), listener.accept()[0] as far:
            return far.getsockopt(IP, 10), far.getsockopt(41, 23)


def test_path_mtu_discovery_is_inherited(kernel: Namespace, net: pystack.Stack) -> None:
    compare(kernel, net, discovery_inherited)


def test_inherited(kernel: Namespace, net: pystack.Stack) -> None:
    compare(kernel, net, inherited)
