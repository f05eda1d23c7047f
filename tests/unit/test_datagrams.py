"""UDP, UDP-Lite, raw sockets, multicast, ancillary data, ICMP errors."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from pair import LEFT, LEFT6, RIGHT, RIGHT6, Pair, pair

import pystack

V4 = (socket.AF_INET, LEFT, RIGHT)
V6 = (socket.AF_INET6, LEFT6, RIGHT6)
BOTH = pytest.mark.parametrize("v", [V4, V6], ids=["ipv4", "ipv6"])


@pytest.fixture(scope="module")
def it() -> Pair:
    with pair() as made:
        yield made


def ends(it: Pair, v: Any) -> tuple[Any, Any]:
    family, left, right = v
    a = it.left.socket(family, socket.SOCK_DGRAM)
    b = it.right.socket(family, socket.SOCK_DGRAM)
    for sock, host in ((a, left), (b, right)):
        sock.settimeout(30)
        sock.bind((host, 0))
    return a, b


@BOTH
@pytest.mark.parametrize("size", [0, 1, 1400, 1472, 1473, 8000, 65487])
def test_datagrams_of_all_sizes(it: Pair, v: Any, size: int) -> None:
    a, b = ends(it, v)
    with a, b:
        data = bytes(i * 7 & 0xFF for i in range(size))
        assert a.sendto(data, b.getsockname()) == size
        got, where = b.recvfrom(70_000)
        assert got == data
        assert where == a.getsockname()
        b.connect(where)
        b.send(data)
        assert a.recv(70_000) == data


@BOTH
def test_all_fragments_wait_for_a_neighbour(v: Any) -> None:
    with pair() as fresh:
        a, b = ends(fresh, v)
        with a, b:
            a.sendto(bytes(65487), b.getsockname())
            assert len(b.recv(70_000)) == 65487


@BOTH
def test_a_full_buffer_loses_the_newest(it: Pair, v: Any) -> None:
    family, left, _right = v
    # To itself, so that each datagram has arrived when sendto returns.
    a, b = (it.left.socket(family, socket.SOCK_DGRAM) for _ in "ab")
    with a, b:
        b.bind((left, 0))
        b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
        for number in range(200):
            a.sendto(number.to_bytes(2, "big") + bytes(998), b.getsockname())
        got = []
        b.settimeout(0.2)
        with pytest.raises(TimeoutError):
            while True:
                got.append(int.from_bytes(b.recv(2), "big"))
        assert got == list(range(len(got)))
        assert 5 <= len(got) < 60


@BOTH
def test_a_refused_datagram_is_heard_of(it: Pair, v: Any) -> None:
    family, _left, right = v
    with it.left.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.connect((right, 4))
        sock.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)  # told once


@BOTH
def test_ancillary_data_received_and_sent(it: Pair, v: Any) -> None:
    a, b = ends(it, v)
    v6 = v is V6
    level = socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP
    info, ttl, tos = (
        (socket.IPV6_PKTINFO, socket.IPV6_HOPLIMIT, socket.IPV6_TCLASS)
        if v6
        else (8, socket.IP_TTL, socket.IP_TOS)
    )
    names = (
        ("IPV6_RECVPKTINFO", "IPV6_RECVHOPLIMIT", "IPV6_RECVTCLASS")
        if v6
        else ("IP_PKTINFO", "IP_RECVTTL", "IP_RECVTOS")
    )
    wanted = [getattr(it.right.sockets, name) for name in names]
    assert wanted == ([49, 51, 66] if v6 else [8, 12, 13])
    assert set(names) <= set(dir(it.right.sockets))
    with a, b:
        for option in wanted:
            b.setsockopt(level, option, 1)
            assert b.getsockopt(level, option) == 1
        control = [(level, ttl, struct.pack("i", 77)), (level, tos, struct.pack("i", 0x20))]
        assert a.sendmsg([b"ab", b"cd"], control, 0, b.getsockname()) == 4
        data, ancillary, flags, where = b.recvmsg(100, 200)
        assert (data, flags, where) == (b"abcd", 0, a.getsockname())
        found = {kind: value for found_level, kind, value in ancillary if found_level == level}
        assert struct.unpack("i", found[ttl])[0] == 77
        assert found[tos][0] == 0x20
        packed = socket.inet_pton(v[0], v[2])
        index = it.right_interface.index
        if v6:
            assert found[info] == struct.pack("16sI", packed, index)
        else:
            assert found[info] == struct.pack("i4s4s", index, packed, packed)
        a.sendto(b"x", b.getsockname())
        assert b.recvmsg(1, 20)[2] & socket.MSG_CTRUNC
        with pytest.raises(OSError, match="ancillary"):
            a.sendmsg([b"x"], [(socket.SOL_SOCKET, 99, b"")], 0, b.getsockname())


@BOTH
def test_ttl_and_tos_of_a_socket(it: Pair, v: Any) -> None:
    a, b = ends(it, v)
    v6 = v is V6
    level = socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP
    with a, b:
        a.setsockopt(level, socket.IPV6_UNICAST_HOPS if v6 else socket.IP_TTL, 5)
        a.setsockopt(level, socket.IPV6_TCLASS if v6 else socket.IP_TOS, 0x10)
        for option in (51, 66) if v6 else (12, 13):
            b.setsockopt(level, option, 1)
        a.sendto(b"x", b.getsockname())
        values = [value[0] for _level, _kind, value in b.recvmsg(1, 100)[1]]
        assert values == [5, 0x10]


# --- groups ----------------------------------------------------------------------------------


def test_ipv4_groups(it: Pair) -> None:
    group = "239.1.2.3"
    a, b = ends(it, V4)
    with a, b, it.right.socket(socket.AF_INET, socket.SOCK_DGRAM) as member:
        member.settimeout(30)
        member.bind(("", 5007))
        request = socket.inet_aton(group) + socket.inet_aton(RIGHT)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        with pytest.raises(OSError, match="in use"):
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 3)
        a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LEFT))
        assert a.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4) == socket.inet_aton(LEFT)
        a.sendto(b"to all", (group, 5007))
        assert member.recv(100) == b"to all"
        member.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, request)
        a.sendto(b"gone", (group, 5007))
        a.sendto(b"still", (RIGHT, 5007))
        assert member.recv(100) == b"still"


def test_ipv6_groups(it: Pair) -> None:
    group = "ff02::1234"
    a, b = ends(it, V6)
    with a, b, it.right.socket(socket.AF_INET6, socket.SOCK_DGRAM) as member:
        member.settimeout(30)
        member.bind(("", 5007))
        index = it.right_interface.index
        request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("I", index)
        member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        a.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, it.left_interface.index)
        a.sendto(b"to all", (group, 5007))
        assert member.recv(100) == b"to all"
        member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, request)
        a.sendto(b"gone", (group, 5007))
        a.sendto(b"still", (RIGHT6, 5007))
        assert member.recv(100) == b"still"


def test_a_sender_hears_its_own_group_unless_told_otherwise(it: Pair) -> None:
    with it.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.bind(("", 5008))
        request = socket.inet_aton("239.9.9.9") + socket.inet_aton(LEFT)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        sock.sendto(b"echo", ("239.9.9.9", 5008))
        assert sock.recv(10) == b"echo"
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        sock.sendto(b"silence", ("239.9.9.9", 5008))
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(10)


def test_broadcasts_need_permission(it: Pair) -> None:
    a, b = ends(it, V4)
    with a, it.right.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        b.close()
        ear.settimeout(30)
        ear.bind(("", 5009))
        for to in ("10.0.0.255", "255.255.255.255"):
            with pytest.raises(PermissionError):
                a.sendto(b"x", (to, 5009))
        a.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for to in ("10.0.0.255", "255.255.255.255"):
            a.sendto(to.encode(), (to, 5009))
            assert ear.recv(100) == to.encode()


def test_addresses_shared_by_reuse(it: Pair) -> None:
    socks = [it.left.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LEFT, 6000))
    with it.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        with pytest.raises(OSError, match="in use"):
            other.bind((LEFT, 6000))
        other.bind((LEFT, 6001))
    for sock in socks:
        sock.close()


# --- raw -------------------------------------------------------------------------------------


def test_a_raw_socket_sees_and_sends_its_protocol(it: Pair) -> None:
    with (
        it.left.socket(socket.AF_INET, socket.SOCK_RAW, 200) as a,
        it.right.socket(socket.AF_INET, socket.SOCK_RAW, 200) as b,
    ):
        b.settimeout(30)
        assert a.sendto(b"payload", (RIGHT, 0)) == 7
        packet, where = b.recvfrom(2000)
        assert where == (LEFT, 0)
        assert packet[9] == 200
        assert packet[20:] == b"payload"
        a.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        header = bytes.fromhex("45000000000000000ac80000") + socket.inet_aton("10.0.0.55")
        a.sendto(header + socket.inet_aton(RIGHT) + b"own header", (RIGHT, 0))
        packet, where = b.recvfrom(2000)
        assert (where, packet[8], packet[20:]) == (("10.0.0.55", 0), 10, b"own header")


def test_raw_icmpv6(it: Pair) -> None:
    with it.left.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
        sock.settimeout(30)
        sock.sendto(struct.pack("!BBHHH", 128, 0, 0, 7, 1) + b"ping", (RIGHT6, 0))
        while True:
            message, where = sock.recvfrom(2000)
            if message[0] == 129:
                break
        assert (where[0], message[8:]) == (RIGHT6, b"ping")


def test_udp_lite_of_any_size(it: Pair) -> None:
    """lwIP 2.2.1 as it comes fails an assertion above 32 KiB (vendor/patches/0007)."""
    lite = getattr(socket, "IPPROTO_UDPLITE", 136)
    for family, host in ((socket.AF_INET, RIGHT), (socket.AF_INET6, RIGHT6)):
        with (
            it.left.socket(family, socket.SOCK_DGRAM, lite) as a,
            it.right.socket(family, socket.SOCK_DGRAM, lite) as b,
        ):
            b.settimeout(30)
            b.bind((host, 0))
            for size in (5, 40_000, 60_000):
                a.sendto(bytes(size), b.getsockname())
                assert b.recv(70_000) == bytes(size)


# --- ping and traceroute ---------------------------------------------------------------------


@pytest.mark.parametrize("to", [RIGHT, RIGHT6, "127.0.0.1", "::1", LEFT, LEFT6, "localhost"])
def test_ping(it: Pair, to: str) -> None:
    result = it.left.ping(to, count=3, interval=0.01, size=100, timeout=30)
    assert (result.sent, result.received, result.loss) == (3, 3, 0)
    assert bool(result)
    assert [reply.sequence for reply in result.replies] == [1, 2, 3]
    assert all(reply.size == 108 and reply.ttl == 64 for reply in result.replies)
    assert all(0 < rtt < 5000 for rtt in result.rtts_ms)
    assert "3 sent, 3 received, 0% lost" in str(result)


def test_ping_nobody(it: Pair) -> None:
    result = it.left.ping("10.0.0.99", timeout=0.1)
    assert (result.received, result.loss, bool(result)) == (0, 1, False)
    with pytest.raises(OSError, match="unreachable"):
        it.left.ping("192.0.2.1")
    with pytest.raises(socket.gaierror):
        it.left.ping("no.such.host")
    for name, wrong in (("count", 0), ("size", -1), ("size", 70_000), ("timeout", -1)):
        with pytest.raises(ValueError, match=f"{name} is .*, not {wrong}"):
            it.left.ping(RIGHT, **{name: wrong})


def test_large_pings_are_fragmented(it: Pair) -> None:
    for to in (RIGHT, RIGHT6):
        result = it.left.ping(to, size=20_000, timeout=30)
        assert result.received == 1
        assert result.replies[0].size == 20_008


def test_one_hop_traceroute(it: Pair) -> None:
    trace = it.left.traceroute(RIGHT, probes=2)
    assert trace.reached
    assert [hop.address for hop in trace.hops] == [RIGHT]
    assert RIGHT in str(trace)
    lost = it.left.traceroute("10.0.0.99", hops=2, probes=1, timeout=0.05)
    assert not lost.reached
    assert len(lost.hops) == 2


def test_a_nics_mtu_bounds_what_is_sent_whole() -> None:
    with pair(mtu=1000) as own:
        sent: list[int] = []
        assert own.left.ping(RIGHT, size=2500, timeout=30).received == 1
        before = own.left_interface.counters()["out_unicast_packets"]
        own.left.ping(RIGHT, size=2500, timeout=30)
        sent.append(own.left_interface.counters()["out_unicast_packets"] - before)
        assert sent == [3]
        assert isinstance(own.left, pystack.Stack)


def test_a_full_wire_loses_datagrams_and_says_nothing() -> None:
    left, _right = pystack.nic.wire(1500)  # nobody takes what comes out at the other end
    with pystack.Stack() as net:
        interface = net.attach(left, "192.0.2.1/24")
        net.neighbours.add("192.0.2.2", "02:00:00:00:00:02", interface)
        with net.sockets.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("192.0.2.2", 9))
            for _ in range(20000):
                assert sock.send(b"x") == 1
        assert interface.counters()["out_discards"] > 0


def test_a_closed_port_of_any_address_says_so(it: Pair) -> None:
    """The interface's second, another interface's, one of the loopback's (RFC 1122 4.1.3.1)."""
    spare, _unused = pystack.nic.wire()
    it.right_interface.addresses.add("10.0.0.33/24")
    other = it.right.attach(spare, "10.7.0.1/24")
    it.left.routes.add("10.7.0.0/24", RIGHT)
    try:
        for net, host in ((it.left, "10.0.0.33"), (it.left, "10.7.0.1"), (it.left, "127.0.0.2")):
            with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(30)
                sock.connect((host, 9))
                sock.send(b"anybody there?")
                with pytest.raises(ConnectionRefusedError):
                    sock.recv(1)
    finally:
        it.left.routes.delete("10.7.0.0/24")
        other.detach()
        it.right_interface.addresses.remove("10.0.0.33")
