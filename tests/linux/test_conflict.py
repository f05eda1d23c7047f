"""Conflict detection for IPv4 (RFC 5227), which the engine has beside the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.l2 import ARP, Ether

import pystack
from pystack.hypercalls import ManualClock
from pystack.interface import AddressState

OURS, THEIRS = "02:00:00:00:00:01", "02:00:00:00:00:02"
ADDRESS = "10.0.0.1"


class Place:
    """A Stack with an address that it watches, and the far end of its wire."""

    def __init__(self, engine: str) -> None:
        self.clock = ManualClock()
        near, self.far = pystack.nic.wire()
        self.net = pystack.Stack(engine=engine, threaded=False, clock=self.clock, seed=1)
        self.eth = self.net.attach(near, mac=OURS)
        self.eth.addresses.add(f"{ADDRESS}/24", detect=True)

    def state(self) -> AddressState:
        (found,) = (one.state for one in self.eth.addresses if str(one.ip) == ADDRESS)
        return found

    def hear(self, seconds: float) -> list[ARP]:
        """What it says of the address by ARP meanwhile."""
        heard = []
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)
            self.net.step()
            while (frame := self.far.receive(0)) is not None:
                if ARP in (packet := Ether(frame)) and packet[ARP].pdst == ADDRESS:
                    heard.append(packet[ARP])
        return heard

    def claim(self) -> None:
        """Another host says that the address is its."""
        arp = ARP(op=1, hwsrc=THEIRS, psrc=ADDRESS, pdst=ADDRESS)
        self.far.send(bytes(Ether(src=THEIRS, dst="ff:ff:ff:ff:ff:ff") / arp))


@pytest.fixture
def place(engine: str) -> Iterator[Place]:
    it = Place(engine)
    with it.net:
        yield it


def probes(heard: list[ARP]) -> int:
    return sum(one.psrc == "0.0.0.0" for one in heard)


def announcements(heard: list[ARP]) -> int:
    return sum(one.psrc == ADDRESS for one in heard)


def test_it_is_probed_for_and_announced(place: Place) -> None:
    heard = place.hear(12)
    assert (probes(heard), announcements(heard)) == (3, 2)  # RFC 5227 1.1
    assert place.state() is AddressState.PREFERRED


def test_it_is_defended_once_in_ten_seconds(place: Place) -> None:
    place.hear(12)
    for _ in range(2):
        place.claim()
        assert announcements(place.hear(11)) == 1
        assert place.state() is AddressState.PREFERRED
    place.claim()
    place.hear(1)
    place.claim()
    assert announcements(place.hear(1)) == 0
    assert place.state() is AddressState.DUPLICATE


def test_an_interface_that_comes_up_again_asks(place: Place) -> None:
    place.hear(12)
    place.eth.up = False
    assert place.hear(5) == []
    place.eth.up = True
    heard = place.hear(12)
    assert (probes(heard), announcements(heard)) == (3, 2)
    assert place.state() is AddressState.PREFERRED
    # It may be another link, where somebody has the address.
    place.eth.up = False
    place.eth.up = True
    place.hear(1)
    place.claim()
    place.hear(1)
    assert place.state() is AddressState.DUPLICATE
    # And the next one, where nobody has.
    place.eth.up = False
    place.eth.up = True
    place.hear(12)
    assert place.state() is AddressState.PREFERRED


def test_frames_to_groups_are_counted_apart(place: Place) -> None:
    before = place.eth.counters()
    place.claim()
    place.claim()
    place.far.send(bytes(Ether(src=THEIRS, dst=OURS) / ARP(op=2, hwsrc=THEIRS, psrc="10.0.0.2")))
    place.net.step()
    after = place.eth.counters()
    assert after["in_group_packets"] - before["in_group_packets"] == 2
    assert after["in_unicast_packets"] - before["in_unicast_packets"] == 1
