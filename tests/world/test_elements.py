"""Switches, NATs and internets of a World."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pystack.world import Host, Nat, NatMapping, Switch, SwitchCounts, World

KINDS = ("full-cone", "restricted", "port-restricted", "symmetric")


# --- switches -------------------------------------------------------------------------------------


def test_hosts_on_a_switch_are_one_network() -> None:
    with World() as world:
        lan = world.switch("lan")
        hosts = [world.host(f"h{number}") for number in range(6)]
        for host in hosts:
            world.link(host, lan, delay="1ms")
        for one in hosts:
            for other in hosts:
                if one is not other:
                    one.ping(other.name)
        assert hosts[0].ping("h5").replies[0].rtt_ms == pytest.approx(4, abs=0.1)
        assert hosts[0].ping("fd00::6").received == 1
        found = {entry[4][0] for entry in hosts[0].sockets.getaddrinfo("h3", 80)}
        assert found == {"10.0.0.4", "fd00::4"}


def test_a_switch_learns_where_hosts_are() -> None:
    with World() as world:
        lan = world.switch("lan")
        a, b, c = (world.host(name) for name in "abc")
        links = [world.link(host, lan) for host in (a, b, c)]
        a.ping("10.0.0.2")
        world.sleep(60)
        before = links[2].counts(lan).sent, lan.counts().flooded
        a.ping("10.0.0.2", count=10, interval=0.1)
        assert (links[2].counts(lan).sent, lan.counts().flooded) == before
        world.sleep(400)  # longer than a switch remembers (IEEE 802.1D: 300 s)
        a.ping("10.0.0.2")
        assert links[2].counts(lan).sent > before[0]


def test_switches_are_linked_to_each_other_but_not_in_a_circle() -> None:
    with World() as world:
        switches = [world.switch(f"s{number}") for number in range(4)]
        a, b = world.host("a"), world.host("b")
        world.link(a, switches[0])
        for left, right in ((0, 1), (2, 3), (1, 2)):
            world.link(switches[left], switches[right], delay="5ms", rate="1Mbit/s")
        world.link(switches[3], b)
        a.ping("b")
        rtt = a.ping("b").replies[0].rtt_ms
        assert rtt == pytest.approx(30 + 6 * 98 * 8 / 1000, abs=2)
        with pytest.raises(ValueError, match="loop of switches"):
            world.link(switches[3], switches[0])
        with pytest.raises(ValueError, match="two ends"):
            world.link(a, a)
        with pytest.raises(ValueError, match="already"):
            world.host("s1")
        with pytest.raises(ValueError, match="no addresses"):
            world.link(b, switches[0], addresses=("10.9.9.1/24", "10.9.9.2/24"))
        assert len(b.interfaces) == 2  # nothing is left of what was refused


def test_a_switch_has_a_network_of_its_own_choice_and_an_end_of_it() -> None:
    with World() as world:
        lan = world.switch("lan", networks=("192.0.2.0/29", "2001:db8::/64"))
        for number in range(6):
            world.link(world.host(f"h{number}"), lan)
        assert world.hosts["h0"].ping("192.0.2.6").received == 1
        assert world.hosts["h0"].ping("2001:db8::6").received == 1
        with pytest.raises(ValueError, match="no address left"):
            world.link(world.host("late"), lan)


def test_ports_of_a_switch_can_be_cut_and_captured(tmp_path: Path) -> None:
    with World() as world:
        lan, path = world.switch("lan"), tmp_path / "port.pcap"
        a, b = world.host("a"), world.host("b")
        world.link(lan, a, capture=path)
        link = world.link(b, lan)
        assert a.ping("b").received == 1
        link.down(lan)
        assert a.ping("b").received == 0
        world.heal()
        world.partition([a], [lan])
        assert a.ping("b").received == 0
        world.heal()
        assert a.ping("b").received == 1
    assert path.stat().st_size > 500


def test_a_frame_that_is_too_long_for_a_port_is_dropped_in_silence() -> None:
    with World() as world:
        lan = world.switch("lan")
        a, b = world.host("a"), world.host("b")
        world.link(a, lan)
        world.link(lan, b, mtu=1280, addresses=((), "10.0.0.2/24"))
        a.ping("b")
        taker = b.sockets.socket(type=socket.SOCK_DGRAM)
        taker.bind(("", 9))
        taker.settimeout(1)
        with a.socket(type=socket.SOCK_DGRAM) as sender:
            for size in (1252, 1253, 1472):
                sender.sendto(bytes(size), ("10.0.0.2", 9))
        assert len(taker.recv(2000)) == 1252
        with pytest.raises(TimeoutError):
            taker.recv(2000)
        assert lan.counts().oversized == 2
        taker.close()


# --- NATs -----------------------------------------------------------------------------------------


class Home:
    """Two hosts behind a NAT, and two servers before it."""

    def __init__(self, world: World, kind: str, capture: Path | None = None, **options: object):
        self.world = world
        self.lan = world.switch("lan", networks=("192.168.1.0/24", "fd01::/64"))
        self.wan = world.switch("wan", networks=("198.51.100.0/24", "fd02::/64"))
        self.nat: Nat = world.nat("nat", kind, **options)
        self.s1, self.s2 = world.host("s1"), world.host("s2")
        self.a, self.b = world.host("a"), world.host("b")
        world.link(self.nat.inside, self.lan)
        world.link(self.nat.outside, self.wan, capture=capture, delay="1ms")
        for host, switch in ((self.a, self.lan), (self.b, self.lan), (self.s1, self.wan),
                             (self.s2, self.wan)):  # fmt: skip
            world.link(host, switch)
        for host in (self.a, self.b):
            host.routes.add("0.0.0.0/0", gateway="192.168.1.1")
        self.address = "198.51.100.1"
        self.socks: list[socket.socket] = []

    def udp(self, host: Host, port: int) -> socket.socket:
        sock = host.socket(type=socket.SOCK_DGRAM)
        sock.bind(("", port))
        sock.settimeout(1)
        self.socks.append(sock)
        return sock


@contextmanager
def home(kind: str = "port-restricted", seed: int = 0, **options: object) -> Iterator[Home]:
    with World(seed=seed) as world:
        made = Home(world, kind, **options)
        yield made
        for sock in made.socks:
            sock.close()


def hears(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(4000)
    except TimeoutError:
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_mappings_and_filters_are_those_of_the_kind(kind: str) -> None:
    with home(kind) as it:
        inside = it.udp(it.a, 4000)
        remotes = [it.udp(it.s1, 7), it.udp(it.s1, 8), it.udp(it.s2, 7)]
        ends = ("198.51.100.2", 7), ("198.51.100.2", 8), ("198.51.100.3", 7)

        # Filtering, RFC 4787 5: only the first has been sent to.
        inside.sendto(b"hello", ends[0])
        _data, seen = remotes[0].recvfrom(100)
        assert seen == (it.address, 4000)
        let_in = []
        for remote in remotes:
            remote.sendto(b"answer", seen)
            let_in.append(hears(inside) is not None)
        assert (
            let_in
            == {
                "full-cone": [True, True, True],
                "restricted": [True, True, False],
                "port-restricted": [True, False, False],
                "symmetric": [True, False, False],
            }[kind]
        )
        assert it.nat.counts().filtered == let_in.count(False)

        # Mapping, RFC 4787 4.1: what each remote endpoint sees.
        ports = [seen[1]]
        for remote, end in zip(remotes[1:], ends[1:], strict=True):
            inside.sendto(b"hello", end)
            _data, (address, port) = remote.recvfrom(100)
            assert address == it.address
            ports.append(port)
            remote.sendto(b"answer", (address, port))
            assert hears(inside) == b"answer"
        assert len(set(ports)) == (3 if kind == "symmetric" else 1)
        assert len(it.nat.mappings()) == len(set(ports))
        assert sum(one.sessions for one in it.nat.mappings()) == 3


def test_a_mapping_of_udp_lives_by_what_is_sent() -> None:
    with home("full-cone") as it:
        inside, remote = it.udp(it.a, 4000), it.udp(it.s1, 7)
        inside.sendto(b"open", ("198.51.100.2", 7))
        remote.recv(10)
        it.world.sleep(290)
        remote.sendto(b"in time", (it.address, 4000))
        assert hears(inside) == b"in time"
        it.world.sleep(20)  # what came in has not kept it open (RFC 4787, requirement 6)
        remote.sendto(b"too late", (it.address, 4000))
        assert hears(inside) is None
        assert it.nat.mappings() == []
        for _each in range(5):
            inside.sendto(b"open", ("198.51.100.2", 7))
            it.world.sleep(290)
        remote.sendto(b"still", (it.address, 4000))
        assert hears(inside) == b"still"


def test_connections_of_tcp_live_longer_than_their_ends() -> None:
    with home() as it:
        listener = it.s1.sockets.create_server(("", 80))
        sock = it.a.sockets.create_connection(("198.51.100.2", 80))
        accepted, (address, port) = listener.accept()
        assert (address, port) == (it.address, sock.getsockname()[1])
        it.world.sleep(7400)
        accepted.sendall(b"two hours later")
        assert sock.recv(100) == b"two hours later"
        it.world.sleep(7500)
        assert it.nat.mappings() == []  # 2 hours and 4 minutes: RFC 5382, requirement 5
        sock.close()
        accepted.close()
        it.world.sleep(3000)

        sock = it.a.sockets.create_connection(("198.51.100.2", 80))
        accepted, _peer = listener.accept()
        sock.close()
        accepted.close()
        it.world.sleep(230)
        assert len(it.nat.mappings()) == 1
        it.world.sleep(250)
        assert it.nat.mappings() == []  # 4 minutes, once both have closed
        listener.close()


def test_two_peers_open_one_connection_of_tcp_through_two_nats() -> None:
    """RFC 5382, requirement 2: a simultaneous open."""
    with World() as world:
        wan, got = world.switch("wan", networks=("198.51.100.0/24", "fd02::/64")), []
        peers = [world.host("left"), world.host("right")]
        for peer in peers:
            nat = world.nat(f"{peer.name}s")
            world.link(nat.inside, peer, addresses=("192.168.1.1/24", "192.168.1.2/24"))
            world.link(nat.outside, wan, delay="20ms")
            peer.routes.add("0.0.0.0/0", gateway="192.168.1.1")
            peer.ping("198.51.100.1", timeout=0.1)  # until the next hops are known
            peer.ping("198.51.100.2", timeout=0.1)

        def meet(to: str) -> None:
            with socket.socket() as sock:
                sock.bind(("", 5000))
                sock.connect((to, 5000))
                sock.sendall(b"hello")
                got.append((sock.recv(10), sock.getpeername()))

        threads = [peers[0].thread(meet, "198.51.100.2"), peers[1].thread(meet, "198.51.100.1")]
        for thread in threads:
            thread.join()
        assert sorted(got) == [
            (b"hello", ("198.51.100.1", 5000)),
            (b"hello", ("198.51.100.2", 5000)),
        ]


def test_an_answerless_syn_is_forgotten_and_a_strange_one_not_answered() -> None:
    with home() as it:
        sock = it.a.socket()
        sock.setblocking(False)
        sock.connect_ex(("198.51.100.77", 80))  # nobody
        stranger = it.s1.socket()
        stranger.settimeout(20)
        with pytest.raises(TimeoutError):
            stranger.connect((it.address, 80))
        assert it.nat.counts().filtered > 2
        sock.close()
        stranger.close()
        it.world.sleep(300)
        assert it.nat.mappings() == []


def test_pings_and_traceroutes_pass() -> None:
    with home() as it:
        assert it.a.ping("198.51.100.2", count=3, interval=0.1).received == 3
        assert it.b.ping("198.51.100.2").received == 1
        assert {one.protocol for one in it.nat.mappings()} == {"icmp"}
        assert it.nat.ping("198.51.100.2").received == 1  # the NAT's own
        assert it.s1.ping(it.address).received == 1  # of the NAT itself
        it.world.sleep(61)
        assert it.nat.mappings() == []
        hops = [hop.address for hop in it.a.traceroute("198.51.100.2").hops]
        assert [str(one) for one in hops] == ["192.168.1.1", "198.51.100.2"]


def test_errors_of_icmp_are_translated_both_ways() -> None:
    with home("full-cone") as it:
        inside = it.udp(it.a, 4000)
        inside.connect(("198.51.100.2", 999))  # where nobody listens
        inside.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            inside.recv(10)
        # And one from inside, about what a server sent to a port that was closed meanwhile.
        opener, remote = it.udp(it.a, 4001), it.udp(it.s1, 7)
        opener.sendto(b"open", ("198.51.100.2", 7))
        remote.recv(10)
        opener.close()
        remote.connect((it.address, 4001))
        remote.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            remote.recv(10)


def test_the_paths_mtu_is_found_through_it() -> None:
    with World() as world:
        a, nat, router, server = (
            world.host("a"), world.nat("nat"), world.router("router"), world.host("server"),
        )  # fmt: skip
        world.link(a, nat.inside)
        world.link(nat.outside, router)
        world.link(router, server, mtu=1280)
        a.routes.add("0.0.0.0/0", gateway="10.0.0.2")
        nat.routes.add("0.0.0.0/0", gateway="10.0.1.2")
        got: list[int] = []

        def serve() -> None:
            with socket.create_server(("", 80)) as listener:
                connection, peer = listener.accept()
                assert peer[0] == "10.0.1.1"
                with connection:
                    got.append(sum(map(len, iter(lambda: connection.recv(65536), b""))))

        server.routes.add("10.0.1.0/24", gateway="10.0.2.1")
        thread = server.thread(serve)
        with a.sockets.create_connection(("10.0.2.2", 80)) as sock:
            sock.sendall(bytes(200_000))
        thread.join()
        assert got == [200_000]
        assert nat.counts().filtered == 0


def test_hosts_inside_reach_each_other_by_the_outside_address() -> None:
    for kind in KINDS:
        with home(kind) as it:
            a, b = it.udp(it.a, 4000), it.udp(it.b, 5000)
            for sock in (a, b):
                sock.sendto(b"open", ("198.51.100.2", 7))
            it.world.sleep(1)
            for sock, to in ((a, 5000), (b, 4000), (a, 5000)):
                sock.sendto(b"hairpin", (it.address, to))
                it.world.sleep(0.1)
            if kind == "symmetric":  # another port for each: nobody can know which
                assert hears(a) is None
                continue
            # RFC 4787, requirement 9: with the outside address and port as its source.
            assert a.recvfrom(100) == (b"hairpin", (it.address, 5000))
            assert b.recvfrom(100) == (b"hairpin", (it.address, 4000))
            assert it.nat.counts().hairpinned == (3 if kind == "full-cone" else 2)
    with home("full-cone", hairpin=False) as it:
        a, b = it.udp(it.a, 4000), it.udp(it.b, 5000)
        b.sendto(b"open", ("198.51.100.2", 7))
        a.sendto(b"hairpin", (it.address, 5000))
        assert hears(b) is None


def test_ports_are_kept_where_they_are_free_and_otherwise_the_seeds() -> None:
    def outside(seed: int, **options: object) -> list[int]:
        with home("full-cone", seed, **options) as it:
            remote = it.udp(it.s1, 7)
            seen = []
            for host in (it.a, it.b):
                for port in (4000, 4001, 777):
                    it.udp(host, port).sendto(b"", ("198.51.100.2", 7))
                    seen.append(remote.recvfrom(10)[1][1])
            return seen

    kept = outside(1)
    assert kept[:3] == [4000, 4001, 777]
    # RFC 4787, requirements 3 and 4: the same range and parity.
    assert [port % 2 for port in kept[3:]] == [0, 1, 1]
    assert [port < 1024 for port in kept[3:]] == [False, False, True]
    assert len(set(kept)) == 6
    assert outside(1) == kept
    assert outside(2)[:3] == kept[:3]
    assert outside(2)[3:] != kept[3:]
    assert 4000 not in outside(1, preserve_ports=False)


def test_the_table_is_bounded() -> None:
    with home("full-cone", limit=3) as it:
        remote = it.udp(it.s1, 7)
        for port in range(4000, 4005):
            it.udp(it.a, port).sendto(b"", ("198.51.100.2", 7))
        it.world.sleep(1)
        assert it.nat.counts().refused == 2
        assert len(it.nat.mappings()) == 3
        it.world.sleep(300)
        it.socks[-1].sendto(b"", ("198.51.100.2", 7))
        assert [remote.recvfrom(10)[1][1] for _each in range(4)] == [4000, 4001, 4002, 4004]


def test_a_forwarded_port_is_open_to_everybody_and_survives_a_restart() -> None:
    with home("symmetric") as it:
        it.nat.forward("tcp", 8080, "192.168.1.2", 80)
        with pytest.raises(OSError, match="8080 of nat is mapped") as caught:
            it.nat.forward("tcp", 8080, "192.168.1.3")
        assert caught.value.errno == errno.EADDRINUSE
        it.nat.restart()
        listener = it.a.sockets.create_server(("", 80))
        for host in (it.s1, it.s2, it.b):
            sock = host.sockets.create_connection((it.address, 8080))
            accepted, peer = listener.accept()
            # What comes from inside has turned around, and so has the outside's address.
            assert peer[0] == (it.address if host is it.b else sock.getsockname()[0])
            accepted.sendall(b"hello")
            assert sock.recv(10) == b"hello"
            sock.close()
            accepted.close()
        listener.close()
        fixed = [one for one in it.nat.mappings() if one.fixed]
        assert fixed == [
            NatMapping("tcp", fixed[0].inside, fixed[0].outside, None, fixed[0].sessions, True)
        ]
        assert [str(fixed[0].inside[0]), fixed[0].inside[1]] == ["192.168.1.2", 80]


def test_a_restart_forgets_what_was_open() -> None:
    with home("full-cone") as it:
        inside, remote = it.udp(it.a, 4000), it.udp(it.s1, 7)
        inside.sendto(b"open", ("198.51.100.2", 7))
        remote.recv(10)
        it.nat.restart()
        remote.sendto(b"?", (it.address, 4000))
        assert hears(inside) is None
        inside.sendto(b"open", ("198.51.100.2", 7))
        remote.recv(10)
        remote.sendto(b"!", (it.address, 4000))
        assert hears(inside) == b"!"


def test_fragments_follow_the_first_one() -> None:
    with home() as it:
        inside, remote = it.udp(it.a, 4000), it.udp(it.s1, 7)
        data = bytes(range(250)) * 14
        inside.sendto(data, ("198.51.100.2", 7))
        assert remote.recvfrom(4000) == (data, (it.address, 4000))
        remote.sendto(data[::-1], (it.address, 4000))
        assert hears(inside) == data[::-1]


def test_the_nats_own_sockets_have_their_ports() -> None:
    with home() as it:
        listener = it.s1.sockets.create_server(("", 80))
        sock = it.nat.sockets.create_connection(("198.51.100.2", 80))
        accepted, peer = listener.accept()
        assert peer == (it.address, sock.getsockname()[1])
        sock.sendall(b"from the NAT")
        assert accepted.recv(100) == b"from the NAT"
        own, other, remote = it.udp(it.nat, 4000), it.udp(it.a, 4000), it.udp(it.s1, 7)
        own.sendto(b"1", ("198.51.100.2", 7))
        other.sendto(b"2", ("198.51.100.2", 7))
        assert remote.recvfrom(10) == (b"1", (it.address, 4000))
        assert remote.recvfrom(10)[1][1] != 4000
        for one in (listener, sock, accepted):
            one.close()


def test_two_runs_of_one_seed_translate_alike(tmp_path: Path) -> None:
    def run(name: str, seed: int) -> bytes:
        path = tmp_path / name
        with home("symmetric", seed, capture=path) as it:
            for port in range(4000, 4040):
                it.udp(it.a, port).sendto(b"a", ("198.51.100.2", 7))
                it.udp(it.b, port).sendto(b"b", ("198.51.100.2", 7))
            it.world.sleep(1)
        return path.read_bytes()

    first = run("1.pcap", 1)
    assert first == run("2.pcap", 1)
    assert first != run("3.pcap", 2)


def test_nats_that_make_no_sense_are_refused() -> None:
    with World() as world:
        with pytest.raises(ValueError, match="full-cone"):
            world.nat("x", "cone")
        with pytest.raises(ValueError, match="sessions"):
            world.nat("x", limit=0)
        with pytest.raises(ValueError, match="udp_timeout"):
            world.nat("x", udp_timeout=0)
        nat, host = world.nat("nat"), world.host("host")
        with pytest.raises(TypeError, match=r"nat\.inside or nat\.outside"):
            world.link(host, nat)
        world.link(nat.outside, host)
        with pytest.raises(ValueError, match="outside link already"):
            world.link(host, nat.outside)
        assert len(host.interfaces) == 2
        with pytest.raises(ValueError, match="IPv4 address"):
            world.link(world.nat("six").outside, host, addresses=("fd05::1/64", "fd05::2/64"))
        for wrong in (("sctp", 1), ("udp", 0), ("udp", 70_000)):
            with pytest.raises(ValueError):
                nat.forward(*wrong, "10.0.0.9")
        assert repr(nat.inside) == "<NatSide nat.inside>"


# --- internets ------------------------------------------------------------------------------------


def test_an_internet_has_all_its_routes_and_names() -> None:
    with World() as world:
        net = world.internet(5, rate="10Mbit/s", delay="5ms", queue=50)
        for one in net.hosts:
            for other in net.hosts:
                if one is not other:
                    for address in {e[4][0] for e in one.sockets.getaddrinfo(other.name, 80)}:
                        one.ping(address)
                        assert one.ping(address).replies[0].rtt_ms == pytest.approx(20, abs=1)
        assert [link.conditions(link.ends[0]).delay for link in net.links] == [0.005] * 5
        assert repr(net) == "<Internet: 5 hosts around core>"
        with pytest.raises(ValueError, match="1 to 250"):
            world.internet(251, core="other")
        with pytest.raises(ValueError, match="already"):
            world.internet(["host1"], core="third")


def test_a_switch_alone_does_nothing() -> None:
    with World() as world:
        lan: Switch = world.switch("lan")
        assert lan.counts() == SwitchCounts(0, 0, 0)
        assert repr(lan) == "<Switch lan>"


ALIKE = """
import hashlib, socket, sys
from pystack.world import FqCoDel, NormalDelay, World

with World(seed=3) as world:
    net = world.internet(3, rate="5Mbit/s", delay=NormalDelay("9ms", "1ms"), queue=FqCoDel(flows=4))
    nat, peer = world.nat("nat", "symmetric", preserve_ports=False), world.host("peer")
    world.link(peer, nat.inside, addresses=("192.168.1.2/24", "192.168.1.1/24"))
    world.link(nat.outside, net.core, capture=sys.argv[1], addresses=("9.0.0.1/24", "9.0.0.2/24"))
    peer.routes.add("0.0.0.0/0", gateway="192.168.1.1")
    nat.routes.add("0.0.0.0/0", gateway="9.0.0.2")

    def take():
        with socket.create_server(("", 80)) as listener:
            connection, _peer = listener.accept()
            with connection:
                while connection.recv(65536):
                    pass

    def send(to):
        with socket.create_connection((to, 80)) as sock:
            sock.sendall(bytes(300_000))

    threads = [host.thread(take) for host in net.hosts]
    threads += [peer.thread(send, host.name) for host in net.hosts]
    for thread in threads:
        thread.join()
print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_with_one_seed_are_alike(tmp_path: Path) -> None:
    def run(hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", ALIKE, str(tmp_path / f"{hash_seed}.pcapng")],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True, text=True, check=True, timeout=100,
        ).stdout  # fmt: skip

    first = run("1")
    assert len(first) == 65
    assert (tmp_path / "1.pcapng").stat().st_size > 900_000
    assert run("2") == first
