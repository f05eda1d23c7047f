"""DHCP servers that lie, contradict themselves or each other, or say what can't be (RFC 2131)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from served import (
    ACK,
    DISCOVER,
    DNS,
    DOMAIN,
    LEASE,
    MASK,
    NAK,
    NAMES,
    OFFER,
    OURS,
    OVERLOAD,
    REQUEST,
    ROUTER,
    SERVER,
    SERVERS,
    T1,
    T2,
    Place,
    option,
    placed,
    reply,
)

OTHER, SECOND = IPv4Address("10.0.0.66"), IPv4Address("10.0.0.3")
STRANGER = bytes.fromhex("0200000000ff")
LEASED = ["10.0.0.9/24"]


pytestmark = pytest.mark.sanitize


@pytest.fixture
def place(engine: str) -> Iterator[Place]:
    with placed(engine) as made:
        yield made


def discovering(place: Place) -> bytes:
    """Has it look for a server; what it asks."""
    place.server.answers = {}
    place.eth.dhcp(timeout=0)
    place.run(1)
    assert place.server.heard[-1] == DISCOVER
    return place.server.asked


def requesting(place: Place) -> bytes:
    """Offers it an address; its request."""
    asked = discovering(place)
    place.server.nic.deliver(reply(asked, OFFER, place.server.options(OFFER)))
    place.run(1)
    assert place.server.heard[-1] == REQUEST
    return place.server.asked


def truth(place: Place, seconds: float = 70) -> None:
    """The server speaks from now on; what it says is believed."""
    place.server.answers = {DISCOVER: OFFER, REQUEST: ACK}
    place.run(seconds)
    assert place.addresses() == LEASED
    assert place.eth.lease.bound


FALSE: dict[str, dict[str, Any]] = {
    "another's transaction": {"transaction": b"\1\2\3\4"},
    "another's hardware address": {"client": STRANGER},
    "a client's": {"begins": b"\1\1\6\0"},
    "of another hardware": {"begins": b"\2\6\6\0"},
    "without a cookie": {"cookie": bytes(4)},
    "to another station": {"station": STRANGER},
}


@pytest.mark.parametrize("what", FALSE)
def test_what_is_not_for_it_is_not_believed(place: Place, what: str) -> None:
    asked = discovering(place)
    options = place.server.options(OFFER)
    place.server.nic.deliver(reply(asked, OFFER, options, address=OTHER, **FALSE[what]))
    place.run(1)
    assert REQUEST not in place.server.heard
    truth(place)


@pytest.mark.parametrize("what", FALSE)
def test_nor_when_a_lease_is_asked_for(place: Place, what: str) -> None:
    asked = requesting(place)
    for kind in (ACK, NAK):
        place.server.nic.deliver(reply(asked, kind, place.server.options(kind), **FALSE[what]))
    place.run(1)
    assert place.addresses() == []
    assert place.server.heard[-1] == REQUEST
    truth(place)


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_an_address_that_no_host_can_have_is_not_asked_for(place: Place, address: str) -> None:
    asked = discovering(place)
    options = place.server.options(OFFER)
    place.server.nic.deliver(reply(asked, OFFER, options, address=IPv4Address(address)))
    place.run(1)
    assert REQUEST not in place.server.heard
    truth(place)


def test_another_address_than_was_asked_for_is_not_taken(place: Place) -> None:
    asked = requesting(place)
    place.server.nic.deliver(reply(asked, ACK, place.server.options(ACK), address=OTHER))
    place.run(1)
    assert place.addresses() == []
    truth(place)


def test_of_two_offers_the_first_is_taken_and_its_server_alone_believed(place: Place) -> None:
    asked = discovering(place)
    options = place.server.options(OFFER)
    seconds = option(SERVER, SECOND.packed) + options[6:]
    place.server.nic.deliver(reply(asked, OFFER, options))
    place.server.nic.deliver(reply(asked, OFFER, seconds, address=OTHER))
    place.run(1)
    assert place.server.heard == [DISCOVER, REQUEST]
    said = place.server.asked
    assert option(50, OURS.packed) in said
    assert option(SERVER, SERVERS.packed) in said
    for kind in (ACK, NAK):
        place.server.nic.deliver(reply(said, kind, seconds))
    place.run(1)
    assert place.addresses() == []
    assert place.server.heard == [DISCOVER, REQUEST]
    place.server.nic.deliver(reply(said, ACK, options))
    place.run(1)
    assert place.addresses() == LEASED
    assert place.eth.lease.server == SERVERS


def test_an_offer_by_nobody_is_none(place: Place) -> None:
    asked = discovering(place)
    place.server.nic.deliver(reply(asked, OFFER, place.server.options(OFFER)[6:]))
    place.run(1)
    assert REQUEST not in place.server.heard
    truth(place)


def lease(place: Place, options: bytes, **fields: Any) -> None:
    """Gives it a lease with these options, beside the server's identifier."""
    asked = requesting(place)
    said = option(SERVER, SERVERS.packed) + options
    place.server.nic.deliver(reply(asked, ACK, said, **fields))
    place.run(2)


HOUR, NETWORK = option(LEASE, struct.pack(">I", 3600)), option(MASK, b"\xff\xff\xff\0")


def test_what_stands_in_the_fields_of_names_counts(place: Place) -> None:
    file = option(ROUTER, SERVERS.packed) + option(NAMES, DNS.packed) + b"\xff"
    sname = NETWORK + option(DOMAIN, b"home") + b"\xff"
    lease(place, option(OVERLOAD, b"\3") + HOUR, file=file, sname=sname)
    assert place.addresses() == LEASED
    found = place.eth.lease
    assert (found.gateway, found.dns, found.domain) == (SERVERS, (DNS,), "home")


def test_what_stands_there_without_a_word_does_not(place: Place) -> None:
    lease(place, HOUR + NETWORK, file=option(ROUTER, SERVERS.packed) + b"\xff")
    assert place.addresses() == LEASED
    assert place.eth.lease.gateway is None


@pytest.mark.parametrize("mask", [b"", option(MASK, bytes(4)), option(MASK, b"\xff\0\xff\0")],
                         ids=["none", "of nobody", "with holes"])  # fmt: skip
def test_without_a_mask_the_address_says_the_network(place: Place, mask: bytes) -> None:
    lease(place, HOUR + mask)
    assert place.addresses() == ["10.0.0.9/8"]


TIMES = {
    "none": b"",
    "of nothing": option(LEASE, bytes(4)),
    "of a second": option(LEASE, b"\0\0\0\1"),
    "T1 after T2": option(LEASE, struct.pack(">I", 600))
    + option(T1, struct.pack(">I", 500))
    + option(T2, struct.pack(">I", 400)),
    "T1 after T2 after the end": option(LEASE, struct.pack(">I", 600))
    + option(T1, struct.pack(">I", 9000))
    + option(T2, struct.pack(">I", 8000)),
    "T1 at once": option(LEASE, struct.pack(">I", 600)) + option(T1, bytes(4)),
    "T1 and T2 for ever": option(LEASE, struct.pack(">I", 600))
    + option(T1, b"\xff" * 4)
    + option(T2, b"\xff" * 4),
}


@pytest.mark.parametrize("times", TIMES)
def test_times_that_can_not_be_cost_neither_the_lease_nor_a_flood(place: Place, times: str) -> None:
    said = option(SERVER, SERVERS.packed) + TIMES[times] + NETWORK

    place.server.options = lambda kind: said  # type: ignore[method-assign]
    place.eth.dhcp(timeout=0)
    place.run(2)
    assert place.addresses() == LEASED
    before = len(place.server.heard)
    place.run(1200)
    # A lease of a second is asked for twice each, at most.
    most = 2500 if times == "of a second" else 60
    assert len(place.server.heard) - before <= most
    assert place.addresses() == LEASED


def test_a_lease_for_ever_is_never_renewed(place: Place) -> None:
    lease(place, option(LEASE, b"\xff" * 4) + NETWORK)
    assert place.addresses() == LEASED
    before = len(place.server.heard)
    place.run(100_000)
    assert len(place.server.heard) == before
    assert place.eth.lease.lease_s is None


def test_refusals_without_end_are_no_flood(place: Place) -> None:
    place.server.answers = {DISCOVER: OFFER, REQUEST: NAK}
    place.eth.dhcp(timeout=0)
    place.run(600)
    assert 2 <= place.server.heard.count(DISCOVER) <= 60
    truth(place)


def test_refusals_that_nobody_asked_for_are_nothing(place: Place) -> None:
    asked = requesting(place)
    place.server.nic.deliver(reply(asked, ACK, place.server.options(ACK)))
    place.run(2)
    for _ in range(200):
        place.server.nic.deliver(reply(asked, NAK, place.server.options(NAK)))
        place.run(0.01)
    assert place.addresses() == LEASED
    assert place.server.heard == [DISCOVER, REQUEST]


@pytest.mark.parametrize("kind", [OFFER, ACK])
def test_a_message_cut_anywhere_ends_nothing(place: Place, kind: int) -> None:
    asked = discovering(place) if kind == OFFER else requesting(place)
    options = option(OVERLOAD, b"\3") + place.server.options(kind)
    whole = 236 + 4 + 3 + len(options)
    for size in [*range(200, whole, 3), 0, 1, 43]:
        place.server.nic.deliver(reply(asked, kind, options, address=OTHER, size=size,
                                       file=b"\x35\xff", sname=b"\x03\x40\1"))  # fmt: skip
        place.run(0.01)
    place.run(1)
    truth(place, 300)


@pytest.mark.parametrize(
    "wrong",
    [
        option(NAMES, b"\1\2\3"),
        option(NAMES, b""),
        option(ROUTER, b"\1"),
        option(ROUTER, bytes(4)),
        option(NAMES, bytes(4)),
        option(DOMAIN, b""),
        bytes(50),
        option(OVERLOAD, b"\7"),
        option(OVERLOAD, b"\1\1"),
    ],
    ids=["3 bytes of names", "no names", "1 byte of router", "router 0.0.0.0", "names 0.0.0.0",
         "no domain", "padding", "overload 7", "overload of 2"],
)  # fmt: skip
def test_an_option_that_can_not_be_costs_that_option_alone(place: Place, wrong: bytes) -> None:
    lease(place, HOUR + NETWORK + wrong)
    assert place.addresses() == LEASED
    assert (place.eth.lease.gateway, list(place.net.nameservers)) == (None, [])


def fragments(frame: bytes, size: int = 400) -> list[bytes]:
    """A frame's packet in pieces of so many bytes."""
    head, data = frame[14:34], frame[34:]
    found = []
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        more = 0x2000 if at + size < len(data) else 0
        fields = struct.pack(">HHH", 20 + len(piece), 0x77, more | at // 8)
        bare = head[:2] + fields + head[8:10] + bytes(2) + head[12:20]
        total = sum(struct.unpack(">10H", bare))
        total = (total & 0xFFFF) + (total >> 16)
        check = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
        found.append(frame[:14] + bare[:10] + check.to_bytes(2, "big") + bare[12:] + piece)
    return found


@pytest.mark.parametrize("order", ["in order", "backwards", "doubled"])
def test_messages_in_fragments(place: Place, order: str) -> None:
    def deliver(frame: bytes) -> None:
        pieces = fragments(frame, 200)
        assert len(pieces) > 1
        if order != "in order":
            pieces = pieces[::-1] if order == "backwards" else [*pieces[:-1], *pieces]
        for piece in pieces:
            place.server.nic.deliver(piece)

    asked = discovering(place)
    deliver(reply(asked, OFFER, place.server.options(OFFER)))
    place.run(1)
    assert place.server.heard[-1] == REQUEST
    deliver(reply(place.server.asked, ACK, place.server.options(ACK)))
    place.run(1)
    assert place.addresses() == LEASED


def test_fragments_that_never_become_whole_are_no_burden(place: Place) -> None:
    asked = discovering(place)
    for number in range(300):
        frame = bytearray(fragments(reply(asked, OFFER, place.server.options(OFFER)))[0])
        frame[18:20] = number.to_bytes(2, "big")
        place.server.nic.deliver(bytes(frame))
        place.run(0.01)
    truth(place)
