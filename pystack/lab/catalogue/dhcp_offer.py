"""DHCP: which offers are taken, and what is asked for then (RFC 2131 3, 4)."""

from __future__ import annotations

from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import UDP
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._dhcp import (
    ACK,
    COOKIE,
    END,
    FIXED,
    LEASE,
    LEASED,
    MASK,
    OFFER,
    OVERLOAD,
    PAD,
    REQUEST,
    REQUESTED,
    SERVER,
    TYPE,
    Options,
    Server,
    broadcast,
    deaf,
    encoded,
    is_servers,
    kind_of,
    message,
    options_area,
    options_of,
    packed,
    repeating,
    seconds,
    sees,
    sends,
    unidentified,
    with_option,
)
from pystack.lab.catalogue._mutants import computed
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ether
from pystack.lab.plan import Topology
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

RFC = "RFC 2131"

bare = group("DHCP", topology=Topology.BARE)


def no_request(lab: Tester) -> None:
    """Makes sure that what came is not taken for an offer, and that the client still lives."""
    lab.expect_nothing(message(REQUEST), 1000)


# --- the REQUEST ----------------------------------------------------------------------------------


@bare(
    "DHCP-3.1",
    "The REQUEST names the server whose offer is taken",
    rfc=RFC,
    section="4.3.2",
    mutant=sends(REQUEST, "names no server", {SERVER: None}),
)
def request_names_server(lab: Tester) -> None:
    """All other servers learn from it that their offers are not wanted.

    1. The server answers the DISCOVER with an OFFER.
    2. The REQUEST has the OFFER's server identifier.
    """
    server = Server(lab)
    server.discovered()
    server.reply(OFFER)
    found = server.expect(REQUEST)
    lab.check(with_option(SERVER, packed(server.address))(found), server.address, options_of(found))


@bare(
    "DHCP-3.2",
    "The REQUEST asks for the address that was offered",
    rfc=RFC,
    section="4.3.2",
    mutant=sends(REQUEST, "asks for no address", {REQUESTED: None}),
)
def request_names_address(lab: Tester) -> None:
    """The address stands in an option, since the client has it not yet.

    1. The server answers the DISCOVER with an OFFER.
    2. The REQUEST has a requested IP address: the OFFER's yiaddr.
    """
    server = Server(lab)
    server.discovered()
    server.reply(OFFER)
    found = server.expect(REQUEST)
    lab.check(with_option(REQUESTED, packed(LEASED))(found), LEASED, options_of(found))


@bare(
    "DHCP-3.3",
    "The REQUEST that takes an offer gives no address as the client's own",
    rfc=RFC,
    section="4.3.2",
    mutant=sends(REQUEST, "takes the offered address for its own", ciaddr=LEASED),
)
def request_without_own(lab: Tester) -> None:
    """It would look like one that renews a lease.

    1. The server answers the DISCOVER with an OFFER.
    2. The REQUEST's ciaddr is zero.
    """
    server = Server(lab)
    server.discovered()
    server.reply(OFFER)
    found = server.expect(REQUEST)[BOOTP].ciaddr
    lab.check(found == "0.0.0.0", "ciaddr 0.0.0.0", found)


@bare(
    "DHCP-3.4",
    "The REQUEST that takes an offer is broadcast",
    rfc=RFC,
    section="4.4.4",
    mutant=sends(REQUEST, "sends it to the server alone", network={"dst": "192.0.2.1"}),
)
def request_is_broadcast(lab: Tester) -> None:
    """For the servers whose offers were not taken.

    1. The server answers the DISCOVER with an OFFER.
    2. The REQUEST goes from 0.0.0.0 to 255.255.255.255, in a broadcast frame.
    """
    server = Server(lab)
    server.discovered()
    server.reply(OFFER)
    lab.expect(ether(dst=BROADCAST) / broadcast() / message(REQUEST))


@bare(
    "DHCP-3.5",
    "The REQUEST belongs to the OFFER's transaction",
    rfc=RFC,
    section="4.4.1",
    mutant=sends(REQUEST, "begins another transaction", xid=0x01020304),
)
def request_transaction(lab: Tester) -> None:
    """Table 5 says where its transaction identifier comes from.

    1. The server answers the DISCOVER with an OFFER.
    2. The REQUEST has the same transaction identifier.
    """
    server = Server(lab)
    wanted = server.discovered()[BOOTP].xid
    server.reply(OFFER)
    found = server.expect(REQUEST)[BOOTP].xid
    lab.check(found == wanted, hex(wanted), hex(found))


@bare(
    "DHCP-3.6",
    "The REQUEST says as many seconds as the DISCOVER",
    rfc=RFC,
    section="3.1",
    mutant=sends(REQUEST, "goes on counting", secs=3),
)
def request_seconds(lab: Tester) -> None:
    """So that a relay that forwarded the one forwards the other.

    1. The server answers the DISCOVER with an OFFER, a second and a half later.
    2. The REQUEST has the same value in the field secs.
    """
    server = Server(lab)
    wanted = server.discovered()[BOOTP].secs
    lab.run(1500)
    server.reply(OFFER)
    found = server.expect(REQUEST)[BOOTP].secs
    lab.check(found == wanted, f"{wanted} seconds", found)


# --- which offers are taken -----------------------------------------------------------------------


@bare(
    "DHCP-3.7",
    "An OFFER of another transaction is discarded",
    rfc=RFC,
    section="4.4.1",
    mutant=unidentified("takes offers of any transaction"),
)
def other_transaction(lab: Tester) -> None:
    """It is for another client, or old.

    1. The server answers the DISCOVER with an OFFER that has another transaction identifier.
    2. No REQUEST comes.
    3. The right OFFER leads to one.
    """
    server = Server(lab)
    asked = server.discovered()
    server.reply(OFFER, xid=asked[BOOTP].xid ^ 1)
    no_request(lab)
    server.reply(OFFER)
    server.expect(REQUEST)


@bare(
    "DHCP-3.8",
    "An OFFER for another hardware address is not taken",
    rfc=RFC,
    section="4.3.1",
    level=Level.SHOULD,
    mutant=sees(OFFER, "does not look whom an offer is for", chaddr=bytes.fromhex("02005e005302")),
)
def other_client(lab: Tester) -> None:
    """Two clients may by chance have chosen the same transaction identifier.

    1. The server broadcasts an OFFER with the right transaction identifier and another client's
       hardware address.
    2. No REQUEST comes.
    """
    server = Server(lab)
    server.discovered()
    server.reply(OFFER, to_all=True, chaddr=bytes.fromhex("02005e005377"))
    no_request(lab)


@bare(
    "DHCP-3.9",
    "A client's message is no OFFER",
    rfc=RFC,
    section="4.3.1",
    mutant=sees(OFFER, "does not look at op", op=2),
)
def request_is_no_offer(lab: Tester) -> None:
    """An OFFER's op is BOOTREPLY.

    1. The server answers the DISCOVER with an OFFER whose op is 1.
    2. No REQUEST comes.
    """
    server = Server(lab)
    server.discovered()
    server.reply(OFFER, op=1)
    no_request(lab)


@bare(
    "DHCP-3.10",
    "An OFFER that names no server is not taken",
    rfc=RFC,
    section="4.3.1",
    level=Level.SHOULD,
    mutant=sees(OFFER, "takes the sender for the server", {SERVER: packed("192.0.2.1")}),
)
def offer_without_server(lab: Tester) -> None:
    """Nobody could be asked for it: the REQUEST has to name a server.

    1. The server answers the DISCOVER with an OFFER without a server identifier.
    2. No REQUEST comes.
    """
    server = Server(lab)
    server.discovered()
    server.reply(OFFER, options=[(TYPE, bytes((OFFER,))), (LEASE, seconds(3600))])
    no_request(lab)


def _with_cookie(frame: Packet) -> Packet:
    if is_servers(frame):
        body = bytes(frame[UDP].payload)
        frame[UDP].remove_payload()
        return computed(frame / (body[:FIXED] + COOKIE + body[FIXED + 4 :]))
    return frame


@bare(
    "DHCP-3.11",
    "What has no cookie is not read as options",
    rfc=RFC,
    section="3",
    mutant=Mutant("does not look at the cookie", incoming=_with_cookie),
)
def no_cookie(lab: Tester) -> None:
    """The field then has another meaning (RFC 2132 2, RFC 1497).

    1. The server answers the DISCOVER with an OFFER whose cookie is not DHCP's.
    2. No REQUEST comes.
    3. With the right cookie it leads to one.
    """
    server = Server(lab)
    server.discovered()
    server.reply(OFFER, area=bytes((1, 2, 3, 4)) + encoded(server.usual(OFFER)))
    no_request(lab)
    server.reply(OFFER)
    server.expect(REQUEST)


@bare(
    "DHCP-3.12",
    "Options that go on beyond the datagram harm nobody",
    rfc="RFC 2132",
    section="2",
    level=Level.SHOULD,
    mutant=Mutant(
        "stumbles over an option that has no end",
        incoming=lambda frame: frame,
        outgoing=lambda frame: None if kind_of(frame) == REQUEST else frame,
    ),
)
def endless_options(lab: Tester) -> None:
    """A length octet can say anything.

    1. The server answers the DISCOVER with OFFERs that have a server identifier of 255 octets
       at their end, an option without a length, and no options at all.
    2. No REQUEST comes, and the right OFFER after them leads to one.
    """
    server = Server(lab)
    server.discovered()
    kind = bytes((TYPE, 1, OFFER))
    for area in (COOKIE + kind + bytes((SERVER, 255, 192, 0)), COOKIE + kind + bytes((SERVER,)),
                 COOKIE, b"", COOKIE[:2]):  # fmt: skip
        server.reply(OFFER, area=area)
    lab.expect_nothing(message(REQUEST), 500)
    server.reply(OFFER)
    server.expect(REQUEST)


@bare(
    "DHCP-3.13",
    "An ACK to a DISCOVER is discarded",
    rfc=RFC,
    section="4.4.1",
    mutant=sees(ACK, "takes an ACK for an offer", {TYPE: bytes((OFFER,))}),
)
def ack_while_selecting(lab: Tester) -> None:
    """Nothing has been asked for yet.

    1. The server answers the DISCOVER with an ACK.
    2. No REQUEST comes, and the Host does not take the address.
    """
    server = Server(lab)
    server.discovered()
    server.reply(ACK)
    no_request(lab)
    lab.check(not server.holds(), "no address", lab.host.addresses())


@bare(
    "DHCP-3.14",
    "An OFFER that is broadcast is taken",
    rfc=RFC,
    section="4.1",
    mutant=deaf(lambda frame: frame.dst == BROADCAST, "takes only what is sent to it alone"),
)
def broadcast_offer(lab: Tester) -> None:
    """A server may broadcast what it could have sent to the client alone.

    1. The server broadcasts its OFFER.
    2. A REQUEST comes.
    """
    server = Server(lab)
    server.discovered()
    server.reply(OFFER, to_all=True)
    server.expect(REQUEST)


@bare(
    "DHCP-3.15",
    "A client that does not ask for broadcasts takes an OFFER to the address it has not yet",
    rfc=RFC,
    section="4.1",
    mutant=deaf(lambda frame: frame.dst != BROADCAST, "takes only what is sent to all"),
)
def unicast_offer(lab: Tester) -> None:
    """The flag in the DISCOVER says which it can.

    1. The server sends its OFFER as the DISCOVER's broadcast flag asks for: if that is clear, to
       the offered IP address and the client's hardware address.
    2. A REQUEST comes.
    """
    server = Server(lab)
    server.discovered()
    server.reply(OFFER)
    server.expect(REQUEST)


def _without_overload(frame: Packet) -> Packet:
    if is_servers(frame):
        frame[BOOTP].file = frame[BOOTP].sname = b""
        return computed(frame)
    return frame


@bare(
    "DHCP-3.16",
    "Options in the fields file and sname are read where the server says so",
    rfc=RFC,
    section="4.1",
    mutant=Mutant("looks for options in one field only", incoming=_without_overload),
)
def overload(lab: Tester) -> None:
    """A server that has much to say uses these fields too.

    1. The server answers the DISCOVER with an OFFER whose options say "overload 3"; its server
       identifier stands in the field file, its lease time in the field sname.
    2. The REQUEST has that server identifier.
    """
    server = Server(lab)
    server.discovered()
    server.reply(
        OFFER,
        options=[(TYPE, bytes((OFFER,))), (OVERLOAD, b"\x03")],
        file=encoded([(SERVER, packed(server.address))]),
        sname=encoded([(LEASE, seconds(3600)), (MASK, packed("255.255.255.0"))]),
    )
    found = server.expect(REQUEST)
    lab.check(with_option(SERVER, packed(server.address))(found), server.address, options_of(found))


def _up_to_pad(frame: Packet) -> Packet:
    if is_servers(frame):
        area = options_area(frame)
        at = 4
        while at < len(area) and area[at] not in (PAD, END):
            at += 2 + area[at + 1]
        body = bytes(frame[UDP].payload)[:FIXED] + area[:at] + bytes((END,))
        frame[UDP].remove_payload()
        return computed(frame / body)
    return frame


@bare(
    "DHCP-3.17",
    "Padding between options is passed over",
    rfc="RFC 2132",
    section="3.1",
    mutant=Mutant("takes a pad for the end", incoming=_up_to_pad),
)
def padding(lab: Tester) -> None:
    """A pad has no length octet.

    1. The server answers the DISCOVER with an OFFER with one, two and three pads between options.
    2. A REQUEST comes.
    """
    server = Server(lab)
    server.discovered()
    pads: Options = []
    for count, one in enumerate(server.usual(OFFER)):
        pads += [one, *([(PAD, b"")] * (count + 1))]
    server.reply(OFFER, options=pads)
    server.expect(REQUEST)


@bare(
    "DHCP-3.18",
    "Options that the client does not know are passed over",
    rfc="RFC 2132",
    section="2",
    mutant=deaf(
        lambda frame: 224 in options_of(frame), "discards messages with an option it knows not"
    ),
)
def unknown_options(lab: Tester) -> None:
    """Each has its length, so that it can be skipped.

    1. The server answers the DISCOVER with an OFFER that begins with options 224 and 250, empty
       and of 40 octets.
    2. A REQUEST comes.
    """
    server = Server(lab)
    server.discovered()
    strange: Options = [(224, b""), (250, bytes(range(40)))]
    server.reply(OFFER, options=[*strange, *server.usual(OFFER)])
    server.expect(REQUEST)


@bare(
    "DHCP-3.19",
    "A second OFFER is discarded once a first is taken",
    rfc=RFC,
    section="4.4",
    mutant=repeating(REQUEST, OFFER, "asks again at every offer"),
)
def second_offer(lab: Tester) -> None:
    """In the state REQUESTING offers have come too late (figure 5).

    1. The server makes an OFFER, and the client sends its REQUEST.
    2. Another OFFER comes, with another address. No REQUEST follows within two seconds.
    """
    server = Server(lab)
    server.requested()
    server.reply(OFFER, yiaddr="192.0.2.51")
    lab.expect_nothing(message(REQUEST), 1500)
