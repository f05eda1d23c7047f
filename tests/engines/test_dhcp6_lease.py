"""DHCPv6's leases (RFC 9915 18.2) in sequences, by a router and a server that the test is."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest
from served6 import (
    ADVERTISE,
    ASKED,
    CLIENT_ID,
    CONFIRM,
    DECLINE,
    DNS,
    DUID,
    ELAPSED,
    FOREVER,
    IA_NA,
    INFORMATION,
    NAMES,
    NOT_ON_LINK,
    OTHER,
    OURS,
    PREFERENCE,
    RAPID,
    REBIND,
    RELEASE,
    RENEW,
    REPLY,
    REQUEST,
    SECOND,
    SERVER_ID,
    SOLICIT,
    Place,
    address,
    association,
    of,
    option,
    placed,
    status,
    wanted,
)

import pystack
from pystack.interface import AddressOrigin, AddressState, InterfaceFlag
from pystack.services import LeaseState

pytestmark = pytest.mark.sanitize

LEASED = [f"{OURS}/128"]


@pytest.fixture
def place(engine: str) -> Iterator[Place]:
    with placed(engine) as made:
        yield made


def test_an_address_is_leased_extended_and_given_back(place: Place) -> None:
    before = place.server.router_solicitations
    place.eth.dhcp6()
    place.run(2)
    assert place.server.router_solicitations > before
    assert place.server.heard == []  # no router has said that there are addresses
    assert place.eth.lease6.state is LeaseState.SEARCHING
    place.server.advertise()
    place.run(6)
    assert place.server.kinds() == [SOLICIT, REQUEST]
    assert place.eth.flags & InterfaceFlag.DHCP6
    (leased,) = place.leased()
    assert (str(leased.address), leased.origin) == (f"{OURS}/128", AddressOrigin.DHCP)
    assert leased.state is AddressState.PREFERRED
    assert 290 <= leased.preferred_s <= 300
    assert 590 <= leased.valid_s <= 600
    lease = place.eth.lease6
    assert lease.state is LeaseState.BOUND
    assert (lease.server, lease.renew_s, lease.rebind_s) == (DUID, 100, 200)
    assert [str(one) for one in lease.dns] == place.nameservers() == [NAMES]
    assert [str(one.address) for one in lease.addresses] == LEASED
    place.run(100)
    assert place.server.kinds() == [SOLICIT, REQUEST, RENEW]
    assert place.eth.lease6.remaining_s is not None
    assert place.eth.lease6.remaining_s > 580
    place.run(1000)
    assert place.addresses() == LEASED
    assert set(place.server.kinds()[2:]) == {RENEW}
    place.server.forget()
    assert place.eth.dhcp6(False).state is LeaseState.OFF
    assert place.addresses() == []
    assert place.nameservers() == []
    assert not place.eth.flags & InterfaceFlag.DHCP6
    place.run(60)
    assert place.server.kinds() == [RELEASE]
    assert of(place.server.asked[0])[SERVER_ID] == DUID
    assert wanted(place.server.asked[0]) == [OURS]


def test_what_is_said_is_what_the_rfc_asks(place: Place) -> None:
    place.bind()
    place.run(100)
    solicit, request, renew = place.server.asked
    duids = {of(one)[CLIENT_ID] for one in place.server.asked}
    assert len(duids) == 1
    for one in place.server.asked:
        codes = struct.unpack(f">{len(of(one)[ASKED]) // 2}H", of(one)[ASKED])
        assert {DNS, 24, 82} <= set(codes)
        assert of(one)[IA_NA][4:12] == bytes(8)
    assert SERVER_ID not in of(solicit)
    assert of(solicit)[ELAPSED] == b"\0\0"
    assert of(request)[SERVER_ID] == of(renew)[SERVER_ID] == DUID
    assert (wanted(request), wanted(renew)) == ([OURS], [OURS])
    assert len({one[1:4] for one in place.server.asked}) == 3  # transactions


def test_a_server_that_is_silent_is_solicited_ever_more_rarely(place: Place) -> None:
    place.server.says = {}
    place.eth.dhcp6(stateful=True)
    place.run(20_000)
    gaps = [after - before for before, after in pairwise(place.server.times(SOLICIT))]
    assert 1.0 < gaps[0] <= 1.1  # so that advertisements are collected for a second (18.2.1)
    for before, after in pairwise(gaps[:10]):
        assert before * 1.89 <= after <= before * 2.11
    assert all(3239 <= gap <= 3961 for gap in gaps[13:])
    assert set(place.server.kinds()) == {SOLICIT}
    (elapsed,) = {of(place.server.asked[-1])[ELAPSED]}
    assert elapsed == b"\xff\xff"


def test_a_server_may_have_it_asked_more_often(place: Place) -> None:
    place.server.says = {SOLICIT: (status(2), option(82, (60).to_bytes(4, "big")))}
    place.eth.dhcp6(stateful=True)
    place.run(1000)
    assert place.addresses() == []
    gaps = [after - before for before, after in pairwise(place.server.times(SOLICIT))]
    assert all(54 <= gap <= 66 for gap in gaps[7:])
    assert len(gaps) > 15


def test_a_request_is_said_ten_times_and_then_another_server_is_looked_for(place: Place) -> None:
    del place.server.says[REQUEST]
    place.eth.dhcp6(stateful=True)
    place.run(500)
    kinds = place.server.kinds()
    again = kinds.index(SOLICIT, 1)
    assert kinds[:again].count(REQUEST) == 10
    times = place.server.times(REQUEST)
    gaps = [after - before for before, after in pairwise(times[:10])]
    assert 0.9 <= gaps[0] <= 1.1
    assert all(27 <= gap <= 33 for gap in gaps[5:])


def test_of_several_the_server_is_taken_that_wants_it_most(place: Place) -> None:
    place.server.says = {REQUEST: place.server.says[REQUEST]}
    place.eth.dhcp6(stateful=True)
    place.run(1)
    offer = association(address())
    for server, preference in ((SECOND, 7), (DUID, 9), (b"\0\3\0\1another", 0)):
        more = option(PREFERENCE, bytes((preference,)))
        place.say(ADVERTISE, offer, more, server=server)
    assert place.server.kinds() == [SOLICIT]  # perhaps a better one comes
    place.run(3)
    assert place.server.kinds() == [SOLICIT, REQUEST]
    assert of(place.server.asked[-1])[SERVER_ID] == DUID
    assert place.addresses() == LEASED


def test_the_highest_preference_needs_no_comparing(place: Place) -> None:
    place.server.says = {}
    place.eth.dhcp6(stateful=True)
    place.run(1)
    place.say(ADVERTISE, association(address()), option(PREFERENCE, b"\xff"), server=SECOND)
    assert place.server.kinds() == [SOLICIT, REQUEST]
    assert of(place.server.asked[-1])[SERVER_ID] == SECOND


def test_a_late_offer_is_taken_at_once(place: Place) -> None:
    place.server.says = {}
    place.eth.dhcp6(stateful=True)
    place.run(10)
    asked = place.server.asked[-1]
    place.say(ADVERTISE, association(address()), asked=asked)
    assert place.server.kinds()[-1] == REQUEST


@pytest.mark.parametrize("rapid", [True, False])
def test_a_server_may_answer_at_once_if_it_was_asked_to(place: Place, rapid: bool) -> None:
    given = place.server.says[SOLICIT]
    place.server.says = {SOLICIT: [*given, option(RAPID, b"")]}
    place.eth.dhcp6(stateful=True, rapid_commit=rapid)
    place.run(6)
    assert (RAPID in of(place.server.asked[0])) is rapid
    assert REQUEST not in place.server.kinds()
    assert place.addresses() == (LEASED if rapid else [])


def test_from_t2_on_any_server_may_extend_it(place: Place) -> None:
    place.bind()
    place.server.says = {}
    place.server.forget()
    place.run(240)
    renewals, rebinds = place.server.times(RENEW), place.server.times(REBIND)
    assert 9 <= renewals[1] - renewals[0] <= 11
    assert 3 <= len(renewals) <= 4
    assert len(rebinds) >= 2
    assert place.eth.lease6.state is LeaseState.REBINDING
    assert SERVER_ID not in of(place.server.asked[-1])
    assert wanted(place.server.asked[-1]) == [OURS]
    place.say(REPLY, association(address()), server=SECOND)
    assert place.eth.lease6.state is LeaseState.BOUND
    assert place.eth.lease6.server == SECOND
    place.server.forget()
    place.run(110)
    assert of(place.server.asked[-1])[SERVER_ID] == SECOND


def test_an_address_that_nobody_extends_is_deprecated_and_then_gone(place: Place) -> None:
    place.bind()
    place.server.says = {}
    place.eth.addresses.add("2001:db8::7/64")
    place.run(300)
    states = {str(one.ip): one.state for one in place.leased()}
    assert states[OURS] is AddressState.DEPRECATED
    with place.net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
        one.connect(("2001:db8::1", 9))
        assert one.getsockname()[0] == "2001:db8::7"  # rule 3 of RFC 6724 comes before rule 8
    place.run(300)
    assert place.addresses() == ["2001:db8::7/64"]
    place.run(60)
    assert place.server.kinds()[-1] == SOLICIT
    assert place.eth.lease6.state is LeaseState.SEARCHING


def test_an_extension_makes_a_deprecated_address_usable_again(place: Place) -> None:
    place.bind()
    place.server.says = {}
    place.run(350)
    assert place.leased()[0].state is AddressState.DEPRECATED
    place.say(REPLY, association(address(preferred=1000, valid=2000)))
    assert place.leased()[0].state is AddressState.PREFERRED
    assert place.leased()[0].preferred_s > 900


def test_addresses_come_and_go_with_what_the_server_says(place: Place) -> None:
    place.bind()
    place.server.says[RENEW] = (association(address(preferred=0, valid=0), address(OTHER)),)
    place.run(110)
    assert place.addresses() == [f"{OTHER}/128"]
    place.server.says[RENEW] = (association(address(OURS)),)  # of the other it says nothing
    place.run(110)
    assert sorted(place.addresses()) == [f"{OURS}/128", f"{OTHER}/128"]
    assert wanted(place.server.asked[-1]) == [OTHER]


def test_one_that_takes_all_addresses_back_is_asked_again_in_its_time(place: Place) -> None:
    place.bind()
    place.server.says[RENEW] = (association(address(preferred=0, valid=0)),)
    place.server.says[REQUEST] = (association(address(OTHER)),)
    place.run(110)
    assert place.addresses() == [f"{OTHER}/128"]
    assert place.server.kinds()[-2:] == [SOLICIT, REQUEST]


def test_a_server_that_has_forgotten_the_lease_is_asked_for_it(place: Place) -> None:
    place.bind()
    place.server.forget()
    place.server.says[RENEW] = (association(status(3)),)
    place.run(100)
    assert place.server.kinds() == [RENEW, REQUEST]
    assert wanted(place.server.asked[-1]) == [OURS]
    assert of(place.server.asked[-1])[SERVER_ID] == DUID
    assert place.addresses() == LEASED
    assert place.eth.lease6.state is LeaseState.BOUND


def down_and_up(place: Place) -> None:
    place.server.forget()
    place.eth.up = False
    place.run(5)
    place.eth.up = True
    place.run(5)


def test_a_link_that_is_back_is_the_same(place: Place) -> None:
    place.bind()
    down_and_up(place)
    assert place.server.kinds() == [CONFIRM]
    (asked,) = place.server.asked
    assert SERVER_ID not in of(asked)
    assert wanted(asked) == [OURS]
    assert place.addresses() == LEASED
    assert place.eth.lease6.state is LeaseState.BOUND


def test_a_link_that_is_back_at_once_is_noticed(place: Place) -> None:
    place.bind()
    place.server.forget()
    place.eth.up = False
    place.eth.up = True
    place.run(8)
    assert place.server.kinds() == [CONFIRM]
    assert place.addresses() == LEASED


def test_a_link_that_is_back_is_another(place: Place) -> None:
    place.bind()
    place.server.says[CONFIRM] = (status(NOT_ON_LINK),)
    place.server.says[REQUEST] = (association(address(OTHER)),)
    down_and_up(place)
    place.run(15)
    assert place.server.kinds()[-2:] == [SOLICIT, REQUEST]
    assert place.addresses() == [f"{OTHER}/128"]


def test_where_nobody_says_that_it_is_wrong_it_is_used_on(place: Place) -> None:
    place.bind()
    del place.server.says[CONFIRM]
    down_and_up(place)
    place.run(15)
    times = place.server.times(CONFIRM)
    assert len(times) >= 3
    assert times[-1] - times[0] <= 10
    assert place.addresses() == LEASED
    assert place.eth.lease6.state is LeaseState.BOUND
    place.run(100)
    assert place.server.kinds()[-1] == RENEW


def test_an_address_that_another_host_has_is_declined(place: Place) -> None:
    place.server.taken = {OURS}
    place.eth.dhcp6(stateful=True)
    while DECLINE not in place.server.kinds():
        place.run(0.1)
    assert place.server.kinds() == [SOLICIT, REQUEST, DECLINE]
    assert of(place.server.asked[2])[SERVER_ID] == DUID
    assert wanted(place.server.asked[2]) == [OURS]
    assert place.addresses() == []
    assert any(OURS in line for line in place.lines)
    place.server.says[SOLICIT] = place.server.says[REQUEST] = (association(address(OTHER)),)
    place.run(60)
    assert place.addresses() == [f"{OTHER}/128"]
    assert place.server.kinds() == [SOLICIT, REQUEST, DECLINE, SOLICIT, REQUEST]


@pytest.mark.parametrize("kind", [RELEASE, DECLINE])
def test_last_words_are_repeated_until_they_are_heard(place: Place, kind: int) -> None:
    del place.server.says[kind]
    if kind == RELEASE:
        place.bind()
        place.eth.dhcp6(False)
    else:
        place.server.taken = {OURS}
        place.eth.dhcp6(stateful=True)
        while DECLINE not in place.server.kinds():
            place.run(0.1)
        place.server.says = {}
    place.run(60)
    times = place.server.times(kind)
    gaps = [after - before for before, after in pairwise(times)]
    assert len(times) == 4
    assert 0.9 <= gaps[0] <= 1.1
    assert gaps[2] > 3


def test_a_stack_that_closes_gives_its_address_back(engine: str) -> None:
    with placed(engine) as place:
        place.bind()
        place.server.forget()
        place.net.close()
        assert place.server.kinds() == [RELEASE]


def test_an_interface_that_goes_gives_its_address_back(place: Place) -> None:
    place.bind()
    place.server.forget()
    place.server.says = {}
    place.eth.detach()
    place.run(30)
    assert place.server.kinds() == [RELEASE]
    assert place.nameservers() == []


def test_a_router_that_takes_it_back_ends_the_search_and_no_other(place: Place) -> None:
    place.server.says = {}
    place.eth.dhcp6()
    place.server.advertise()
    place.run(2)
    place.server.advertise(managed=0, source="fe80::2")
    place.server.forget()
    place.run(60)
    assert SOLICIT in place.server.kinds()
    place.server.advertise(managed=0)
    place.run(1)
    place.server.forget()
    place.run(600)
    assert place.server.kinds() == []


def test_a_router_that_takes_it_back_leaves_what_is_leased(place: Place) -> None:
    place.bind()
    place.server.advertise(managed=0)
    place.run(1000)
    assert place.addresses() == LEASED


def test_who_has_addresses_is_not_asked_for_information(place: Place) -> None:
    place.eth.dhcp6()
    place.server.advertise(other=1)
    place.run(10)
    assert INFORMATION not in place.server.kinds()
    assert place.nameservers() == [NAMES]


def test_one_that_wants_no_addresses_asks_for_none(place: Place) -> None:
    place.eth.dhcp6(stateful=False)
    place.server.advertise(other=1)
    place.run(10)
    assert set(place.server.kinds()) == {INFORMATION}
    with pytest.raises(ValueError, match="stateful"):
        place.eth.dhcp6(stateful=False, timeout=1)


def test_who_asks_again_gives_back_first(place: Place) -> None:
    place.bind()
    place.server.forget()
    place.eth.dhcp6(stateful=True)
    place.run(6)
    assert sorted(place.server.kinds()) == sorted([RELEASE, SOLICIT, REQUEST])
    assert place.addresses() == LEASED


def test_an_address_that_was_there_before_stays(place: Place) -> None:
    place.eth.addresses.add(f"{OURS}/64")
    place.eth.dhcp6(stateful=True)
    place.run(6)
    assert place.addresses() == [f"{OURS}/64"]
    assert place.eth.lease6.bound
    place.eth.dhcp6(False)
    place.run(1)
    assert place.addresses() == [f"{OURS}/64"]


def test_a_clock_that_jumps_over_the_end_ends_the_lease_of_ipv6(place: Place) -> None:
    place.bind()
    place.server.says = {}
    place.clock.advance(1_000_000)
    place.run(5)
    assert place.addresses() == []
    assert place.server.kinds()[-1] == SOLICIT


def test_a_lease_for_ever_is_never_extended(place: Place) -> None:
    given = (association(address(preferred=FOREVER, valid=FOREVER), t1=0, t2=0),)
    place.server.says |= {SOLICIT: given, REQUEST: given}
    place.bind()
    (leased,) = place.leased()
    assert (leased.valid_s, leased.preferred_s) == (None, None)
    assert (place.eth.lease6.renew_s, place.eth.lease6.remaining_s) == (None, None)
    place.server.forget()
    place.run(100_000)
    assert place.server.heard == []
    assert place.addresses() == LEASED


def test_a_snapshot_comes_back_to_the_exchange_of_dhcp6(place: Place) -> None:
    del place.server.says[REQUEST]
    place.eth.dhcp6(stateful=True)
    place.run(3)
    moment = place.net.snapshot()
    asked = place.server.asked[-1]
    for one in (OURS, OTHER):
        place.say(REPLY, association(address(one)), asked=asked)
        place.run(3)
        assert place.addresses() == [f"{one}/128"]
        place.net.restore(moment)
        assert place.addresses() == []
        assert place.eth.lease6.state is LeaseState.SEARCHING


def test_nobody_gives_an_address(engine: str) -> None:
    left, _right = pystack.nic.wire()
    with pystack.Stack(engine=engine) as net:
        eth = net.attach(left)
        with pytest.raises(TimeoutError, match="DHCPv6"):
            eth.dhcp6(stateful=True, timeout=0.3)
        assert eth.lease6.state is LeaseState.SEARCHING
        assert eth.dhcp6(False) == eth.lease6 == pystack.services.Lease6(LeaseState.OFF)
