"""What every Host has to be able to do before a case is put to it, with the real clock."""

from __future__ import annotations

import gc
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from lab_hosts import kind_of
from quick import representatives
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.packet import Raw

from pystack.lab.case import catalogue
from pystack.lab.host import Host, NeighbourEntry, RouteEntry
from pystack.lab.mutant import MutantHost
from pystack.lab.packets import arp, echo_reply6, echo_request6, icmp, ipv4, ipv6, payload, tcp, udp
from pystack.lab.plan import Topology
from pystack.lab.run import run_case
from pystack.lab.tcp import STATES, connect, in_state, open_from_host
from pystack.lab.tester import Tester
from pystack.lab.verdict import HostCrashed, Unable, Verdict

AGENTS = ("linux", "uml")
NAMES = ("lwip", "linux-6.12", "linux-7.2", *AGENTS)
QUICK = ("lwip", "linux-6.12", "linux")
TCP_INFO = 11
# Where the kernel's numbers for a connection's state stand (include/net/tcp_states.h).
KERNEL_STATES = {
    "SYN-SENT": 2,
    "ESTABLISHED": 1,
    "FIN-WAIT-1": 4,
    "FIN-WAIT-2": 5,
    "CLOSE-WAIT": 8,
    "CLOSING": 11,
    "LISTEN": 10,
}


def test_it_says_what_it_is(lab: Tester) -> None:
    assert lab.host.release


def test_arp_and_ping(lab: Tester) -> None:
    lab.send(lab.arp_request())
    lab.expect(arp(op=2, psrc=lab.host4, hwsrc=lab.host_mac))
    lab.send(lab.echo(data=b"four"))
    lab.expect(ipv4(src=lab.host4) / icmp(type=0) / payload(b"four"))
    lab.send(lab.echo6(data=b"six"))
    lab.expect(ipv6(src=lab.host6) / echo_reply6(data=b"six"))


def test_it_pings(lab: Tester) -> None:
    lab.host.ping(lab.tester4)
    lab.expect(ipv4(src=lab.host4, dst=lab.tester4) / icmp(type=8))
    lab.host.ping(lab.tester6, 100)
    lab.expect(ipv6(src=lab.host6) / echo_request6(data=bytes(100)))


@pytest.mark.parametrize("family", [4, 6])
def test_a_connection_from_either_side(lab: Tester, family: int) -> None:
    connect(lab, family=family).still_works()
    open_from_host(lab, family=family).still_works()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("state", STATES)
def test_every_state_of_tcp(lab: Tester, state: str, family: int) -> None:
    connection = in_state(lab, state, family=family)
    sock = connection.sock or connection.listener
    if lab.host.virtual or sock is None or state not in KERNEL_STATES:
        return
    found = sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO) & 0xFF
    assert found == KERNEL_STATES[state]


@pytest.mark.parametrize("family", [4, 6])
def test_udp_both_ways(lab: Tester, family: int) -> None:
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    sock = lab.socket(kind, socket.SOCK_DGRAM)
    sock.bind(("", 5000))
    assert sock.getsockname()[1] == 5000
    with pytest.raises(BlockingIOError):
        sock.recv(100)
    lab.send(lab.udp(4000, 5000, b"in") if family == 4 else lab.udp6(4000, 5000, b"in"))
    data, peer = lab.until(lambda: sock.recvfrom(100))
    peer_address = lab.tester4 if family == 4 else lab.tester6
    assert (data, tuple(peer[:2])) == (b"in", (peer_address, 4000))
    sock.sendto(b"", (peer_address, 4001))
    assert lab.expect(udp(sport=5000, dport=4001, len=8))
    big = bytes(range(256)) * 5
    sock.sendto(big, (peer_address, 4001))
    assert lab.expect(udp(dport=4001) / payload(big))


def test_errors_are_those_of_the_module_socket(lab: Tester) -> None:
    sock = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
    with pytest.raises(BlockingIOError):
        sock.connect((lab.tester4, 4000))
    syn = lab.expect(tcp(flags="S", dport=4000))
    lab.send(
        lab.ip() / TCP(sport=4000, dport=syn[TCP].sport, flags="RA", ack=syn[TCP].seq + 1, window=0)
    )
    with pytest.raises(ConnectionRefusedError):
        lab.until(lambda: sock.connect((lab.tester4, 4000)))
    sock.close()
    with pytest.raises(OSError, match=r"closed|Bad file"):
        sock.getsockname()
    listener = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    listener.bind((lab.host4, 80))
    listener.listen()
    with pytest.raises(BlockingIOError):
        listener.accept()
    with pytest.raises(OSError, match="in use"):
        lab.socket(socket.AF_INET, socket.SOCK_STREAM).bind((lab.host4, 80))


def test_neighbours(lab: Tester) -> None:
    assert lab.host.neighbours() == []
    mac = "02:00:5e:00:53:77"
    for address in ("192.0.2.77", "2001:db8:1::77"):
        lab.host.add_neighbour(address, mac)
        assert NeighbourEntry(address, mac, "permanent") in lab.host.neighbours()
        lab.host.ping(address)
        lab.expect((ipv4(dst=address) / icmp()) if "." in address else ipv6(dst=address))
        lab.host.delete_neighbour(address)
        assert address not in {
            one.address for one in lab.host.neighbours() if one.state != "failed"
        }
    lab.resolve(4)
    lab.resolve(6)
    known = {one.address: one.mac for one in lab.host.neighbours()}
    assert known[lab.tester4] == known[lab.tester6] == lab.tester_mac
    lab.host.flush_neighbours()
    assert lab.host.neighbours() == []


def test_routes(lab: Tester) -> None:
    for network, gateway in (
        ("198.51.100.0/24", "192.0.2.9"),
        ("2001:db8:9::/48", "2001:db8:1::9"),
    ):
        entry = RouteEntry(network, gateway)
        lab.host.add_route(network, gateway)
        assert entry in lab.host.routes()
        lab.host.delete_route(network)
        assert entry not in lab.host.routes()
    assert RouteEntry("0.0.0.0/0", lab.tester4) in lab.host.routes()
    assert RouteEntry("::/0", lab.tester6) in lab.host.routes()


def test_addresses_and_mtu(lab: Tester) -> None:
    first = {"192.0.2.2/24", "2001:db8:1::2/64", f"{lab.host_ll}/64"}
    assert first <= set(lab.host.addresses())
    lab.host.add_address("192.0.2.9/24")
    lab.host.add_address("2001:db8:1::9/64")
    assert {"192.0.2.9/24", "2001:db8:1::9/64"} <= set(lab.host.addresses())
    lab.send(lab.arp_request(pdst="192.0.2.9"))
    lab.expect(arp(op=2, psrc="192.0.2.9"))
    lab.host.delete_address("192.0.2.9/24")
    lab.host.delete_address("2001:db8:1::9/64")
    assert not {"192.0.2.9/24", "2001:db8:1::9/64"} & set(lab.host.addresses())
    lab.host.set_mtu(1300)
    lab.host.ping(lab.tester4, 1400)
    assert len(lab.expect(ipv4(dst=lab.tester4, flags="MF") / icmp(type=8))) <= 1314


def test_tunables(lab: Tester) -> None:
    was = lab.host.sysctl("net.ipv4.ip_default_ttl")
    assert lab.host.sysctl("net.ipv4.ip_default_ttl", 33) == 33
    lab.send(lab.echo())
    lab.expect(ipv4(ttl=33) / icmp(type=0))
    lab.host.sysctl("net.ipv4.ip_default_ttl", was)
    with pytest.raises(Unable):
        lab.host.sysctl("net.ipv4.no_such_tunable")


def test_two_wires_forward(router: Tester) -> None:
    lab = router
    lab.send(lab.ip(dst=lab.other.tester4, ttl=9) / UDP(sport=1, dport=2) / Raw(b"over"))
    lab.expect(ipv4(src=lab.tester4, ttl=8) / payload(b"over"), port=1)
    lab.send(lab.ip6(dst=lab.other.tester6, hlim=9) / UDP(sport=1, dport=2) / Raw(b"six"))
    lab.expect(ipv6(src=lab.tester6, hlim=8) / payload(b"six"), port=1)
    lab.send(
        lab.ip(src=lab.other.tester4, dst=lab.tester4) / UDP(sport=1, dport=2) / Raw(b"back"),
        port=1,
    )
    lab.send(lab.ip(src=lab.other.tester4, dst=lab.other.host4) / ICMP(), port=1)
    lab.expect(icmp(type=0), port=1)


def test_every_case_begins_afresh(host: Host) -> None:
    plan = Topology.HOST.plan()
    for _ in range(2):
        host.start(plan)
        lab = Tester(host, plan)
        assert host.neighbours() == []
        assert "192.0.2.9/24" not in host.addresses()
        assert RouteEntry("198.51.100.0/24", "192.0.2.9") not in host.routes()
        assert host.sysctl("net.ipv4.ip_default_ttl") != 33
        # The same four-tuple again, while the last one would be in TIME-WAIT.
        listener = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((lab.host4, 7777))
        listener.listen()
        lab.send(lab.ip() / TCP(sport=40001, dport=7777, flags="S", seq=1_000_000))
        lab.expect(tcp(flags="SA", ack=1_000_001))
        host.add_address("192.0.2.9/24")
        host.add_route("198.51.100.0/24", "192.0.2.9")
        host.sysctl("net.ipv4.ip_default_ttl", 33)
        lab.resolve()
        lab.finish()


def test_cases_and_their_mutants(host: Host) -> None:
    for case in catalogue():
        if case.id in ("ARP-3.1", "ARP-3.2"):
            assert run_case(host, case).verdict is Verdict.PASS
            assert case.mutant is not None
            result = run_case(MutantHost(host, case.mutant), case)
            if case.id == "ARP-3.1":
                assert result.verdict is Verdict.FAIL


# --- what is left behind ---------------------------------------------------------------------


def _descriptors() -> set[str]:
    found = set()
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists this folder
            found.add(f"{one.name}: {one.readlink()}")
    return found


def _children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


@pytest.fixture
def own_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for temporary files that no other test uses, with a short name for sockets."""
    with tempfile.TemporaryDirectory(prefix="own") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield
        monkeypatch.undo()


def _kernels() -> set[str]:
    """This test's processes of User-Mode Linux, some nobody's children, and its folders."""
    place = tempfile.gettempdir()
    found = {str(one) for one in Path(place).glob("pystack-uml-*")}
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            words = one.read_bytes()
            if b"linux.uml\0" in words and f"uml_dir={place}/".encode() in words:
                found.add(one.parent.name)
    return found


@pytest.mark.usefixtures("own_folder")
@pytest.mark.parametrize("name", representatives(AGENTS, QUICK[-1:]))
def test_ten_starts_leave_nothing_behind(name: str) -> None:
    kind = kind_of(name)
    plan = Topology.HOST.plan()
    gc.collect()  # of other tests
    children, descriptors, kernels = _children(), _descriptors(), _kernels()
    host = kind.make()
    for round_ in range(10):
        host.start(plan)
        if round_ % 3 == 2:
            host.stop()
    host.stop()
    host.stop()
    assert _children() == children
    assert _descriptors() == descriptors
    assert _kernels() == kernels


@pytest.mark.usefixtures("own_folder")
@pytest.mark.parametrize("name", representatives(AGENTS, QUICK[-1:]))
def test_a_crash_is_noticed(name: str) -> None:
    kind = kind_of(name)
    plan = Topology.HOST.plan()
    before, kernels = set(_children()), _kernels()
    host = kind.make()
    try:
        host.start(plan)
        (agent,) = set(_children()) - before
        os.kill(agent, signal.SIGKILL)
        until = time.monotonic() + 10
        with pytest.raises(HostCrashed):
            while time.monotonic() < until:  # what it had sent comes first
                host.wait(5)
        with pytest.raises(HostCrashed):
            host.neighbours()
        host.start(plan)
        lab = Tester(host, plan)
        lab.send(lab.arp_request())
        lab.expect(arp(op=2))
    finally:
        host.stop()
    assert set(_children()) == before
    assert _kernels() == kernels
