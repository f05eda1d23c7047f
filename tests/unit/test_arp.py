"""IPv4's neighbours on a hostile link: who is believed, who is asked again, and who stays."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from link import MAC, Link, link
from scapy.all import ARP, ICMP, IP, TCP, UDP, Ether, Raw

from pystack.tables import NeighbourState

OURS, PEER, OTHER = "10.0.0.2", "10.0.0.1", "10.0.0.77"
PEER_MAC, NEW_MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:99", "02:00:00:00:00:77"
BROADCAST = "ff:ff:ff:ff:ff:ff"


@pytest.fixture
def it() -> Iterator[Link]:
    with link(f"{OURS}/24") as made:
        yield made


def reply(psrc: str = PEER, hwsrc: str = PEER_MAC, dst: str = MAC, pdst: str = OURS) -> Ether:
    return Ether(src=hwsrc, dst=dst) / ARP(op=2, hwsrc=hwsrc, psrc=psrc, hwdst=MAC, pdst=pdst)


def request(psrc: str = PEER, hwsrc: str = PEER_MAC, pdst: str = OURS) -> Ether:
    return Ether(src=hwsrc, dst=BROADCAST) / ARP(op=1, hwsrc=hwsrc, psrc=psrc, pdst=pdst)


def datagram(it: Link, to: str = PEER, data: bytes = b"x") -> None:
    with it.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, (to, 9))


def known(it: Link) -> dict[str, str]:
    return {str(one.address): one.mac for one in it.net.neighbours}


def state(it: Link, address: str = PEER) -> NeighbourState | None:
    return next((one.state for one in it.net.neighbours if str(one.address) == address), None)


def meet(it: Link, address: str = PEER, mac: str = PEER_MAC) -> None:
    """The Stack asks for a neighbour, and is answered."""
    datagram(it, address)
    it.send(reply(address, mac))
    assert state(it, address) is NeighbourState.REACHABLE
    it.sent()


# --- probing what is in use -----------------------------------------------------------------


@pytest.mark.parametrize("idle", [0, 60])
def test_a_changed_hardware_address_is_found(it: Link, idle: int) -> None:
    """RFC 1122 2.3.2.1: by use, in seconds; and what is sent meanwhile is sent."""
    meet(it)
    it.run(idle)
    took = 0.0
    for second in range(60):
        datagram(it)
        for frame in it.sent():
            if UDP in frame and frame.dst == PEER_MAC:
                took = second
            if ARP in frame and frame.dst == BROADCAST:
                it.send(reply(hwsrc=NEW_MAC))
        it.run(1)
    assert known(it) == {PEER: NEW_MAC}
    assert took <= (45 + 8 if idle == 0 else 10)


def test_what_is_stale_and_used_is_asked_by_unicast_and_stays(it: Link) -> None:
    meet(it)
    it.run(60)
    assert state(it) is NeighbourState.STALE
    asked, lost = [], 0
    for _ in range(300):
        datagram(it)
        frames = it.sent()
        lost += not any(UDP in frame and frame.dst == PEER_MAC for frame in frames)
        for frame in frames:
            if ARP in frame:
                asked.append(frame.dst)
                it.send(reply())
        it.run(1)
    assert lost == 0
    assert set(asked) == {PEER_MAC}
    assert 3 <= len(asked) <= 16


def test_a_silent_neighbour_is_asked_three_times_a_second_apart(it: Link) -> None:
    meet(it)
    it.run(60)
    datagram(it)
    times = []
    for tick in range(120):
        times += [(tick / 10, frame.dst) for frame in it.sent() if ARP in frame]
        it.run(0.1)
    assert [mac for _, mac in times] == [PEER_MAC] * 3
    assert [pytest.approx(5, abs=0.3), pytest.approx(6, abs=0.4), pytest.approx(7, abs=0.5)] == [
        time for time, _ in times
    ]
    assert known(it) == {}


def test_nobody_is_asked_about_what_is_not_used(it: Link) -> None:
    meet(it)
    it.run(299)
    assert it.sent() == []
    assert state(it) is NeighbourState.STALE
    it.run(3)
    assert known(it) == {}


@contextmanager
def served(it: Link) -> Iterator[tuple[Any, Any, int]]:
    """A connection of the peer's: the Stack's socket, and the peer's next segment but its ACK."""
    with it.net.sockets.create_server((OURS, 80)) as listener:
        ends = Ether(src=PEER_MAC, dst=MAC) / IP(src=PEER, dst=OURS)
        it.send(ends / TCP(sport=5000, dport=80, flags="S", seq=100))
        (answer,) = [frame[TCP] for frame in it.sent() if TCP in frame]
        segment = ends / TCP(sport=5000, dport=80, flags="A", seq=101, ack=answer.seq + 1)
        it.send(segment)
        listener.setblocking(False)
        server, _ = listener.accept()
        with server:
            yield server, segment, answer.seq + 1


def test_a_connection_that_makes_progress_confirms(it: Link) -> None:
    meet(it)
    with served(it) as (server, segment, ack):
        for number in range(1, 200):
            server.send(b"x")
            assert not any(ARP in frame for frame in it.sent())
            segment[TCP].ack = ack + number
            it.send(segment)
            it.run(1)


def test_a_connection_without_answers_has_its_next_hop_asked(it: Link) -> None:
    """The peer is at another station all at once, and says nothing before it is asked."""
    meet(it)
    with served(it) as (server, segment, ack):
        server.send(b"x")
        segment[TCP].ack = ack + 1
        it.send(segment)
        it.sent()
        server.send(b"y")
        for tenth in range(150):
            for frame in it.sent():
                if ARP in frame and frame.dst == BROADCAST:
                    it.send(reply(hwsrc=NEW_MAC))
                if TCP in frame and frame.dst == NEW_MAC:
                    assert tenth > 30
                    return
            it.run(0.1)
    raise AssertionError("the new address was not found")


# --- who is believed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        reply(OTHER, OTHER_MAC),
        reply(OTHER, OTHER_MAC, dst=BROADCAST, pdst=OTHER),
        request(OTHER, OTHER_MAC, pdst=OTHER),
        request(OTHER, OTHER_MAC, pdst="10.0.0.78"),
        request("192.0.2.1", OTHER_MAC),  # is answered, but would be sent to by a router
        request("10.0.0.255", OTHER_MAC),
        request("224.0.0.1", OTHER_MAC),
        request(OTHER, "00:00:00:00:00:00"),
        request(OTHER, "03:00:00:00:00:01"),
        request("0.0.0.0", OTHER_MAC),
    ],
    ids=[
        "reply",
        "gratuitous reply",
        "announcement",
        "for another",
        "far",
        "broadcast",
        "group",
        "no station",
        "a group of stations",
        "probe",
    ],
)
def test_what_nobody_asked_for_makes_no_entry(it: Link, frame: Ether) -> None:
    it.send(frame)
    assert known(it) == {}


def test_who_asks_is_known(it: Link) -> None:
    it.send(request())
    assert state(it) is NeighbourState.STALE
    assert known(it) == {PEER: PEER_MAC}


def test_an_answer_that_was_not_asked_for_confirms_nothing(it: Link) -> None:
    it.send(request())
    it.run(2)
    it.send(reply())
    assert state(it) is NeighbourState.STALE
    it.send(reply(hwsrc=NEW_MAC))
    assert state(it) is NeighbourState.STALE


def test_of_two_answers_the_first_counts(it: Link) -> None:
    datagram(it)
    it.send(reply(), reply(hwsrc=NEW_MAC))
    assert known(it) == {PEER: PEER_MAC}
    it.run(2)
    it.send(reply(hwsrc=NEW_MAC))
    assert known(it) == {PEER: NEW_MAC}


@pytest.mark.parametrize("how", [reply, request])
def test_a_permanent_entry_is_nobody_elses_to_change(it: Link, how: type) -> None:
    it.net.neighbours.add(PEER, PEER_MAC)
    it.send(how(PEER, NEW_MAC), how(PEER, NEW_MAC, pdst=PEER))
    assert known(it) == {PEER: PEER_MAC}
    it.run(400)
    it.sent()
    datagram(it)
    assert [frame.dst for frame in it.sent()] == [PEER_MAC]


def test_our_own_address_is_no_neighbour(it: Link) -> None:
    it.send(request(OURS, NEW_MAC, pdst=OURS), reply(OURS, NEW_MAC))
    assert known(it) == {}


# --- floods -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_in_use_survives_a_flood_of_askers() -> None:
    """The table is bounded; whom a program sends to stays, and what waits for an answer waits."""
    with link("10.0.0.2/8") as it:
        meet(it)
        datagram(it, OTHER)
        it.sent()
        before = it.net.arena.used_bytes
        for start in range(0, 1200, 50):
            for number in range(start, start + 50):
                sender = f"10.{1 + number // 250}.1.{number % 250}"
                ping = IP(src=sender, dst=OURS) / ICMP() / Raw(bytes(1000))
                it.send(request(sender, OTHER_MAC), Ether(src=OTHER_MAC, dst=MAC) / ping)
            it.sent()
        assert it.net.arena.used_bytes - before < 1 << 16
        table = known(it)
        assert len(table) <= 1024
        assert table[PEER] == PEER_MAC
        it.send(reply(OTHER, OTHER_MAC))
        assert [frame.dst for frame in it.sent() if UDP in frame] == [OTHER_MAC]


def test_what_waits_for_an_address_is_bounded_and_the_latest_is_kept(it: Link) -> None:
    before = it.net.arena.used_bytes
    with it.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(2000):
            sock.sendto(number.to_bytes(2, "big") + bytes(1000), (PEER, 9))
            it.net.step()
    assert it.net.arena.used_bytes - before < 2 * 212992
    it.send(reply())
    got = [bytes(frame[UDP].payload)[:2] for frame in it.sent() if UDP in frame]
    assert got[-1] == (1999).to_bytes(2, "big")
    assert 100 < len(got) < 220


def test_what_waits_for_others_leaves_room_for_programs() -> None:
    """Packets to be forwarded to neighbours that are not there."""
    with link("10.0.0.2/8") as it:
        it.net.sysctl["net.ipv4.ip_forward"] = 1
        it.net.sysctl["net.ipv4.neigh.unres_qlen_bytes"] = 4096
        for number in range(600):
            packet = IP(src="10.0.0.9", dst=f"10.9.{number // 250}.{number % 250}") / UDP() / "x"
            it.send(Ether(src=OTHER_MAC, dst=MAC) / packet)
        datagram(it)
        it.send(reply())
        assert any(UDP in frame and frame.dst == PEER_MAC for frame in it.sent())


@pytest.mark.parametrize("address", [PEER, "fd00::1"])
def test_what_was_added_to_an_interface_that_is_down_goes_with_it(it: Link, address: str) -> None:
    it.interface.up = False
    it.net.neighbours.add(address, PEER_MAC, it.interface)
    it.interface.detach()
    assert known(it) == {}
