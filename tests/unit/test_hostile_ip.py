"""What the IP layer believes of a hostile wire, what it answers, and what it gives away."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from far_end import (
    ICMP,
    ICMP6,
    OUR_MAC,
    OURS,
    THEIR_MAC,
    THEIRS,
    UDP,
    FarEnd,
    ip4,
    ip6,
    packed,
    udp,
    upper,
)

import pystack

pytestmark = pytest.mark.sanitize

PORT, CLOSED = 7, 9999
VERSIONS = pytest.mark.parametrize("version", [4, 6])
GROUP, GROUP_MAC = "239.1.1.1", "01:00:5e:01:01:01"
ALL_MAC = "ff:ff:ff:ff:ff:ff"


@pytest.fixture
def far() -> Iterator[FarEnd]:
    with FarEnd() as made:
        yield made


def received(sock: Any) -> bytes | None:
    try:
        return bytes(sock.recv(1 << 16))
    except BlockingIOError:
        return None


def datagram(
    source: str, to: str = OURS[4], port: int = PORT, data: bytes = b"data", mac: str = OUR_MAC
) -> bytes:
    """A UDP datagram over IPv4."""
    return ip4(UDP, udp(4, 9, port, data, source=source, to=to), source, to, mac=mac)


def closed(version: int, source: str, data: bytes = b"") -> bytes:
    """A datagram to a closed port."""
    payload = udp(version, 9, CLOSED, data, source=source)
    return (ip4 if version == 4 else ip6)(UDP, payload, source)


def echo(version: int, source: str, size: int = 8) -> bytes:
    """An echo request."""
    if version == 4:
        return ip4(ICMP, upper(ICMP, b"\x08\0\0\0" + bytes(size), 2, source, OURS[4]), source)
    return ip6(ICMP6, upper(ICMP6, b"\x80\0\0\0" + bytes(size), 2, source, OURS[6]), source)


# --- whom it believes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "to", "mac"),
    [
        (OURS[4], OURS[4], OUR_MAC),
        (OURS[4], "10.0.0.255", ALL_MAC),
        (OURS[4], GROUP, GROUP_MAC),
        ("10.0.0.3", OURS[4], OUR_MAC),
        ("127.0.0.1", OURS[4], OUR_MAC),
        ("127.1.2.3", OURS[4], OUR_MAC),
        (THEIRS[4], "127.0.0.1", OUR_MAC),
        (THEIRS[4], "127.1.2.3", OUR_MAC),
        (THEIRS[4], "0.1.2.3", OUR_MAC),
        ("0.0.0.0", OURS[4], OUR_MAC),
        ("0.0.0.0", "10.0.0.255", ALL_MAC),
        ("0.0.0.0", GROUP, GROUP_MAC),
        ("0.1.2.3", OURS[4], OUR_MAC),
        ("224.0.0.1", OURS[4], OUR_MAC),
        ("10.0.0.255", OURS[4], OUR_MAC),
        ("255.255.255.255", OURS[4], OUR_MAC),
    ],
)
def test_martians(far: FarEnd, source: str, to: str, mac: str) -> None:
    far.nic.addresses.add("10.0.0.3/24")
    sock = far.socket(4, PORT)
    join(far, sock)
    for frame in (datagram(source, to, mac=mac), datagram(source, to, CLOSED, mac=mac)):
        assert far.answers(frame) == []
    message = upper(ICMP, b"\x08\0\0\0" + bytes(8), 2, source, to)
    assert far.answers(ip4(ICMP, message, source, to, mac=mac)) == []
    assert received(sock) is None


@pytest.mark.parametrize(
    ("source", "to", "mac"),
    [
        (THEIRS[4], OURS[4], OUR_MAC),
        (THEIRS[4], "10.0.0.255", ALL_MAC),
        (THEIRS[4], GROUP, GROUP_MAC),
        ("0.0.0.0", "255.255.255.255", ALL_MAC),
        ("192.0.2.1", OURS[4], OUR_MAC),
        ("240.0.0.1", OURS[4], OUR_MAC),
    ],
)
def test_who_is_none(far: FarEnd, source: str, to: str, mac: str) -> None:
    """DHCP's clients among them, as their servers hear them."""
    sock = far.socket(4, PORT)
    join(far, sock)
    far.send(datagram(source, to, mac=mac))
    assert received(sock) == b"data"


def test_all_of_another_network(far: FarEnd) -> None:
    """An answer to them would go to all of them, and a packet of theirs be passed on."""
    near, other = pystack.nic.wire()
    far.net.attach(near, "10.1.0.2/24", mac="02:00:00:00:00:12").addresses.add("10.2.0.2/24")
    far.net.neighbours.add("10.1.0.1", THEIR_MAC)
    far.net.sysctl["net.ipv4.ip_forward"] = 1
    far.run(2)
    while other.receive(0) is not None:
        pass
    sock = far.socket(4, PORT)
    for source in ("10.1.0.255", "10.2.0.255"):
        for to, port in ((OURS[4], PORT), (OURS[4], CLOSED), ("10.1.0.1", PORT)):
            assert far.answers(datagram(source, to, port)) == []
            assert other.receive(0) is None
    assert received(sock) is None


def test_the_unspecified_address_is_no_destination(far: FarEnd) -> None:
    far.net.sysctl["net.ipv6.conf.all.forwarding"] = 1
    far.net.neighbours.add(f"fe80::1%{far.nic.index}", THEIR_MAC)
    message = upper(ICMP6, b"\x80\0\0\0" + bytes(8), 2, "fe80::1", "::")
    assert far.answers(ip6(ICMP6, message, "fe80::1", "::")) == []


@pytest.mark.parametrize(("header", "option"), [(0, 0xC2), (60, 0xC2), (60, 0xC9)])
def test_an_option_that_nobody_acts_on_is_not_known(far: FarEnd, header: int, option: int) -> None:
    """Of a jumbogram, and of a mobile node's home address (RFC 8200 4.2)."""
    sock = far.socket(6, PORT)
    options = bytes((UDP, 2, option, 16)) + bytes(16) + b"\x01\x02\0\0"
    (answer,) = far.answers(ip6(header, options + udp(6, 9, PORT, b"data")))
    assert answer[54:56] == b"\x04\x02"
    assert answer[58:62] == struct.pack("!I", 42)
    assert received(sock) is None


def test_where_memory_runs_out_what_waits_makes_room() -> None:
    """Answers to 250 hosts that are not there, in an arena smaller than what may wait for them."""
    with FarEnd(memory_limit=1 << 20) as far:
        for _ in range(12):
            for first in range(3, 253, 10):
                far.send(*(echo(4, f"10.0.0.{host}", 1400) for host in range(first, first + 10)))
            assert len(far.answers(echo(4, THEIRS[4], 1400))) == 1
            far.net.socket().close()
        assert far.net.arena.failures > 0


def test_to_ourselves(far: FarEnd) -> None:
    for address in (OURS[4], "127.0.0.1", "127.1.2.3"):
        sock, other = far.socket(4, PORT), far.socket(4, 0)
        other.sendto(b"me", (address, PORT))
        far.run()
        assert received(sock) == b"me"
        sock.close()
        other.close()


def join(far: FarEnd, sock: Any) -> None:
    """Joins the group on the wire's interface."""
    member = packed(GROUP) + packed(OURS[4])
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    far.run()
    far.frames()


def test_what_others_have_joined(far: FarEnd) -> None:
    """Linux: an IPv4 socket hears it, one of IPv6 does not until it joins (tried there)."""
    join(far, far.socket(4, 0))
    old, new = far.socket(4, PORT), far.socket(6, PORT + 1)
    for port in (PORT, PORT + 1):
        far.send(datagram(THEIRS[4], GROUP, port, mac=GROUP_MAC))
    assert received(old) == b"data"
    assert received(new) is None
    join(far, new)
    far.send(datagram(THEIRS[4], GROUP, PORT + 1, mac=GROUP_MAC))
    assert received(new) == b"data"


def test_what_is_for_others_at_the_port_of_dhcp(far: FarEnd) -> None:
    """Nor is a packet read that ends before its ports."""
    sock = far.socket(4, 68)
    far.send(datagram(THEIRS[4], "10.0.0.77", 68), ip4(UDP, b"", THEIRS[4], "10.0.0.77"))
    assert received(sock) is None
    far.send(datagram(THEIRS[4], "255.255.255.255", 68, mac=ALL_MAC))
    assert received(sock) == b"data"


def redirect(quoted: bytes, gateway: str = "10.0.0.77") -> bytes:
    """A router's, about a packet."""
    message = b"\x05\x01\0\0" + packed(gateway) + quoted[14:42]
    return ip4(ICMP, upper(ICMP, message, 2, THEIRS[4], OURS[4]))


def next_hop(frame: bytes) -> str:
    """Whom a frame is for, or whose hardware address it asks for."""
    if frame[12:14] == b"\x08\x06":
        return socket.inet_ntoa(frame[38:42])
    return THEIRS[4]


FAR_AWAY = "198.51.100.9"


@pytest.mark.parametrize("forged", ["other port", "other protocol", "echo request", "part", None])
def test_redirects_about_what_we_never_sent(far: FarEnd, forged: str | None) -> None:
    far.net.routes.add("0.0.0.0/0", THEIRS[4])
    sock = far.socket(4, PORT)
    sock.sendto(b"far", (FAR_AWAY, 9))
    (sent,) = far.frames()
    quoted = {
        "other port": sent[:34] + struct.pack("!H", PORT + 1) + sent[36:],
        "other protocol": sent[:23] + b"\x32" + sent[24:],
        "echo request": sent[:23] + b"\x01" + sent[24:34] + b"\x08\0" + sent[36:],
        "part": sent[:20] + b"\0\x01" + sent[22:],
        None: sent,
    }[forged]
    far.send(redirect(quoted))
    sock.sendto(b"far", (FAR_AWAY, 9))
    assert next_hop(far.frames()[0]) == ("10.0.0.77" if forged is None else THEIRS[4])


# --- what it answers -----------------------------------------------------------------------------


def test_errors_to_one_destination(far: FarEnd) -> None:
    """Six at once, then one a second over IPv4 and ten over IPv6, as Linux."""
    for version, later in ((4, 4), (6, 40)):
        far.run(10)
        asked = [closed(version, THEIRS[version])] * 100
        assert len(far.answers(*asked)) == 6
        count = 0
        for _ in range(40):
            far.run(0.1)
            count += len(far.answers(*asked[:5]))
        assert later - 1 <= count <= later + 1


@VERSIONS
def test_errors_to_everybody(version: int) -> None:
    """Fifty at once, then a thousand a second, give or take what nobody can count on."""
    sources = {4: "10.0.0.{}", 6: "fd00::1:{:x}"}[version]
    with FarEnd() as far:
        far.run(10)
        for number in range(20, 120):
            far.net.neighbours.add(sources.format(number), "02:00:00:00:00:01")
        asked = [closed(version, sources.format(number)) for number in range(20, 120)]
        assert 35 <= len(far.answers(*asked)) <= 75
        far.net.sysctl["net.ipv4.icmp_msgs_per_sec"] = 0
        far.run(5)
        assert far.answers(*asked) == []


def test_limits_are_set(far: FarEnd) -> None:
    asked = [closed(4, THEIRS[4])] * 40
    far.net.sysctl.update({"net.ipv4.icmp_msgs_burst": 1000, "net.ipv4.icmp_ratelimit": 0})
    far.answers(*asked)
    far.run(2)
    assert len(far.answers(*asked)) == 40
    far.net.sysctl.update({"net.ipv4.icmp_msgs_per_sec": 0, "net.ipv4.icmp_ratemask": 0})
    assert len(far.answers(*asked)) == 40


@VERSIONS
def test_echo_replies_have_no_limit(far: FarEnd, version: int) -> None:
    assert len(far.answers(*[echo(version, THEIRS[version])] * 200)) == 200


@VERSIONS
def test_our_own_errors_have_none(far: FarEnd, version: int) -> None:
    sock = far.socket(version, 0)
    sock.connect((OURS[version], CLOSED))
    for _ in range(20):
        sock.send(b"anybody?")
        far.run()
        with pytest.raises(ConnectionRefusedError):
            sock.recv(10)


# --- what it gives away --------------------------------------------------------------------------


def identification(frame: bytes) -> int:
    return int(struct.unpack("!H", frame[18:20])[0])


def test_identifications_tell_nothing_about_others(far: FarEnd) -> None:
    """Between two packets to us, as many as you like go to another host."""
    other, other_mac = "10.0.0.77", "02:00:00:00:00:77"
    far.net.neighbours.add(other, other_mac)
    sock = far.socket(4, PORT)

    def to(address: str) -> int:
        sock.sendto(bytes(100), (address, 9))
        (frame,) = far.frames()
        return identification(frame)

    mine, theirs = [], []
    for number in range(1, 60):
        mine.append(to(THEIRS[4]))
        theirs += [to(other) for _ in range(number)]
    assert [(b - a) % 65536 for a, b in pairwise(mine)] == [1] * 58
    assert len(set(theirs)) == len(theirs)
    assert min(abs(a - b) for a, b in zip(mine, theirs, strict=False)) > 1


def test_identifications_skip_while_time_passes(far: FarEnd) -> None:
    sock, found = far.socket(4, PORT), []
    for _ in range(50):
        sock.sendto(bytes(100), (THEIRS[4], 9))
        found += map(identification, far.frames())
        far.run(0.1)
        far.frames()
    steps = {(b - a) % 65536 for a, b in pairwise(found)}
    assert len(steps) > 20
    assert max(steps) <= 101


def test_what_nobody_cuts_has_none(far: FarEnd) -> None:
    """RFC 6864 4.1: it says that it must not be cut, and nobody needs to. Fragments have one."""
    sock = far.socket(4, PORT)
    for size in (0, 40, 41, 1472, 3000):
        sock.sendto(bytes(size), (THEIRS[4], 9))
        for frame in far.frames():
            assert (identification(frame) == 0) == (size <= 40)
            assert bool(frame[20] & 0x40) == (size <= 1472)
    (reply,) = far.answers(echo(4, THEIRS[4], 100))
    assert identification(reply) != 0
