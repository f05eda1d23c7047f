"""Queues, delays and elements of a World on its tape, its trace and its diagram."""

from __future__ import annotations

import socket
from pathlib import Path

from pystack.world import CoDel, FqCoDel, NormalDelay, Tape, World


def run(path: Path, **options: object) -> World:
    """An upload and its ECN marks through a NAT and a switch, under everything chance can do."""
    with World(**options) as world:
        lan = world.switch("lan")
        peer, nat, server = world.host("peer"), world.nat("nat"), world.host("server")
        world.link(peer, lan, addresses=("192.168.1.2/24", ()))
        world.link(lan, nat.inside, addresses=((), "192.168.1.1/24"))
        world.link(
            nat.outside, server, capture=path, addresses=("198.51.100.1/24", "198.51.100.2/24"),
            rate="5Mbit/s", delay=NormalDelay("10ms", "1ms", 0.3), loss=0.002, duplicate=0.002,
            queue=CoDel(),
        )  # fmt: skip
        peer.routes.add("0.0.0.0/0", gateway="192.168.1.1")

        def take() -> None:
            with socket.create_server(("", 80)) as listener:
                connection, _peer = listener.accept()
                with connection:
                    while connection.recv(65536):
                        pass

        thread = server.thread(take)
        with peer.sockets.create_connection(("198.51.100.2", 80)) as sock:
            sock.sendall(bytes(1_000_000))
        thread.join()
    return world


def test_a_tape_plays_codel_and_normal_delays_again(tmp_path: Path) -> None:
    first = run(tmp_path / "1.pcap", seed=4)
    assert any(choice.kind == "late" and choice.value < 0 for choice in first.tape.choices)
    again = run(tmp_path / "2.pcap", tape=Tape.parse(str(first.tape)))
    assert (tmp_path / "1.pcap").read_bytes() == (tmp_path / "2.pcap").read_bytes()
    assert again.now == first.now


def test_the_trace_says_what_codel_dropped_and_marked() -> None:
    with World(trace=True) as world:
        left, right = world.host("left"), world.host("right")
        link = world.link(left, right, rate="1Mbit/s", queue=FqCoDel(ecn=True))
        taker = right.sockets.socket(type=socket.SOCK_DGRAM)
        taker.bind(("", 9))
        for tos in (0, 2):
            with left.socket(type=socket.SOCK_DGRAM) as sock:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
                for _each in range(200):
                    sock.sendto(bytes(1208), ("10.0.0.2", 9))
                    world.sleep(0.005)
        world.sleep(10)
        counts = link.counts(left)
        taker.close()
    frames = [one for one in world.trace.frames if one.sender == "left"]
    assert sum(one.fate == "dropped by CoDel" for one in frames) == counts.dropped > 5
    assert sum(one.marked for one in frames) == counts.marked > 5
    assert "dropped by CoDel" in str(next(one for one in frames if one.dropped))


def test_a_diagram_has_switches_and_nats(tmp_path: Path) -> None:
    world = run(tmp_path / "1.pcap")
    lines = world.diagram().splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["peer", "lan", "nat.outside"]
    assert world.diagram(svg=True).count("<rect") >= 4
