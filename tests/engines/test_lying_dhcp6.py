"""DHCPv6 servers that lie, contradict themselves or each other, or say what can't be (RFC 9915)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from served6 import (
    ADVERTISE,
    CLIENT_ID,
    DNS,
    DOMAINS,
    FOREVER,
    IA_NA,
    NAMES,
    NO_ADDRESSES,
    NO_BINDING,
    NOT_ON_LINK,
    OTHER,
    OURS,
    REBIND,
    RENEW,
    REPLY,
    REQUEST,
    SECOND,
    SERVER_ID,
    SOLICIT,
    UNSPECIFIED,
    Place,
    address,
    association,
    of,
    option,
    packed,
    placed,
    status,
)

from pystack.services import LeaseState

pytestmark = pytest.mark.sanitize

STRANGER = "02:00:00:00:00:ff"
LEASED = [f"{OURS}/128"]


@pytest.fixture
def place(engine: str) -> Iterator[Place]:
    with placed(engine) as made:
        yield made


def soliciting(place: Place) -> None:
    """Has it look for a server."""
    place.truth = place.server.says  # type: ignore[attr-defined]
    place.server.says = {}
    place.eth.dhcp6(stateful=True)
    place.run(1.01)
    assert place.server.kinds() == [SOLICIT]


def requesting(place: Place) -> None:
    """Offers it an address."""
    soliciting(place)
    place.say(ADVERTISE, association(address()), option(7, b"\xff"))
    assert place.server.kinds() == [SOLICIT, REQUEST]


def truth(place: Place, seconds: float = 70) -> None:
    """The server speaks from now on; what it says is believed."""
    place.server.says = place.truth  # type: ignore[attr-defined]
    place.run(seconds)
    assert place.addresses() == LEASED
    assert place.eth.lease6.bound


FALSE: dict[str, dict[str, Any]] = {
    "another's transaction": {"transaction": b"\1\2\3"},
    "to another client": {"client": option(CLIENT_ID, b"\0\3\0\1" + bytes(6))},
    "to no client": {"client": b""},
    "by nobody": {"server": b""},
    "by whose name is none": {"server": b"\0\3"},
    "by whose name is too long": {"server": b"\0\3\0\1" + bytes(200)},
    "from another port": {"port": 546},
    "to another station": {"station": STRANGER},
}


@pytest.mark.parametrize("what", FALSE)
def test_what_is_not_for_it_is_no_offer(place: Place, what: str) -> None:
    soliciting(place)
    place.say(ADVERTISE, association(address(OTHER)), option(7, b"\xff"), **FALSE[what])
    place.run(1)
    assert REQUEST not in place.server.kinds()
    truth(place)


@pytest.mark.parametrize("what", [*FALSE, "by another server"])
def test_nor_is_it_an_answer(place: Place, what: str) -> None:
    requesting(place)
    fields = FALSE.get(what, {"server": SECOND})
    place.say(REPLY, association(address(OTHER)), **fields)
    place.say(REPLY, status(NOT_ON_LINK), **fields)
    place.say(ADVERTISE, association(address(OTHER)))
    place.run(3)
    assert place.addresses() == []
    assert set(place.server.kinds()[1:]) == {REQUEST}
    truth(place)


NOTHING = {
    "no association": b"",
    "another's association": association(address(OTHER), identity=b"\1\2\3\4"),
    "no address": association(),
    "no address left": association(status(NO_ADDRESSES)),
    "no address left, and one": association(address(OTHER), status(NO_ADDRESSES)),
    "nothing for anybody": association(address(OTHER)) + status(NO_ADDRESSES),
    "T1 after T2": association(address(OTHER), t1=300, t2=200),
    "preferred for longer than valid": association(address(OTHER, preferred=10, valid=9)),
    "for no time": association(address(OTHER, preferred=0, valid=0)),
    "that has a fault": association(address(OTHER, more=status(UNSPECIFIED))),
    "a group": association(address("ff02::9")),
    "nobody": association(address("::")),
    "oneself": association(address("::1")),
    "of the link": association(address("fe80::9")),
    "of IPv4": association(address("::ffff:10.0.0.9")),
    "cut": association(option(5, packed(OTHER) + bytes(7))),
    "cut by its own word": association(option(5, packed(OTHER) + bytes(8), size=200)),
    "without times": option(IA_NA, bytes.fromhex("00000002")),
}


@pytest.mark.parametrize("what", NOTHING)
def test_an_offer_of_nothing_is_not_taken(place: Place, what: str) -> None:
    soliciting(place)
    place.say(ADVERTISE, NOTHING[what], option(7, b"\xff"))
    place.run(2)
    assert REQUEST not in place.server.kinds()
    truth(place)


@pytest.mark.parametrize("what", NOTHING)
def test_nor_is_a_gift_of_nothing(place: Place, what: str) -> None:
    requesting(place)
    place.say(REPLY, NOTHING[what])
    place.run(1)
    assert place.addresses() == []
    truth(place)


@pytest.mark.parametrize("what", NOTHING)
def test_nor_does_it_end_what_is_leased(place: Place, what: str) -> None:
    requesting(place)
    place.say(REPLY, association(address(), t1=10, t2=400))
    place.run(15)
    assert place.server.kinds()[-1] == RENEW
    place.say(REPLY, NOTHING[what])
    place.run(2)
    assert OURS in place.addresses()[0]
    assert place.eth.lease6.bound


@pytest.mark.parametrize("code", [UNSPECIFIED, NO_ADDRESSES, NO_BINDING, NOT_ON_LINK, 5, 77])
def test_refusals_without_end_are_no_flood(place: Place, code: int) -> None:
    soliciting(place)
    place.server.says = {SOLICIT: (association(address()),), REQUEST: (status(code),)}
    place.run(600)
    assert 2 <= len(place.server.heard) <= 100
    place.server.forget()
    truth(place)


@pytest.mark.parametrize("code", [UNSPECIFIED, NO_ADDRESSES, NO_BINDING, NOT_ON_LINK, 5, 77])
def test_nor_are_those_of_what_is_leased(place: Place, code: int) -> None:
    requesting(place)
    place.say(REPLY, association(address(), t1=10, t2=20))
    place.run(3)
    refusals = (association(address(OTHER), status(code)),)
    place.server.says = dict.fromkeys((SOLICIT, REQUEST, RENEW, REBIND), refusals)
    place.server.forget()
    place.run(500)
    assert 2 <= len(place.server.heard) <= 100
    assert place.addresses() == LEASED  # until its time is over
    place.run(100)
    assert place.addresses() == []


TIMES = {
    "chosen by the client": association(address(), t1=0, t2=0),
    "of no preference": association(address(preferred=0), t1=0, t2=0),
    "of a second": association(address(preferred=1, valid=1), t1=0, t2=0),
    "T1 at once": association(address(), t1=1, t2=1),
    "T1 without T2": association(address(), t1=500, t2=0),
    "T2 without T1": association(address(), t1=0, t2=5),
    "T1 and T2 after the end": association(address(), t1=9000, t2=9001),
    "T1 and T2 for ever": association(address(), t1=FOREVER, t2=FOREVER),
    "a moment less than for ever": association(address(preferred=FOREVER - 1, valid=FOREVER - 1)),
}


@pytest.mark.parametrize("times", TIMES)
def test_times_that_can_not_be_cost_neither_the_lease_nor_a_flood(place: Place, times: str) -> None:
    place.server.says |= dict.fromkeys((SOLICIT, REQUEST, RENEW, REBIND), (TIMES[times],))
    place.eth.dhcp6(stateful=True)
    place.run(5)
    if times != "of a second":  # it may be over before it was checked
        assert place.addresses() == LEASED
    before = len(place.server.heard)
    place.run(1200)
    assert len(place.server.heard) - before <= 2500
    if times not in ("of a second", "T1 and T2 after the end", "T1 and T2 for ever"):
        assert place.addresses() == LEASED


def test_what_was_said_before_is_not_believed_again(place: Place) -> None:
    requesting(place)
    asked = place.server.asked[-1]
    place.say(REPLY, association(address()))
    place.run(3)
    for one in (association(address(OTHER)), association(address(preferred=0, valid=0))):
        place.say(REPLY, one, asked=asked)
        place.say(ADVERTISE, one, asked=place.server.asked[0])
    assert place.addresses() == LEASED
    assert place.eth.lease6.state is LeaseState.BOUND
    place.run(110)
    assert place.server.kinds()[-1] == RENEW
    place.say(REPLY, association(address(preferred=0, valid=0)), asked=asked)
    assert place.addresses() == LEASED


def test_a_message_cut_anywhere_ends_nothing(place: Place) -> None:
    requesting(place)
    more = (association(address(OTHER), status(0)), option(DNS, packed(NAMES)))
    for size in range(150):
        place.say(REPLY, *more, size=size, server=SECOND)
        place.say(ADVERTISE, *more, size=size)
    assert place.addresses() == []
    truth(place, 100)


@pytest.mark.parametrize(
    "wrong",
    [
        option(DNS, b"\1\2\3"),
        option(DNS, b""),
        option(DNS, bytes(16)),
        option(DNS, packed("ff02::53")),
        option(DOMAINS, b"\x3fcut"),
        option(DOMAINS, b"\xc0\0"),
        option(DOMAINS, b"\0" * 900),
        option(7, b""),
        option(7, b"\1\2"),
        option(13, b"\1"),
        option(82, b"\xff" * 4),
        option(82, bytes(4)),
        option(14, b"full"),
        option(0xFFFF, b"x" * 1000),
        b"".join(option(code, b"") for code in range(100, 300)),
        option(DNS, packed(NAMES), size=0xFFFF),
        b"\0\x17\0",
    ],
    ids=["3 bytes of names", "no names", "names ::", "a group", "a cut domain", "a loop", "roots",
         "no preference", "2 preferences", "half a status", "SOL_MAX_RT too long",
         "SOL_MAX_RT of 0", "a full flag", "a huge unknown", "200 unknown", "far cut",
         "no length"],
)  # fmt: skip
def test_an_option_that_can_not_be_costs_that_option_alone(place: Place, wrong: bytes) -> None:
    requesting(place)
    place.say(REPLY, association(address()), wrong)
    place.run(3)
    assert place.addresses() == LEASED
    assert place.nameservers() == []
    assert place.eth.lease6.domains == ()


def test_a_list_of_domains_is_read(place: Place) -> None:
    requesting(place)
    place.say(REPLY, association(address()), option(DOMAINS, b"\4home\4arpa\0\3lab\0"))
    place.run(3)
    assert place.eth.lease6.domains == ("home.arpa", "lab")


def test_more_addresses_than_anybody_needs_are_not_taken(place: Place) -> None:
    requesting(place)
    given = [address(f"2001:db8::{number:x}") for number in range(1, 40)]
    place.say(REPLY, association(*given, *given))
    place.run(5)
    assert len(place.addresses()) == 8
    place.server.says = place.truth  # type: ignore[attr-defined]
    place.eth.dhcp6(False)
    place.run(5)
    assert place.addresses() == []


def test_of_two_associations_the_right_one_counts(place: Place) -> None:
    requesting(place)
    wrong = association(address(OTHER), identity=b"\1\2\3\4")
    place.say(REPLY, wrong, association(address()), association(address("2001:db8::9")))
    place.run(3)
    assert place.addresses() == LEASED


def test_answers_to_a_confirmation_need_not_agree(place: Place) -> None:
    requesting(place)
    place.say(REPLY, association(address()))
    place.run(3)
    place.eth.up = False
    place.run(1)
    place.eth.up = True
    place.run(4)
    assert place.server.kinds()[-1] == 4
    place.say(REPLY, status(NOT_ON_LINK), server=SECOND)
    assert place.addresses() == LEASED
    place.say(REPLY, status(0))
    place.run(20)
    assert place.addresses() == LEASED
    assert place.eth.lease6.state is LeaseState.BOUND


def test_frames_without_end_do_not_lose_the_truth(place: Place) -> None:
    soliciting(place)
    for number in range(500):
        transaction = struct.pack(">I", number)[1:]
        place.say(REPLY, association(address(OTHER)), transaction=transaction)
    assert place.addresses() == []
    assert SERVER_ID not in of(place.server.asked[0])
    truth(place)
