"""Neighbours, routes, connections, counters: each operation with its effect on the wire."""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pair import LEFT, LEFT6, RIGHT, RIGHT6, pair, whole
from scapy.all import ARP, IP, UDP, Ether, ICMPv6ND_NS

import pystack
from pystack.hypercalls import ManualClock
from pystack.tables import (
    Neighbour,
    NeighbourState,
    RouteOrigin,
    TcpState,
    format_connections,
)

FAR_MAC = "02:00:00:00:00:99"


@dataclass
class Bench:
    """A Stack without a driver, and the bare ends of its wires."""

    net: pystack.Stack
    clock: ManualClock
    interfaces: list[pystack.Interface]
    ends: list[pystack.nic.Nic]

    def sent(self, wire: int = 0) -> list[Ether]:
        """What the Stack has sent since the last look."""
        self.net.step()
        found = []
        while (frame := self.ends[wire].receive(0)) is not None:
            found.append(Ether(frame))
        return found

    def forget(self) -> None:
        """Looks away from what was sent so far."""
        for wire in range(len(self.ends)):
            self.sent(wire)

    def datagram(self, to: str) -> None:
        """Sends one datagram."""
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with self.net.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (to, 9))


@contextmanager
def bench(*addresses: tuple[str, ...]) -> Iterator[Bench]:
    clock = ManualClock()
    ends = []
    with pystack.Stack(threaded=False, clock=clock, seed=1) as net:
        interfaces = []
        for own in addresses:
            ours, theirs = pystack.nic.wire()
            ends.append(theirs)
            interfaces.append(net.attach(ours, *own))
        made = Bench(net, clock, interfaces, ends)
        for _ in range(50):
            clock.advance(0.1)
            net.step()
        made.forget()
        yield made


# --- neighbours ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "other", "asks"),
    [(f"{LEFT}/24", RIGHT, ARP), (f"{LEFT6}/64", RIGHT6, ICMPv6ND_NS)],
    ids=["arp", "nd"],
)
def test_a_permanent_neighbour_is_never_asked_for(own: str, other: str, asks: type) -> None:
    with bench((own,)) as it:
        it.datagram(other)
        assert any(asks in frame for frame in it.sent())
        it.net.neighbours.flush()
        it.net.neighbours.add(other, FAR_MAC)
        it.forget()
        it.datagram(other)
        frames = it.sent()
        assert [frame.dst for frame in frames if UDP in frame] == [FAR_MAC]
        assert not any(asks in frame for frame in frames)
        (entry,) = it.net.neighbours.list()
        assert entry == Neighbour(
            ipaddress.ip_address(other),
            FAR_MAC,
            NeighbourState.PERMANENT,
            it.interfaces[0].index,
            False,
            entry.age_s,
        )


@pytest.mark.parametrize(
    ("own", "other", "asks"),
    [(f"{LEFT}/24", RIGHT, ARP), (f"{LEFT6}/64", RIGHT6, ICMPv6ND_NS)],
    ids=["arp", "nd"],
)
def test_a_deleted_neighbour_is_asked_for_again(own: str, other: str, asks: type) -> None:
    with bench((own,)) as it:
        table = it.net.neighbours
        table.add(other, FAR_MAC)
        table.flush()  # permanent ones stay
        assert len(table) == 1
        table.delete(other)
        assert table.list() == []
        it.datagram(other)
        assert any(asks in frame for frame in it.sent())
        with pytest.raises(ProcessLookupError):
            table.delete("10.0.0.77" if ":" not in other else "fd00::77")
        table.add(other, FAR_MAC)
        table.flush(permanent=True)
        assert len(table) == 0


def test_flushing_one_family_or_interface_leaves_the_others() -> None:
    with bench((f"{LEFT}/24", f"{LEFT6}/64"), ("10.1.0.1/24",)) as it:
        table = it.net.neighbours
        table.add(RIGHT, FAR_MAC)
        table.add(RIGHT6, FAR_MAC)
        table.add("10.1.0.2", FAR_MAC)
        table.flush(family=socket.AF_INET6, permanent=True)
        assert {str(one.address) for one in table} == {RIGHT, "10.1.0.2"}
        table.flush(interface=it.interfaces[1], permanent=True)
        assert [str(one.address) for one in table] == [RIGHT]
        assert table.list(interface=it.interfaces[1]) == []


def test_what_a_neighbour_says_is_learned() -> None:
    with pair() as it:
        assert it.left.ping(RIGHT, timeout=30).received == 1
        (entry,) = it.left.neighbours.list()
        assert (str(entry.address), entry.mac) == (RIGHT, it.right_interface.mac)
        assert entry.state is NeighbourState.REACHABLE


def test_neighbours_refuse_nonsense() -> None:
    with bench((f"{LEFT}/24",)) as it:
        table = it.net.neighbours
        for mac in ("02:00", "zz:00:00:00:00:01", b"12345", ""):
            with pytest.raises(ValueError, match="Ethernet address"):
                table.add(RIGHT, mac)
        with pytest.raises(ValueError, match="not appear"):
            table.add("10.0.0", FAR_MAC)
        with pytest.raises(OSError, match=r"[Ii]nvalid"):
            table.add("224.0.0.1", FAR_MAC, it.interfaces[0])
        with pytest.raises(OSError, match="not supported"):
            table.add("127.0.0.2", FAR_MAC)
        with pytest.raises(OSError, match="no interface"):
            table.add(RIGHT, FAR_MAC, "eth9")


# --- routes ----------------------------------------------------------------------------------


def test_the_longest_prefix_wins_then_the_metric() -> None:
    with bench(("10.0.0.1/24",), ("10.1.0.1/24",)) as it:
        net = it.net
        for hop in ("10.0.0.254", "10.1.0.254"):
            net.neighbours.add(hop, FAR_MAC)
        net.routes.add("default", "10.0.0.254")
        net.routes.add("172.16.0.0/12", "10.1.0.254")
        net.routes.add("172.16.5.0/24", "10.0.0.254", metric=20)
        net.routes.add("172.16.5.0/24", "10.1.0.254", metric=10)

        def leaves_by(to: str) -> list[bool]:
            it.forget()
            it.datagram(to)
            return [any(UDP in frame for frame in it.sent(wire)) for wire in (0, 1)]

        assert leaves_by("192.0.2.1") == [True, False]
        assert leaves_by("172.17.0.1") == [False, True]
        assert leaves_by("172.16.5.9") == [False, True]
        net.routes.delete("172.16.5.0/24", "10.1.0.254", metric=10)
        assert leaves_by("172.16.5.9") == [True, False]
        net.routes.delete("172.16.5.0/24")
        assert leaves_by("172.16.5.9") == [False, True]
        net.routes.delete("default", "10.0.0.254")
        with pytest.raises(OSError, match="unreachable"):
            it.datagram("192.0.2.1")


def test_ipv6_routes() -> None:
    with bench(("fd00::1/64",), ("fd01::1/64",)) as it:
        net = it.net
        net.neighbours.add("fd00::ff", FAR_MAC)
        net.neighbours.add("fd01::ff", FAR_MAC)
        net.routes.add("default", "fd00::ff")
        net.routes.add("2001:db8::/32", "fd01::ff")
        it.datagram("2001:db8::1")
        assert any(UDP in frame for frame in it.sent(1))
        it.datagram("2001:db9::1")
        assert any(UDP in frame for frame in it.sent(0))
        assert net.routes.lookup("2001:db8::1").gateway == ipaddress.ip_address("fd01::ff")
        assert net.routes.lookup("fd01::5").origin is RouteOrigin.CONNECTED
        net.routes.delete("2001:db8::/32")
        assert net.routes.lookup("2001:db8::1").gateway == ipaddress.ip_address("fd00::ff")


def test_routes_without_a_gateway_and_with_a_source() -> None:
    with bench(("10.0.0.1/24", "10.0.0.7/24")) as it:
        net, eth0 = it.net, it.interfaces[0]
        net.routes.add("10.9.0.0/16", interface=eth0, source="10.0.0.7")
        net.neighbours.add("10.9.0.1", FAR_MAC, eth0)
        it.datagram("10.9.0.1")
        (frame,) = [frame for frame in it.sent() if UDP in frame]
        assert (frame[IP].src, frame.dst) == ("10.0.0.7", FAR_MAC)


def test_routes_refuse_nonsense() -> None:
    with bench(("10.0.0.1/24",)) as it:
        routes = it.net.routes
        routes.add("10.5.0.0/16", "10.0.0.254")
        with pytest.raises(FileExistsError):
            routes.add("10.5.0.0/16", "10.0.0.253")
        with pytest.raises(OSError, match="unreachable"):
            routes.add("10.6.0.0/16", "192.0.2.1")
        with pytest.raises(ProcessLookupError):
            routes.delete("10.7.0.0/16")
        with pytest.raises(ValueError, match="host bits"):
            routes.add("10.5.0.1/16", "10.0.0.254")
        with pytest.raises(ValueError, match="family"):
            routes.add("default")
        with pytest.raises(OSError, match=r"[Ii]nvalid|device"):
            routes.add("10.8.0.0/16", "fd00::1")
        with pytest.raises(OSError, match="unreachable"):
            routes.lookup("192.0.2.1")


@pytest.mark.parametrize("family", [4, 6])
def test_forwarding_between_interfaces(family: int) -> None:
    v6 = family == 6
    networks = ("fd00:{}::{}/64", "fd00:{}::{}") if v6 else ("10.{}.0.{}/24", "10.{}.0.{}")
    name = "net.ipv6.conf.all.forwarding" if v6 else "net.ipv4.ip_forward"
    a1, r1 = pystack.nic.wire()
    r2, b1 = pystack.nic.wire()
    with pystack.Stack() as a, pystack.Stack() as router, pystack.Stack() as b:
        a.attach(a1, networks[0].format(1, 1), gateway=networks[1].format(1, 254 if not v6 else 9))
        router.attach(r1, networks[0].format(1, 254 if not v6 else 9))
        router.attach(r2, networks[0].format(2, 254 if not v6 else 9))
        b.attach(b1, networks[0].format(2, 1), gateway=networks[1].format(2, 254 if not v6 else 9))
        far = networks[1].format(2, 1)
        assert router.sysctl[name] == 0
        assert a.ping(far, timeout=0.2).received == 0
        router.sysctl[name] = 1
        assert a.ping(far, timeout=30).received == 1
        trace = a.traceroute(far, probes=1, timeout=30)
        near = networks[1].format(1, 254 if not v6 else 9)
        assert trace.reached, str(trace)
        assert [ipaddress.ip_address(hop.address or "::") for hop in trace.hops] == [
            ipaddress.ip_address(near),
            ipaddress.ip_address(far),
        ]
        lost = a.ping(far, ttl=1, timeout=30)
        assert lost.received == 0
        assert lost.replies[0].time_exceeded
        router.sysctl[name] = 0
        assert a.ping(far, timeout=0.2).received == 0


# --- connections and counters ----------------------------------------------------------------


def test_connections_are_listed_with_their_states() -> None:
    with pair() as it:
        listener = it.right.sockets.create_server((RIGHT, 80))
        client = it.left.sockets.create_connection((RIGHT, 80), 30)
        datagram = it.left.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        datagram.bind((LEFT6, 53))
        raw = it.left.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        server, _peer = listener.accept()
        client.sendall(b"12345")
        server.recv(1, socket.MSG_PEEK)
        rows = {(one.protocol, one.local[1]): one for one in it.left.connections()}
        port = client.getsockname()[1]
        assert rows["tcp", port].state is TcpState.ESTABLISHED
        assert rows["tcp", port].remote == (RIGHT, 80)
        assert rows["udp6", 53].local == (LEFT6, 53)
        assert rows["udp6", 53].state is None
        assert any(one.protocol == "raw:1" for one in it.left.connections())
        far = {one.state: one for one in it.right.connections()}
        assert far[TcpState.LISTEN].local == (RIGHT, 80)
        assert far[TcpState.ESTABLISHED].receive_queue == 5
        server.close()
        client.settimeout(30)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        for sock in (client, listener, datagram, raw):
            sock.close()
        assert it.left.connections() == []
    header, *lines = format_connections(rows.values())
    assert header[0] == "Proto"
    assert [f"[{LEFT6}]:53" in line for line in lines].count(True) == 1


def test_an_orderly_end_is_seen_in_the_states() -> None:
    with pair() as it:
        client, server = it.connected()
        port = client.getsockname()[1]

        def state(net: pystack.Stack, local: int) -> TcpState | None:
            return next((one.state for one in net.connections() if one.local[1] == local), None)

        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
        assert state(it.right, server.getsockname()[1]) is TcpState.CLOSE_WAIT
        assert state(it.left, port) is TcpState.FIN_WAIT_2
        server.close()
        assert client.recv(1) == b""
        client.close()
        assert state(it.left, port) is TcpState.TIME_WAIT


def test_counters_count() -> None:
    with pair() as it:
        before = it.left.counters()
        wire = it.left_interface.counters()
        assert it.left.ping(RIGHT, count=3, interval=0, timeout=30).received == 3
        client, server = it.connected()
        client.sendall(b"x" * 10_000)
        whole(server, 10_000)
        after = it.left.counters()
        assert after["tcp.active_opens"] == before["tcp.active_opens"] + 1
        assert after["tcp.out_segments"] >= before["tcp.out_segments"] + 8
        assert after["ip.in_receives"] > before["ip.in_receives"]
        more = it.left_interface.counters()
        assert more["out_octets"] >= wire["out_octets"] + 10_000
        assert more["in_unicast_packets"] > wire["in_unicast_packets"]
        client.close()
        server.close()


def test_resets_and_orderly_ends_are_told_apart() -> None:
    with pair() as it:
        for end in ("close", "reset", "close"):
            client, server = it.connected()
            if end == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                with pytest.raises(ConnectionResetError):
                    server.recv(1)
            else:
                client.close()
                assert server.recv(1) == b""
            server.close()
        for net in (it.left, it.right):
            assert net.counters()["tcp.established_resets"] == 1
        before = it.left.counters()
        assert it.left.ping(RIGHT6, count=3, interval=0.01, timeout=30).received == 3
        after = it.left.counters()
        for name in ("icmp6.in_protocol_errors", "icmp6.in_discards"):
            assert after[name] == before[name]


def test_a_connection_tells_what_tcp_knows() -> None:
    with pair(mtu=1400) as it:
        client, server = it.connected()
        client.sendall(b"x" * 20_000)
        whole(server, 20_000)
        server.sendall(b"ok")
        assert client.recv(2) == b"ok"
        info = client.tcp_info()
        assert info.state is TcpState.ESTABLISHED
        assert info.send_mss == 1400 - 40
        assert info.bytes_acked == 20_000
        assert server.tcp_info().bytes_received == 20_000
        raw = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        assert raw[0] == 1  # TCP_ESTABLISHED
        assert int.from_bytes(raw[16:20], "little") == 1360  # tcpi_snd_mss
        client.close()
        server.close()


def test_segments_are_counted_as_the_wire_has_them() -> None:
    """RFC 4022: those without data as well, and each of those that a NIC joins."""
    with pair() as it:
        client, server = it.connected()
        with client, server:
            for size in (1, 100, 20_000, 300_000):
                client.sendall(b"x" * size)
                whole(server, size)
                server.sendall(b"y" * size)
                whole(client, size)

            def figures(net: pystack.Stack, sock: Any, others: int) -> tuple[list[int], list[int]]:
                counted, told = net.counters(), sock.tcp_info()
                return (
                    [counted["tcp.out_segments"], counted["tcp.in_segments"]],
                    [told.segments_out + others, told.segments_in + others],
                )

            # The server's connection begins after SYN and SYN-ACK.
            for net, sock, others in ((it.left, client, 0), (it.right, server, 1)):
                deadline = time.monotonic() + 60
                while True:  # an acknowledgement may go between the two
                    counted, told = figures(net, sock, others)
                    if counted == told or time.monotonic() > deadline:
                        break
                assert counted == told
