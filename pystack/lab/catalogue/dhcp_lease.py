"""DHCP: a lease's life, from renewal to expiry (RFC 2131 4.4.5)."""

from __future__ import annotations

from itertools import pairwise

from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._dhcp import (
    ACK,
    COARSE_S,
    DISCOVER,
    LATE_S,
    LEASE,
    LEASED,
    NAK,
    REQUEST,
    REQUESTED,
    SERVER,
    T1,
    T2,
    Memory,
    Server,
    any_message,
    broadcast,
    deaf,
    from_address,
    kind_of,
    message,
    options_of,
    packed,
    seconds,
    sees,
    sends,
    without_option,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ether, ipv4, where
from pystack.lab.plan import Topology
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

RFC = "RFC 2131"
SECOND_SERVER = "192.0.2.9"
# T1, T2 and the end of a lease that a case waits through.
T1_S, T2_S, LEASE_S = 120, 240, 480

bare = group("DHCP", topology=Topology.BARE)


def _leased(lab: Tester) -> tuple[Server, float]:
    """A client that has its address, for a lease whose times are given; and since when."""
    server = Server(lab, lease_s=LEASE_S)
    server.extra = [(T1, seconds(T1_S)), (T2, seconds(T2_S))]
    return server, server.bind()


def _renewing(lab: Tester) -> tuple[Server, Packet]:
    """A client that asks the server to renew its lease, and what it sends."""
    server, since = _leased(lab)
    with lab.preamble("the client's REQUEST at T1"):
        return server, server.expect(REQUEST, since + T1_S + LATE_S - lab.now)


def _rebinding(lab: Tester) -> tuple[Server, Packet]:
    """A client that asks any server to renew its lease, and what it sends."""
    server, since = _leased(lab)
    wanted = message(REQUEST) / ipv4(dst="255.255.255.255")
    with lab.preamble("the client's REQUEST at T2"):
        server.request = lab.expect(wanted, (since + T2_S + LATE_S - lab.now) * 1000)
    return server, server.request


def _near(lab: Tester, found: float, wanted: float, what: str) -> None:
    """Whether a time is what was agreed, or up to a minute less."""
    near = wanted - COARSE_S <= found <= wanted + LATE_S
    lab.check(near, f"{what} after {wanted:g} s", f"{found:.1f} s")


# --- renewing -------------------------------------------------------------------------------------

LONGER = sees(
    0,
    "takes a lease to be longer than it is",
    {LEASE: seconds(4 * LEASE_S), T1: seconds(4 * T1_S), T2: seconds(4 * T2_S)},
)


@bare(
    "DHCP-5.1",
    "A lease is renewed when half of it is over",
    rfc=RFC,
    section="4.4.5",
    mutant=sees(ACK, "takes a lease to be longer than it is", {LEASE: seconds(4 * LEASE_S)}),
    seconds=270,
)
def renewed_at_half(lab: Tester) -> None:
    """If the server does not say when.

    1. The client gets an address for 480 seconds, without T1 and T2.
    2. After 240 seconds, or up to a minute before, it sends a REQUEST.
    """
    server = Server(lab, lease_s=LEASE_S)
    since = server.bind()
    found = float(server.expect(REQUEST, LEASE_S).time)
    _near(lab, found - since, LEASE_S / 2, "a REQUEST")


@bare(
    "DHCP-5.2",
    "A lease is renewed at the time T1 that the server gave",
    rfc=RFC,
    section="4.4.5",
    mutant=sees(ACK, "does not look at T1", {T1: None}),
    seconds=150,
)
def renewed_at_t1(lab: Tester) -> None:
    """The server's word counts.

    1. The client gets an address for 480 seconds, with T1 = 120 seconds.
    2. After 120 seconds, or up to a minute before, it sends a REQUEST.
    """
    server, since = _leased(lab)
    found = float(server.expect(REQUEST, LEASE_S).time)
    _near(lab, found - since, T1_S, "a REQUEST")


@bare(
    "DHCP-5.3",
    "The REQUEST that renews goes to the server that gave the lease, from the leased address",
    rfc=RFC,
    section="4.3.6",
    mutant=sends(REQUEST, "always broadcasts", network={"dst": "255.255.255.255"}),
    seconds=150,
)
def renew_is_unicast(lab: Tester) -> None:
    """Nobody else need hear of it.

    1. The client has an address, and T1 comes.
    2. The REQUEST goes from the leased address to the server's, in a frame to the server.
    """
    _server, since = _leased(lab)
    lab.expect(
        ether(dst=lab.tester_mac) / ipv4(src=LEASED, dst=lab.tester4) / message(REQUEST),
        (since + T1_S + LATE_S - lab.now) * 1000,
    )


@bare(
    "DHCP-5.4",
    "The REQUEST that renews names no server",
    rfc=RFC,
    section="4.3.2",
    mutant=sends(REQUEST, "names the server", {SERVER: packed("192.0.2.1")}),
    seconds=150,
)
def renew_without_server(lab: Tester) -> None:
    """It would look like one that takes an offer.

    1. The client has an address, and T1 comes.
    2. The REQUEST has no server identifier.
    """
    _, found = _renewing(lab)
    lab.check(without_option(SERVER)(found), "no server identifier", options_of(found))


@bare(
    "DHCP-5.5",
    "The REQUEST that renews asks for no address",
    rfc=RFC,
    section="4.3.2",
    mutant=sends(REQUEST, "asks for the address", {REQUESTED: packed(LEASED)}),
    seconds=150,
)
def renew_without_requested(lab: Tester) -> None:
    """The address is the client's own by now.

    1. The client has an address, and T1 comes.
    2. The REQUEST has no requested IP address.
    """
    _, found = _renewing(lab)
    lab.check(without_option(REQUESTED)(found), "no requested address", options_of(found))


@bare(
    "DHCP-5.6",
    "The REQUEST that renews gives the leased address as the client's own",
    rfc=RFC,
    section="4.3.2",
    mutant=sends(REQUEST, "gives no address as its own", ciaddr="0.0.0.0"),
    seconds=150,
)
def renew_own_address(lab: Tester) -> None:
    """It stands in ciaddr.

    1. The client has an address, and T1 comes.
    2. The REQUEST's ciaddr is this address.
    """
    _, found = _renewing(lab)
    lab.check(from_address(LEASED)(found), f"ciaddr {LEASED}", found[BOOTP].ciaddr)


class _First:
    """Lets only the first message of a type through to the client."""

    def __init__(self, kind: int) -> None:
        self._kind = kind
        self._seen = False

    def reset(self) -> None:
        self._seen = False

    def __call__(self, frame: Packet) -> Packet | None:
        if kind_of(frame) != self._kind:
            return frame
        seen, self._seen = self._seen, True
        return None if seen else frame


@bare(
    "DHCP-5.7",
    "An ACK to it begins a new lease",
    rfc=RFC,
    section="4.4.5",
    mutant=Mutant("does not see that its lease is renewed", incoming=_First(ACK)),
    seconds=500,
)
def renewed(lab: Tester) -> None:
    """The time restarts at the REQUEST.

    1. The client has an address for 480 seconds; T1 comes, and the server acknowledges the REQUEST.
    2. The next REQUEST comes 120 seconds after that one, again to the server alone.
    3. The server does not answer. The client still has the address when the first lease is over.
    """
    server, since = _leased(lab)
    with lab.preamble("the client's REQUEST at T1"):
        first = float(server.expect(REQUEST, since + T1_S + LATE_S - lab.now).time)
    server.reply(ACK)
    found = float(server.expect(REQUEST, T2_S).time)
    _near(lab, found - first, T1_S, "a REQUEST")
    lab.run((since + LEASE_S + LATE_S - lab.now) * 1000)
    lab.check(server.holds(), LEASED, lab.host.addresses())


@bare(
    "DHCP-5.8",
    "A NAK to it takes the address away",
    rfc=RFC,
    section="4.4.5",
    mutant=deaf(lambda frame: kind_of(frame) == NAK, "keeps what it is refused"),
    seconds=180,
)
def renewal_refused(lab: Tester) -> None:
    """The client has to begin again.

    1. The client has an address; T1 comes, and the server answers the REQUEST with a NAK.
    2. The Host has no address any more, and sends a DISCOVER.
    """
    server, _ = _renewing(lab)
    server.reply(NAK)
    lab.run(100)
    lab.check(not server.holds(), "no address", lab.host.addresses())
    server.expect(DISCOVER, 20)


@bare(
    "DHCP-5.9",
    "A REQUEST that renews is repeated at half of the time that is left, not within a minute",
    rfc=RFC,
    section="4.4.5",
    level=Level.SHOULD,
    mutant=Mutant(
        "asks again at once",
        outgoing=lambda frame: [frame, frame] if kind_of(frame) == REQUEST else frame,
    ),
    seconds=800,
)
def renew_again(lab: Tester) -> None:
    """The server may be away for a while, and is not to be flooded when it is back.

    1. The client gets an address for 960 seconds, with T1 = 240 and T2 = 720. Nobody answers from
       then on.
    2. Between T1 and T2 the REQUEST comes more than once, no two within 59 seconds.
    """
    server = Server(lab, lease_s=960)
    server.extra = [(T1, seconds(240)), (T2, seconds(720))]
    since = server.bind()
    to_server = message(REQUEST) / ipv4(dst=lab.tester4)
    found = [
        float(one.time) for one in lab.collect(to_server, (since + 720 + LATE_S - lab.now) * 1000)
    ]
    lab.check(len(found) > 1, "more than one REQUEST", f"{len(found)}")
    least = min(later - earlier for earlier, later in pairwise(found))
    lab.check(least >= 59, "a minute between two", f"{least:.1f} s")


# --- rebinding and expiry -------------------------------------------------------------------------


def _aimed(address: str, words: str) -> Mutant:
    """A client whose REQUESTs all go to one server once it has an address."""

    def change(frame: Packet) -> Packet:
        if kind_of(frame) == REQUEST and frame[BOOTP].ciaddr != "0.0.0.0":
            frame[IP].dst = address
            del frame[IP].chksum
            frame.dst = "02:00:5e:00:53:01"
        return frame

    return Mutant(words, outgoing=change)


@bare(
    "DHCP-6.1",
    "At T2 the client asks any server there is",
    rfc=RFC,
    section="4.4.5",
    mutant=_aimed("192.0.2.1", "asks its own server to the end"),
    seconds=270,
)
def rebinds(lab: Tester) -> None:
    """Its own server has not answered.

    1. The client gets an address, with T2 = 240 seconds. Nobody answers from then on.
    2. After 240 seconds, or up to a minute before, a REQUEST goes to 255.255.255.255.
    """
    _server, since = _leased(lab)
    wanted = ether(dst=BROADCAST) / ipv4(dst="255.255.255.255") / message(REQUEST)
    found = float(lab.expect(wanted, LEASE_S * 1000).time)
    _near(lab, found - since, T2_S, "a REQUEST to all")


@bare(
    "DHCP-6.2",
    "T2 is at seven eighths of a lease if the server does not say otherwise",
    rfc=RFC,
    section="4.4.5",
    mutant=sees(ACK, "rebinds when it should renew", {T2: seconds(LEASE_S // 2 + 60)}),
    seconds=500,
)
def default_t2(lab: Tester) -> None:
    """As T1 is at a half.

    1. The client gets an address for 480 seconds, without T1 and T2. Nobody answers from then on.
    2. After 420 seconds, or up to a minute before, a REQUEST goes to 255.255.255.255.
    """
    server = Server(lab, lease_s=LEASE_S)
    since = server.bind()
    wanted = message(REQUEST) / ipv4(dst="255.255.255.255")
    found = float(lab.expect(wanted, LEASE_S * 1000).time)
    _near(lab, found - since, LEASE_S * 7 / 8, "a REQUEST to all")


@bare(
    "DHCP-6.3",
    "The REQUEST that rebinds names no server, asks for no address and gives the leased one",
    rfc=RFC,
    section="4.3.2",
    mutant=sends(REQUEST, "asks for the address", {REQUESTED: packed(LEASED)}),
    seconds=270,
)
def rebind_fields(lab: Tester) -> None:
    """It looks like one that renews, but for where it goes.

    1. The client has an address, and T2 comes.
    2. The REQUEST has neither server identifier nor requested IP address; its ciaddr is the leased
       address.
    """
    _, found = _rebinding(lab)
    lab.check(without_option(SERVER)(found), "no server identifier", options_of(found))
    lab.check(without_option(REQUESTED)(found), "no requested address", options_of(found))
    lab.check(from_address(LEASED)(found), f"ciaddr {LEASED}", found[BOOTP].ciaddr)


@bare(
    "DHCP-6.4",
    "Another server may renew the lease, and is asked the next time",
    rfc=RFC,
    section="4.4.5",
    level=Level.SHOULD,
    mutant=deaf(lambda frame: frame[IP].src == SECOND_SERVER, "hears its own server only"),
    seconds=420,
)
def other_server(lab: Tester) -> None:
    """It holds the lease from then on.

    1. The client has an address, and T2 comes. Another server, 192.0.2.9, acknowledges the REQUEST.
    2. At the next T1 the REQUEST goes to 192.0.2.9.
    """
    server, _ = _rebinding(lab)
    server.address = lab.own(SECOND_SERVER)
    server.reply(ACK)
    found = server.expect(REQUEST, T1_S + LATE_S)
    lab.check(found[IP].dst == SECOND_SERVER, f"a REQUEST to {SECOND_SERVER}", found[IP].dst)


@bare(
    "DHCP-6.5",
    "When the lease is over the address is given up",
    rfc=RFC,
    section="4.4.5",
    mutant=LONGER,
    seconds=520,
)
def expires(lab: Tester) -> None:
    """It may be another's by now.

    1. The client gets an address for 480 seconds. Nobody answers from then on.
    2. When they are over, the Host has no address.
    """
    server, since = _leased(lab)
    lab.run((since + LEASE_S + LATE_S - lab.now) * 1000)
    lab.check(not server.holds(), "no address", lab.host.addresses())


@bare(
    "DHCP-6.6",
    "When the lease is over the client begins again",
    rfc=RFC,
    section="4.4.5",
    mutant=Mutant("gives up for good", outgoing=_First(DISCOVER)),
    seconds=520,
)
def begins_after_expiry(lab: Tester) -> None:
    """Its state is INIT.

    1. The client gets an address for 480 seconds. Nobody answers from then on.
    2. When they are over, a DISCOVER comes, from 0.0.0.0.
    """
    _server, since = _leased(lab)
    lab.expect(message(DISCOVER) / broadcast(), (since + LEASE_S + 15 - lab.now) * 1000)


def _still_using() -> Mutant:
    memory = Memory()

    def change(frame: Packet) -> list[Packet]:
        again = kind_of(frame) == DISCOVER and REQUEST in memory.sent
        memory(frame)
        last = Ether(src="02:00:5e:00:53:02", dst=BROADCAST) / IP(src=LEASED, dst="192.0.2.1")
        return [last / Raw(b"goodbye"), frame] if again else [frame]

    change.reset = memory.reset  # type: ignore[attr-defined]
    return Mutant("says goodbye from an address that is not its own any more", outgoing=change)


@bare(
    "DHCP-6.7",
    "When the lease is over nothing comes from its address any more",
    rfc=RFC,
    section="4.4.5",
    mutant=_still_using(),
    seconds=520,
)
def silent_after_expiry(lab: Tester) -> None:
    """The client stops all of its network processing; there is nothing left to release.

    1. The client gets an address for 480 seconds. Nobody answers from then on.
    2. From where its next DISCOVER is due on no packet comes from this address, nor does one that
       the client sends as it loses it.
    """
    server, since = _leased(lab)
    lab.drain((since + LEASE_S - COARSE_S - 1 - lab.now) * 1000)
    from_lease = where(
        "from the address",
        lambda frame: (
            bool(frame.haslayer(IP)) and frame[IP].src == LEASED and kind_of(frame) != REQUEST
        ),
    )
    lab.expect(message(DISCOVER), (since + LEASE_S + 15 - lab.now) * 1000, but_not=from_lease)
    lab.expect_nothing(from_lease | ipv4(src=LEASED), 1000)
    lab.check(not server.holds(), "no address", lab.host.addresses())


@bare(
    "DHCP-6.8",
    "A lease without an end is never renewed",
    rfc=RFC,
    section="3.3",
    mutant=sees(ACK, "takes the largest number for a number", {LEASE: seconds(300)}),
    seconds=900,
)
def infinite(lab: Tester) -> None:
    """The largest number stands for infinity.

    1. The client gets an address for 0xffffffff seconds.
    2. For a quarter of an hour no message comes, and the Host has the address.
    """
    server = Server(lab, lease_s=0xFFFFFFFF)
    server.bind()
    lab.drain(1000)
    lab.expect_nothing(any_message(), 880_000)
    lab.check(server.holds(), LEASED, lab.host.addresses())


@bare(
    "DHCP-6.9",
    "A lease is renewed before its end, whatever the server says of T1 and T2",
    rfc=RFC,
    section="4.4.5",
    mutant=Mutant(
        "never renews",
        outgoing=lambda frame: (
            None if kind_of(frame) == REQUEST and frame[BOOTP].ciaddr != "0.0.0.0" else frame
        ),
    ),
    seconds=500,
)
def times_out_of_order(lab: Tester) -> None:
    """T1 must be earlier than T2, and T2 than the end.

    1. The client gets an address for 480 seconds, with T1 = T2 = 0xffffffff.
    2. Before they are over it sends a REQUEST.
    """
    server = Server(lab, lease_s=LEASE_S)
    server.extra = [(T1, seconds(0xFFFFFFFF)), (T2, seconds(0xFFFFFFFF))]
    since = server.bind()
    server.expect(REQUEST, since + LEASE_S - lab.now, but_not=message(DISCOVER))
