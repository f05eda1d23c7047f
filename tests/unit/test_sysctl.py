"""What can be tuned: the mapping itself, and for each kind of setting what changes on the wire."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pair import LEFT, LEFT6, RIGHT, RIGHT6
from scapy.all import ARP, ICMP, IP, TCP, UDP, Ether, ICMPv6EchoRequest, IPv6, Raw

import pystack
from pystack.hypercalls import ManualClock

FAR_MAC = "02:00:00:00:00:99"
OUR_MAC = "02:00:00:00:00:01"


class Host:
    """A Stack without a driver; the test is whoever is at the other end of its wire."""

    def __init__(self, net: pystack.Stack, clock: ManualClock, end: pystack.nic.Nic) -> None:
        self.net, self.clock, self.end = net, clock, end
        net.neighbours.add(RIGHT, FAR_MAC)
        net.neighbours.add(RIGHT6, FAR_MAC)

    def sent(self) -> list[Ether]:
        self.net.step()
        found = []
        while (frame := self.end.receive(0)) is not None:
            found.append(Ether(frame))
        return found

    def give(self, packet: IP | IPv6) -> list[Ether]:
        self.end.send(bytes(Ether(src=FAR_MAC, dst=OUR_MAC) / packet))
        return self.sent()

    def over(self, seconds: float, step: float = 0.05) -> list[tuple[float, Ether]]:
        """What is sent during a span of time, and when."""
        found, spent = [], 0.0
        while spent < seconds:
            found += [(round(spent, 2), frame) for frame in self.sent()]
            self.clock.advance(step)
            spent += step
        return found

    def connect(self) -> tuple[pystack.sockets.Socket, TCP]:
        client = self.net.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.setblocking(False)
        client.connect_ex((RIGHT, 80))
        return client, next(frame[TCP] for frame in self.sent() if TCP in frame)

    def established(self) -> tuple[pystack.sockets.Socket, TCP]:
        """A connection to which the test plays the peer; and its next expected segment."""
        client, syn = self.connect()
        self.give(
            IP(src=RIGHT, dst=LEFT)
            / TCP(sport=80, dport=syn.sport, flags="SA", seq=1000, ack=syn.seq + 1, window=65535,
                  options=[("MSS", 1000)])
        )  # fmt: skip
        peer = TCP(sport=80, dport=syn.sport, seq=1001, ack=syn.seq + 1, window=65535, flags="A")
        return client, peer


@contextmanager
def host() -> Iterator[Host]:
    clock = ManualClock()
    ours, theirs = pystack.nic.wire()
    with pystack.Stack(threaded=False, clock=clock, seed=1) as net:
        net.attach(ours, f"{LEFT}/24", f"{LEFT6}/64", mac=OUR_MAC)
        made = Host(net, clock, theirs)
        made.over(5)
        yield made


# --- the mapping -----------------------------------------------------------------------------


def test_every_setting_is_described_and_within_its_bounds() -> None:
    with pystack.Stack(threaded=False) as net:
        assert len(net.sysctl) > 35
        for name in net.sysctl:
            tunable = net.sysctl.describe(name)
            assert tunable.minimum <= tunable.value <= tunable.maximum
            assert tunable.value == tunable.initial == net.sysctl[name]
            assert len(tunable.description) > 10
            for wrong in (tunable.minimum - 1, tunable.maximum + 1, 1 << 62):
                with pytest.raises(ValueError, match=r"from|conflicts"):
                    net.sysctl[name] = wrong
            assert net.sysctl[name] == tunable.initial


def test_the_mapping_refuses_what_it_has_not() -> None:
    with pystack.Stack(threaded=False) as net:
        with pytest.raises(KeyError, match=r"net\.ipv4\.ip_forward"):
            net.sysctl["net.ipv4.ipforward"]
        with pytest.raises(KeyError):
            net.sysctl["nonsense"] = 1
        with pytest.raises(TypeError, match="int"):
            net.sysctl["net.ipv4.ip_forward"] = "1"  # type: ignore[assignment]
        with pytest.raises(TypeError, match="deleted"):
            del net.sysctl["net.ipv4.ip_forward"]
        net.sysctl["net.ipv4.ip_forward"] = True
        assert net.sysctl["net.ipv4.ip_forward"] == 1
        net.sysctl.update({"net.ipv4.ip_default_ttl": 9})
        net.sysctl.reset("net.ipv4.ip_forward")
        assert net.sysctl["net.ipv4.ip_forward"] == 0
        net.sysctl.reset()
        assert net.sysctl["net.ipv4.ip_default_ttl"] == 64


def test_each_stack_has_its_own() -> None:
    with pystack.Stack(threaded=False) as a, pystack.Stack(threaded=False) as b:
        a.sysctl["net.ipv4.ip_default_ttl"] = 9
        assert b.sysctl["net.ipv4.ip_default_ttl"] == 64


# --- the effects -----------------------------------------------------------------------------


def test_ttl_and_hop_limit_of_new_sockets() -> None:
    with host() as it:
        it.net.sysctl["net.ipv4.ip_default_ttl"] = 33
        it.net.sysctl["net.ipv6.conf.all.hop_limit"] = 44
        with it.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (RIGHT, 9))
        with it.net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (RIGHT6, 9))
        frames = [frame for frame in it.sent() if UDP in frame]
        assert [frame[IP].ttl for frame in frames if IP in frame] == [33]
        assert [frame[IPv6].hlim for frame in frames if IPv6 in frame] == [44]


def test_echo_requests_can_be_ignored() -> None:
    echo4 = IP(src=RIGHT, dst=LEFT) / ICMP(id=1, seq=1) / b"x"
    echo6 = IPv6(src=RIGHT6, dst=LEFT6) / ICMPv6EchoRequest(id=1)
    with host() as it:
        assert len(it.give(echo4)) == len(it.give(echo6)) == 1
        it.net.sysctl["net.ipv4.icmp_echo_ignore_all"] = 1
        assert (len(it.give(echo4)), len(it.give(echo6))) == (0, 1)
        it.net.sysctl["net.ipv6.icmp.echo_ignore_all"] = 1
        assert it.give(echo6) == []


def test_broadcast_echo_requests_are_ignored_unless_told_otherwise() -> None:
    echo = IP(src=RIGHT, dst="10.0.0.255") / ICMP(id=1, seq=1) / b"x"
    with host() as it:
        assert it.give(echo) == []
        it.net.sysctl["net.ipv4.icmp_echo_ignore_broadcasts"] = 0
        assert len(it.give(echo)) == 1


def test_the_initial_timeout_of_tcp() -> None:
    with host() as it:
        it.net.sysctl["net.ipv4.tcp_rto_initial_ms"] = 300
        client, _syn = it.connect()
        times = [when for when, frame in it.over(2) if TCP in frame]
        assert times == pytest.approx([0.3, 0.9], abs=0.11)
        client.close()


def test_the_number_of_syns_ends_a_connect() -> None:
    with host() as it:
        it.net.sysctl["net.ipv4.tcp_syn_retries"] = 2
        client, _syn = it.connect()
        again = [when for when, frame in it.over(30) if TCP in frame]
        assert len(again) == 2
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 110  # ETIMEDOUT
        client.close()


def test_the_least_timeout_of_tcp() -> None:
    for least, expected in ((200, 0.2), (1000, 1.0)):
        with host() as it:
            it.net.sysctl["net.ipv4.tcp_rto_min_ms"] = least
            client, peer = it.established()
            for _ in range(12):  # until the measured round trip, next to nothing, has settled
                client.send(b"x")
                segment = next(frame[TCP] for frame in it.sent() if Raw in frame)
                peer.ack = segment.seq + 1
                it.clock.advance(0.01)
                it.give(IP(src=RIGHT, dst=LEFT) / peer)
            client.send(b"lost")
            times = [when for when, frame in it.over(3, 0.02) if Raw in frame]
            assert times[1] - times[0] == pytest.approx(expected, abs=0.12)
            client.close()


def test_keepalive_times() -> None:
    with host() as it:
        it.net.sysctl["net.ipv4.tcp_keepalive_time"] = 5
        it.net.sysctl["net.ipv4.tcp_keepalive_intvl"] = 2
        it.net.sysctl["net.ipv4.tcp_keepalive_probes"] = 3
        client, _peer = it.established()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
        it.sent()
        frames = [(when, frame[TCP]) for when, frame in it.over(20) if TCP in frame]
        probes = [when for when, segment in frames if "R" not in segment.flags]
        assert probes == pytest.approx([5, 7, 9], abs=0.6)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.close()


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("net.ipv4.tcp_timestamps", "Timestamp"),
        ("net.ipv4.tcp_sack", "SAckOK"),
        ("net.ipv4.tcp_window_scaling", "WScale"),
    ],
)
def test_tcp_options_are_offered_while_they_are_on(name: str, option: str) -> None:
    with host() as it:
        client, syn = it.connect()
        assert option in dict(syn.options)
        client.close()
        it.net.sysctl[name] = 0
        client, syn = it.connect()
        assert option not in dict(syn.options)
        client.close()


def test_the_window_is_the_receive_buffer() -> None:
    with host() as it:
        it.net.sysctl["net.ipv4.tcp_rmem_default"] = 30_000
        client, syn = it.connect()
        assert syn.window == 30_000
        client.close()
        it.net.sysctl["net.ipv4.tcp_rmem_default"] = 2_000_000
        client, syn = it.connect()
        assert syn.window == 65535
        assert dict(syn.options)["WScale"] >= 6
        client.close()


def test_acknowledgements_are_delayed_unless_told_otherwise() -> None:
    for on in (1, 0):
        with host() as it:
            it.net.sysctl["net.ipv4.tcp_delayed_ack"] = on
            client, peer = it.established()
            it.sent()
            peer.flags = "PA"
            at_once = it.give(IP(src=RIGHT, dst=LEFT) / peer / b"data")
            assert len(at_once) == (0 if on else 1)
            later = [frame for _when, frame in it.over(0.3) if TCP in frame]
            assert len(at_once) + len(later) == 1
            client.close()


def test_the_backlog_of_handshakes() -> None:
    with host() as it:
        it.net.sysctl["net.ipv4.tcp_max_syn_backlog"] = 3
        it.net.sysctl["net.ipv4.tcp_syncookies"] = 0
        with it.net.socket() as listener:
            listener.bind((LEFT, 80))
            listener.listen(100)
            answers = 0
            for port in range(2000, 2010):
                syn = TCP(sport=port, dport=80, flags="S", seq=1)
                answers += len(it.give(IP(src=RIGHT, dst=LEFT) / syn))
            assert answers == 3


def test_the_range_of_local_ports() -> None:
    with pystack.Stack(threaded=False) as net:
        net.sysctl["net.ipv4.ip_local_port_last"] = 60010
        net.sysctl["net.ipv4.ip_local_port_first"] = 60001
        with pytest.raises(ValueError, match="conflicts"):
            net.sysctl["net.ipv4.ip_local_port_last"] = 60000
        held = []
        for _ in range(10):
            sock = net.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            held.append(sock)
        assert {sock.getsockname()[1] for sock in held} == set(range(60001, 60011))
        with (
            net.socket(socket.AF_INET, socket.SOCK_DGRAM) as extra,
            pytest.raises(OSError, match="in use"),
        ):
            extra.bind(("127.0.0.1", 0))
        for sock in held:
            sock.close()


def test_time_wait_lasts_two_segment_lifetimes() -> None:
    with host() as it:
        it.net.sysctl["net.ipv4.tcp_msl_ms"] = 2000
        client, peer = it.established()
        client.close()
        fin = next(frame[TCP] for frame in it.sent() if TCP in frame)
        peer.ack, peer.flags = fin.seq + 1, "FA"
        it.give(IP(src=RIGHT, dst=LEFT) / peer)
        states = [one.state.name for one in it.net.connections() if one.state]
        assert states == ["TIME_WAIT"]
        it.over(3.5)
        assert len(it.net.connections()) == 1
        it.over(1.5)
        assert it.net.connections() == []


def test_fragments_are_waited_for_as_long_as_told() -> None:
    for seconds, arrives in ((10, True), (2, False)):
        with host() as it, it.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            it.net.sysctl["net.ipv4.ipfrag_time"] = seconds
            sock.bind((LEFT, 7))
            sock.setblocking(False)
            packet = IP(bytes(IP(src=RIGHT, dst=LEFT) / UDP(sport=9, dport=7) / bytes(1200)))
            body = bytes(packet[UDP])
            first = IP(src=RIGHT, dst=LEFT, id=7, flags="MF", proto=17) / body[:800]
            last = IP(src=RIGHT, dst=LEFT, id=7, frag=100, proto=17) / body[800:]
            it.give(first)
            it.over(5)
            it.give(last)
            if arrives:
                assert sock.recv(2000) == bytes(1200)
            else:
                with pytest.raises(BlockingIOError):
                    sock.recv(2000)


def test_arp_entries_age() -> None:
    with host() as it:
        it.net.sysctl["net.ipv4.neigh.max_age"] = 60
        it.net.neighbours.flush(permanent=True)
        it.end.send(
            bytes(Ether(src=FAR_MAC, dst=OUR_MAC)
                  / ARP(op=1, hwsrc=FAR_MAC, psrc=RIGHT, hwdst=OUR_MAC, pdst=LEFT))
        )  # fmt: skip
        it.sent()
        assert [str(one.address) for one in it.net.neighbours] == [RIGHT]
        it.over(50, 0.5)
        assert len(it.net.neighbours) == 1
        it.over(20, 0.5)
        assert len(it.net.neighbours) == 0


def test_reset_goes_past_settings_that_bound_each_other() -> None:
    with pystack.Stack(threaded=False) as net:
        initially = dict(net.sysctl)
        net.sysctl["net.ipv4.ip_local_port_first"] = 1000
        net.sysctl["net.ipv4.ip_local_port_last"] = 2000
        net.sysctl["net.ipv4.tcp_rmem_default"] = 4096
        net.sysctl["net.ipv4.tcp_rmem_max"] = 4096
        net.sysctl.reset()
        assert dict(net.sysctl) == initially
        net.sysctl["net.ipv4.ip_local_port_first"] = 1000
        net.sysctl["net.ipv4.ip_local_port_last"] = 2000
        with pytest.raises(ValueError, match="conflicts"):
            net.sysctl.reset("net.ipv4.ip_local_port_first")
