"""`pystack.scapy`: scapy beside a Stack, at the end of its wire, and on its TCP; in memory."""

from __future__ import annotations

import errno
import gc
import os
import resource
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from installed import needs_library
from scapy.automaton import ATMT, Automaton
from scapy.config import conf
from scapy.layers.http import HTTP, HTTPRequest, HTTPResponse
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, TCP_client
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from scapy.sendrecv import AsyncSniffer, sniff, sr, sr1, srp1
from served_pages import pages

import pystack
from pystack import nic
from pystack.nic import Layer
from pystack.scapy import FarEnd, LinkSocket, NetworkSocket, Shared, installed, share, tcp_link
from pystack.scapy.flows import flow_of

PAGE = bytes(range(256)) * 40
needs_pcap = needs_library("pcap")  # which compiles filters
SYN = {"sport": 1234, "flags": "S", "seq": 7}


@dataclass
class Place:
    """A Stack that shares its NIC with scapy, and a server's."""

    net: pystack.Stack
    shared: Shared
    server: pystack.Stack
    port: int


def resets(net: pystack.Stack) -> int:
    return net.counters()["tcp.out_resets"]


@pytest.fixture(params=[Layer.ETHERNET, Layer.IP], ids=lambda layer: layer.name.lower())
def place(request: Any) -> Iterator[Place]:
    left, right = nic.wire(layer=request.param)
    with ExitStack() as cleanup:
        net = cleanup.enter_context(pystack.Stack())
        server = cleanup.enter_context(pystack.Stack())
        shared = share(left)
        net.attach(shared, "10.0.0.1/24", "fd00::1/64", gateway=["10.0.0.2", "fd00::2"])
        server.attach(right, "10.0.0.2/24", "fd00::2/64")
        port = cleanup.enter_context(pages(server, "10.0.0.2", {"/": PAGE}, 80))
        yield Place(net, shared, server, port)


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    before, conf.verb = conf.verb, 0
    yield
    conf.verb = before


# --- beside a Stack --------------------------------------------------------------------------


def test_a_handshake_by_hand_is_not_reset(place: Place) -> None:
    with NetworkSocket(place.net) as beside:
        to = {"dport": place.port, **SYN}
        answer = beside.sr1(IP(dst="10.0.0.2") / TCP(**to), timeout=30)
        assert answer is not None
        assert (str(answer[TCP].flags), answer[TCP].ack, answer.dst) == ("SA", 8, "10.0.0.1")
        to |= {"flags": "PA", "seq": 8, "ack": answer.seq + 1}
        data = IP(dst="10.0.0.2") / TCP(**to) / b"GET / HTTP/1.0\r\n\r\n"
        first = beside.sr1(data, timeout=30)
        assert first is not None
        assert first[TCP].ack == 8 + 18
    # Nobody listens any more, and still nobody resets it.
    assert place.server.ping("10.0.0.1", timeout=30).received == 1
    assert resets(place.net) == 0
    assert place.shared.claims == 1
    place.shared.release()
    assert place.shared.claims == 0


def test_ports_that_are_not_scapys_are_answered_by_the_stack(place: Place) -> None:
    with NetworkSocket(place.net) as beside:
        beside.sr1(IP(dst="10.0.0.2") / TCP(dport=place.port, **SYN), timeout=30)
        with pytest.raises(ConnectionRefusedError):
            place.server.sockets.create_connection(("10.0.0.1", 4), 30)
        with place.net.sockets.create_server(("10.0.0.1", 5)):
            place.server.sockets.create_connection(("10.0.0.1", 5), 30).close()


@pytest.mark.parametrize("family", [4, 6])
def test_pings_and_closed_ports(place: Place, family: int) -> None:
    four = family == 4
    to: Any = IP(dst="10.0.0.2") if four else IPv6(dst="fd00::2")
    with NetworkSocket(place.net) as beside:
        echo = ICMP() / b"data" if four else ICMPv6EchoRequest(data=b"data")
        answer = beside.sr1(to / echo, timeout=30)
        assert answer is not None
        assert answer.haslayer(ICMP if four else ICMPv6EchoReply)
        answer = beside.sr1(to / UDP(sport=9, dport=9), timeout=30)
        assert answer is not None
        assert answer.haslayer(IPerror if four else ICMPv6DestUnreach)
        answer = beside.sr1(to / TCP(dport=9, **SYN), timeout=30)
        assert answer is not None
        assert str(answer[TCP].flags) == "RA"


def test_a_scan(place: Place) -> None:
    ports = [1, 2, place.port, 4]
    with NetworkSocket(place.net) as beside:
        answered, rest = beside.sr(IP(dst="10.0.0.2") / TCP(sport=99, dport=ports), timeout=30)
    assert not rest
    found = {one[TCP].dport: str(other[TCP].flags) for one, other in answered}
    assert found == {1: "RA", 2: "RA", place.port: "SA", 4: "RA"}


def test_what_can_not_be_sent(place: Place) -> None:
    with NetworkSocket(place.net) as beside:
        with pytest.raises(OSError, match="own") as caught:
            beside.send(IP(dst="10.0.0.1") / ICMP())
        assert caught.value.errno == errno.ENETUNREACH
        with pytest.raises(TypeError, match="Ether"):
            beside.send(Ether() / ARP())
        with pytest.raises(OSError, match="1500") as caught:
            beside.send(IPv6(dst="fd00::2") / UDP() / bytes(2000))
        assert caught.value.errno == errno.EMSGSIZE
        if place.shared.layer is Layer.IP:
            assert beside.send(IP(dst="10.0.0.99") / ICMP()) == 28
    with pytest.raises(OSError, match="closed"):
        beside.send(IP(dst="10.0.0.2") / ICMP())
    with pytest.raises(EOFError):
        beside.recv()
    beside.close()


@needs_pcap
def test_long_packets_are_fragmented(place: Place) -> None:
    with NetworkSocket(place.net, filter="icmp") as beside:
        beside.send(IP(dst="10.0.0.2") / ICMP() / bytes(4000))
        found = beside.recv()
        assert found is not None
        assert found[IP].frag == 0
        assert found[IP].flags.MF


def test_neighbours_that_lie() -> None:
    """Frames that are too short, and an advertisement that a router has passed on."""
    left, right = nic.wire()
    with right, pystack.Stack() as net:
        net.attach(share(left), "fd00::1/64")
        with NetworkSocket(net) as beside:
            sent: list[int] = []
            packet = IPv6(dst="fd00::2") / UDP(dport=9)
            sender = threading.Thread(target=lambda: sent.append(beside.send(packet)))
            sender.start()
            while (asked := Ether(right.receive(10))) and ICMPv6ND_NS not in asked:
                pass
            answer = (
                Ether(dst=asked.src, src="02:00:00:00:00:02")
                / IPv6(src="fd00::2", dst="fd00::1", hlim=255)
                / ICMPv6ND_NA(tgt="fd00::2", R=0, S=1)
                / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:02")
            )
            for size in range(14, 78):
                right.send(bytes(answer)[:size])
            routed = answer.copy()
            routed[IPv6].hlim = 254
            routed[ICMPv6NDOptDstLLAddr].lladdr = "02:00:00:00:00:66"
            right.send(bytes(routed))
            right.send(bytes(answer))
            sender.join(30)
            assert sent == [len(packet)]
            while UDP not in (found := Ether(right.receive(10))):
                pass
            assert found.dst == "02:00:00:00:00:02"


def test_a_neighbour_that_is_silent() -> None:
    left, right = nic.wire()
    with pystack.Stack() as net, right:
        net.attach(share(left), "10.0.0.1/24", gateway="10.0.0.9")
        with NetworkSocket(net) as beside:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("pystack.scapy.hops._EACH", 0.01)
                with pytest.raises(OSError, match=r"10\.0\.0\.9") as caught:
                    beside.send(IP(dst="10.0.0.9") / ICMP())
            assert caught.value.errno == errno.EHOSTUNREACH
            beside.send(IP(dst="10.0.0.255") / ICMP())
            beside.send(IP(dst="224.0.0.1") / ICMP())
        macs = {one[:6] for one in iter(lambda: right.receive(0.05), None)}
        assert {b"\xff" * 6, b"\x01\0\x5e\0\0\1"} <= macs


def test_a_nic_that_is_not_shared() -> None:
    left, right = nic.wire()
    with pystack.Stack() as net, right:
        net.attach(left, "10.0.0.1/24")
        for use in (
            lambda: NetworkSocket(net),
            lambda: LinkSocket(left),
            lambda: installed(net).__enter__(),
        ):
            with pytest.raises(ValueError, match=r"pystack\.scapy\.share"):
                use()


def test_a_flow_of_the_stacks_own_stays_its(place: Place) -> None:
    with (
        NetworkSocket(place.net) as beside,
        place.net.sockets.create_connection(("10.0.0.2", place.port), 30) as own,
    ):
        port = own.getsockname()[1]
        beside.send(IP(dst="10.0.0.2") / TCP(sport=port, dport=place.port, flags="A", seq=1))
        own.settimeout(30)
        own.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert own.recv(8).startswith(b"HTTP/1")
        assert place.shared.claims == 0


@needs_pcap
def test_a_flow_that_is_claimed_again_stays_claimed_meanwhile(place: Place) -> None:
    """Each packet that scapy sends claims its flow; the driver's thread looks at any moment."""
    syn = Ether() / IP(src="10.0.0.2", dst="10.0.0.1") / TCP(**SYN, dport=999)
    arriving = nic.Frame(bytes(syn), False, 0.0, Layer.ETHERNET)
    flow = flow_of(arriving.packet)
    assert flow is not None
    place.shared.claim(flow)
    over = threading.Event()

    def claim() -> None:
        while not over.is_set():
            place.shared.claim(flow)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=claim)
    thread.start()
    try:
        assert [place.shared._pass(arriving) for _ in range(5000)] == [None] * 5000
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(usual)
        place.shared.release()


def test_frames_of_both_directions_are_seen(place: Place) -> None:
    with LinkSocket(place.shared, filter="icmp") as link:
        assert place.net.ping("10.0.0.2", timeout=30).received == 1
        kinds = [link.recv()[ICMP].type, link.recv()[ICMP].type]  # type: ignore[index]
        assert kinds == [8, 0]
        assert not LinkSocket.select([link], 0)
        with pytest.raises(OSError, match="1500"):
            link.send(bytes(2000))


@needs_pcap
def test_a_wrong_filter(place: Place) -> None:
    from scapy.error import Scapy_Exception

    with pytest.raises(Scapy_Exception, match="filter"):
        LinkSocket(place.shared, filter="no such thing")
    gc.collect()


def test_what_nobody_reads_is_bounded(place: Place) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pystack.scapy.sockets._QUEUE_FRAMES", 3)
        with LinkSocket(place.shared) as link:
            place.net.ping("10.0.0.2", count=3, interval=0, timeout=30)
            assert link.lost >= 3


def test_a_reader_is_woken_when_it_is_closed(place: Place) -> None:
    link = LinkSocket(place.shared)
    found: list[BaseException] = []

    def read() -> None:
        try:
            while True:
                link.recv()
        except EOFError as error:
            found.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    link.close()
    thread.join(30)
    assert not thread.is_alive()
    assert found


# --- in the kernel's place -------------------------------------------------------------------


@needs_pcap
def test_scapys_own_functions(place: Place) -> None:
    name = place.net.interfaces[1].name
    routes, interfaces, iface = conf.route.routes, dict(conf.ifaces.data), conf.iface
    with installed(place.net):
        assert str(conf.iface) == name
        assert IP(dst="10.9.9.9").src == "10.0.0.1"
        assert IPv6(dst="fd00::2").src == "fd00::1"
        answer = sr1(IP(dst="10.0.0.2") / TCP(dport=place.port, **SYN), timeout=30)
        assert str(answer[TCP].flags) == "SA"
        answered, _rest = sr(IPv6(dst="fd00::2") / ICMPv6EchoRequest(), timeout=30)
        assert len(answered) == 1
        if place.shared.layer is Layer.ETHERNET:
            assert srp1(Ether() / IP(dst="10.0.0.2") / ICMP(), timeout=30)[ICMP].type == 0
        sniffer = AsyncSniffer(iface=name, filter="icmp", count=2)
        sniffer.start()
        while not getattr(sniffer, "continue_sniff", False):
            time.sleep(0)
        assert place.net.ping("10.0.0.2", timeout=30).received == 1
        sniffer.join(timeout=10)
        assert [one[ICMP].type for one in sniffer.results] == [8, 0]
        with pytest.raises(RuntimeError, match="already"):
            installed(place.net).__enter__()
        with pytest.raises(ValueError, match="nowhere"):
            sniff(iface="nowhere", timeout=0)
    assert conf.route.routes == routes
    assert dict(conf.ifaces.data) == interfaces
    assert conf.iface == iface
    assert place.shared.claims == 0
    assert resets(place.net) == 0


@needs_pcap
def test_scapys_tcp_client_fetches_a_page(place: Place) -> None:
    with installed(place.net):
        client = TCP_client.tcplink(HTTP, "10.0.0.2", place.port)
        client.send(HTTP() / HTTPRequest(Host=b"10.0.0.2", Connection=b"keep-alive"))
        answer = client.recv()
        client.close()
    assert answer[HTTPResponse].Status_Code == b"200"
    assert answer[Raw].load == PAGE
    assert resets(place.net) == 0


# --- scapy's layers on the Stack's TCP -------------------------------------------------------


def test_a_link_of_the_stacks_tcp(place: Place) -> None:
    with tcp_link(place.net, HTTP, "10.0.0.2", place.port, timeout=30) as link:
        for _ in range(2):
            answer = link.sr1(HTTP() / HTTPRequest(Connection=b"keep-alive"), timeout=30)
            assert answer is not None
            assert answer[Raw].load == PAGE
    with pytest.raises(ConnectionRefusedError):
        tcp_link(place.net, HTTP, "10.0.0.2", 1, timeout=30)


class Fetch(Automaton):  # type: ignore[misc]
    """An automaton that asks, and ends with the answer."""

    @ATMT.state(initial=1)  # type: ignore[untyped-decorator]
    def BEGIN(self) -> None:  # noqa: N802
        self.send(HTTP() / HTTPRequest())

    @ATMT.receive_condition(BEGIN)  # type: ignore[untyped-decorator]
    def answered(self, packet: Any) -> None:
        raise self.END(packet)

    @ATMT.state(final=1)  # type: ignore[untyped-decorator]
    def END(self, packet: Any) -> Any:  # noqa: N802
        return packet


def test_an_automaton_on_the_stacks_tcp(place: Place) -> None:
    link = tcp_link(place.net, HTTP, "10.0.0.2", place.port, timeout=30)
    fetch = Fetch(sock=link)
    assert fetch.run()[Raw].load == PAGE
    fetch.stop()
    fetch.destroy()


def test_tls_inside_it(place: Place, tmp_path: Path) -> None:
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("10.0.0.2").configure_cert(theirs)
    authority.configure_trust(ours)
    listener = place.server.sockets.create_server(("10.0.0.2", 443))

    def serve() -> None:
        with (
            listener,
            listener.accept()[0] as plain,
            theirs.wrap_socket(plain, server_side=True) as secure,
        ):
            secure.recv(1000)
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            secure.recv(1000)

    thread = threading.Thread(target=serve)
    thread.start()
    with tcp_link(place.net, HTTP, "10.0.0.2", 443, timeout=30, tls=ours) as link:
        link.send(HTTP() / HTTPRequest())
        answer = link.recv()
        assert answer is not None
        assert answer[Raw].load == b"hi"
    thread.join()


# --- alone on a wire -------------------------------------------------------------------------


@needs_pcap
def test_the_far_end_of_a_wire() -> None:
    left, right = nic.wire()
    with pystack.Stack() as net:
        net.attach(left, "10.0.0.1/24")
        with FarEnd(right, filter="arp or icmp") as far:
            question = Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:09") / ARP(
                hwsrc="02:00:00:00:00:09", psrc="10.0.0.9", pdst="10.0.0.1"
            )
            answer = far.sr1(question, timeout=30)
            assert answer is not None
            assert answer[ARP].psrc == "10.0.0.1"
            ping = Ether(dst=answer.src, src="02:00:00:00:00:09") / IP(
                src="10.0.0.9", dst="10.0.0.1"
            )
            assert far.sr1(ping / ICMP(), timeout=30)[ICMP].type == 0  # type: ignore[index]
            sent = far.sniff(timeout=0)
            assert not [one for one in sent if one.src == "02:00:00:00:00:09"]
            with pytest.raises(OSError) as caught:
                right.send(b"x" * 60)
            assert caught.value.errno == errno.EBUSY
        right.send(b"x" * 60)  # it is free again
    with pytest.raises(TypeError, match="tap0"):
        FarEnd("tap0")  # type: ignore[arg-type]
    gc.collect()


@pytest.fixture
def no_small_descriptors() -> Iterator[None]:
    """Whatever is opened has a descriptor that select(2) can't wait for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2048
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"no process may have {wanted} descriptors here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with open(os.devnull) as file, ExitStack() as cleanup:  # noqa: PTH123
        while (number := os.dup(file.fileno())) < 1024:
            cleanup.callback(os.close, number)
        os.close(number)
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("no_small_descriptors")
def test_descriptors_beyond_those_of_select() -> None:
    left, right = nic.wire()
    with pystack.Stack() as net:
        net.attach(left, "10.0.0.2/24")
        asked = Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="10.0.0.1", pdst="10.0.0.2")
        with FarEnd(right) as far:
            assert far.fileno() >= 1024
            answer = far.sr1(asked, timeout=20)
            assert answer is not None
            assert answer[ARP].psrc == "10.0.0.2"
            found: list[Any] = []
            took: list[float] = []

            def read() -> None:
                began, spent = time.monotonic(), time.thread_time()
                found.append(far.recv_raw())
                took.extend((time.monotonic() - began, time.thread_time() - spent))

            reader = threading.Thread(target=read)
            reader.start()
            reader.join(0.5)  # it has to wait, and to do nothing meanwhile
            far.send(asked)
            reader.join(20)
            assert found
            assert found[0][0] is Ether
            waited, spent = took
            assert spent < 0.1 + waited / 2
        assert far.select([far], 20) == [far], "the end of one that is closed"
        with pytest.raises(EOFError):
            far.recv_raw()


@pytest.mark.usefixtures("no_small_descriptors")
def test_a_link_whose_descriptor_is_beyond_them() -> None:
    with pystack.Stack() as net, pages(net, "127.0.0.1", {"/": PAGE}, 80):
        with tcp_link(net, HTTP, "127.0.0.1", 80, timeout=20) as link:
            assert link.fileno() >= 1024
            answer = link.sr1(HTTP() / HTTPRequest(Host=b"a"), timeout=20)
            assert answer is not None
            assert answer.haslayer(HTTPResponse)
