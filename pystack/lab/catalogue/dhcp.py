"""DHCP: what the client's first message looks like (RFC 2131 2, 4.1, 4.4.1)."""

from __future__ import annotations

from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import UDP
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._dhcp import (
    CLIENT,
    COOKIE,
    DISCOVER,
    END,
    FIXED,
    LEAST,
    OFFER,
    PAD,
    PARAMETERS,
    REQUEST,
    SERVER,
    SIZE,
    TYPE,
    Server,
    any_message,
    broadcast,
    is_clients,
    kind_of,
    message,
    options_area,
    options_of,
    packed,
    sends,
)
from pystack.lab.catalogue._mutants import computed
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ether, udp
from pystack.lab.plan import Topology
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

RFC = "RFC 2131"
FIRST_S = 12.0  # by then the client has begun, whatever it waits for (RFC 2131 4.4.1)

bare = group("DHCP", topology=Topology.BARE)


def _raw(words: str, area: bytes | None = None, size: int | None = None) -> Mutant:
    """A client that puts these bytes after the fixed fields, or cuts its messages."""

    def change(frame: Packet) -> Packet:
        if not is_clients(frame):
            return frame
        body = bytes(frame[UDP].payload)
        if area is not None:
            body = body[:FIXED] + area
        frame[UDP].remove_payload()
        return computed(frame / Raw(body[:size]))

    return Mutant(words, outgoing=change)


def _first(lab: Tester) -> Packet:
    """The client's first message."""
    server = Server(lab)
    server.start()
    return server.expect(DISCOVER, FIRST_S)


# --- what it looks like ---------------------------------------------------------------------------


@bare(
    "DHCP-1.1",
    "A client without an address broadcasts from 0.0.0.0, port 68 to port 67",
    rfc=RFC,
    section="4.1",
    mutant=sends(0, "gives an address that it has not", network={"src": "192.0.2.2"}),
)
def discover_is_broadcast(lab: Tester) -> None:
    """Look at the addresses of the first message.

    1. DHCP is switched on.
    2. A DISCOVER comes from 0.0.0.0 and port 68 to 255.255.255.255 and port 67, in a broadcast
       frame.
    """
    Server(lab).start()
    lab.expect(
        ether(dst=BROADCAST) / broadcast() / udp(dport=67) / message(DISCOVER), FIRST_S * 1000
    )


@bare(
    "DHCP-1.2",
    "The message names the hardware address, its type and its length",
    rfc=RFC,
    section="2",
    mutant=sends(0, "gives the field's length for the address's", hlen=16),
)
def hardware_address(lab: Tester) -> None:
    """Look at the fixed fields of a DISCOVER.

    1. DHCP is switched on.
    2. The DISCOVER has op 1, hardware type 1, length 6, and the interface's hardware address,
       with zeros behind it.
    """
    header = _first(lab)[BOOTP]
    lab.check(header.op == 1, "op 1 (BOOTREQUEST)", header.op)
    lab.check(header.htype == 1, "hardware type 1 (Ethernet)", header.htype)
    lab.check(header.hlen == 6, "hardware address length 6", header.hlen)
    wanted = bytes.fromhex(lab.host_mac.replace(":", "")).ljust(16, b"\0")
    found = bytes(header.chaddr).ljust(16, b"\0")
    lab.check(found == wanted, f"hardware address {wanted.hex()}", found.hex())


@bare(
    "DHCP-1.3",
    "The fields that are not a client's to fill are zero in a DISCOVER",
    rfc=RFC,
    section="4.4.1",
    mutant=sends(DISCOVER, "gives the address that it would like as its own", ciaddr="192.0.2.50"),
)
def zero_fields(lab: Tester) -> None:
    """Look at hops and at the four addresses of a DISCOVER.

    1. DHCP is switched on.
    2. The DISCOVER's hops, ciaddr, yiaddr, siaddr and giaddr are zero.
    """
    header = _first(lab)[BOOTP]
    lab.check(header.hops == 0, "hops 0", header.hops)
    for name in ("ciaddr", "yiaddr", "siaddr", "giaddr"):
        found = header.getfieldval(name)
        lab.check(found == "0.0.0.0", f"{name} 0.0.0.0", found)


@bare(
    "DHCP-1.4",
    "The options begin with the magic cookie",
    rfc=RFC,
    section="3",
    mutant=_raw("leaves out the cookie", bytes((TYPE, 1, DISCOVER, END)).ljust(64, b"\0")),
)
def cookie(lab: Tester) -> None:
    """Look at the four octets before the options.

    1. DHCP is switched on.
    2. In the first message to port 67 they are 99, 130, 83 and 99.
    """
    Server(lab).start()
    frame = lab.expect(udp(sport=68, dport=67), FIRST_S * 1000)
    found = bytes(frame[UDP].payload)[FIXED : FIXED + 4]
    lab.check(found == COOKIE, f"the cookie {COOKIE.hex()}", found.hex())


@bare(
    "DHCP-1.5",
    "The last option is the one that ends them, and padding follows",
    rfc=RFC,
    section="4.1",
    mutant=_raw(
        "leaves out the end",
        COOKIE + bytes((TYPE, 1, DISCOVER, SIZE, 2, 5, 220)).ljust(62, b"\0"),
    ),
)
def end_option(lab: Tester) -> None:
    """Walk through the options of a DISCOVER.

    1. DHCP is switched on.
    2. The options end with 255 within the datagram, and nothing but zeros follows it.
    """
    area = options_area(_first(lab))
    at = len(COOKIE)
    while at < len(area) and area[at] != END:
        at += 1 if area[at] == PAD else 2 + area[at + 1]
    lab.check(at < len(area), "an end option within the datagram", area.hex())
    lab.check(not any(area[at + 1 :]), "zeros after the end", area[at + 1 :].hex())


@bare(
    "DHCP-1.6",
    "A message has at least 300 octets",
    rfc="RFC 1542",
    section="2.1",
    mutant=_raw("sends no more than it has to say", size=FIXED + 24),
)
def least_size(lab: Tester) -> None:
    """BOOTP's messages had a fixed size, and relay agents still look at it.

    1. DHCP is switched on.
    2. UDP's data in the first message has 300 octets or more.
    """
    Server(lab).start()
    frame = lab.expect(udp(sport=68, dport=67), FIRST_S * 1000)
    found = frame[UDP].len - 8
    lab.check(found >= LEAST, f"{LEAST} octets of data", found)


@bare(
    "DHCP-1.7",
    "The reserved flags are zero",
    rfc=RFC,
    section="2",
    mutant=sends(0, "sets a reserved flag", flags=1),
)
def reserved_flags(lab: Tester) -> None:
    """Only the first bit of the flags has a meaning.

    1. DHCP is switched on.
    2. The other fifteen are zero in the DISCOVER.
    """
    flags = int(_first(lab)[BOOTP].flags)
    lab.check(flags & 0x7FFF == 0, "fifteen zeros in the flags", hex(flags))


@bare(
    "DHCP-1.8",
    "Each exchange has its own transaction identifier",
    rfc=RFC,
    section="4.1",
    mutant=sends(0, "always counts from the same number", xid=0xABCD0001),
    seconds=30,
)
def transaction_identifiers(lab: Tester) -> None:
    """It has to be unlikely that another client has the same.

    1. DHCP is switched on and off, three times.
    2. The three DISCOVERs have three identifiers, not one after the other.
    """
    found = []
    for _ in range(3):
        server = Server(lab)
        server.start()
        found.append(server.expect(DISCOVER, FIRST_S)[BOOTP].xid)
        server.stop()
        lab.drain(100)
    steps = {(found[1] - found[0]) % (1 << 32), (found[2] - found[1]) % (1 << 32)}
    lab.check(len(set(found)) == 3, "three identifiers", found)
    lab.check(steps != {1}, "identifiers that can't be told beforehand", found)


@bare(
    "DHCP-1.9",
    "A DISCOVER names no server",
    rfc=RFC,
    section="4.4.1",
    mutant=sends(DISCOVER, "asks one server only", {SERVER: packed("192.0.2.1")}),
)
def no_server(lab: Tester) -> None:
    """It is for all servers there are.

    1. DHCP is switched on.
    2. The DISCOVER has no server identifier.
    """
    found = options_of(_first(lab))
    lab.check(SERVER not in found, "no server identifier", found.get(SERVER, b"").hex())


@bare(
    "DHCP-1.10",
    "Every message has a message type",
    rfc=RFC,
    section="3",
    mutant=sends(0, "speaks BOOTP", {TYPE: None}),
)
def message_type(lab: Tester) -> None:
    """Without one it is a message of BOOTP's.

    1. DHCP is switched on.
    2. The first message to port 67 has option 53, of one octet, with the value 1.
    """
    Server(lab).start()
    frame = lab.expect(any_message(), FIRST_S * 1000)
    lab.check(kind_of(frame) == DISCOVER, "the message type DISCOVER", options_of(frame))


@bare(
    "DHCP-1.11",
    "A client waits a random time of one to ten seconds before it begins",
    rfc=RFC,
    section="4.4.1",
    level=Level.SHOULD,
    mutant=Mutant("begins at once", outgoing=lambda frame: frame),
)
def desynchronized(lab: Tester) -> None:
    """Else all clients of a network would ask at the moment the power is back.

    1. DHCP is switched on.
    2. No DISCOVER comes within 0.9 seconds; one does within 10.
    """
    server = Server(lab)
    server.start()
    lab.expect_nothing(message(DISCOVER), 900)
    server.expect(DISCOVER, 9.2)


@bare(
    "DHCP-1.12",
    "The message says how large an answer may be, and not less than 576 octets",
    rfc=RFC,
    section="3.5",
    level=Level.SHOULD,
    mutant=sends(0, "takes less than everybody must", {SIZE: b"\x01\x2c"}),
)
def largest_answer(lab: Tester) -> None:
    """The option's least value is in RFC 2132 9.10.

    1. DHCP is switched on.
    2. The DISCOVER has option 57, of two octets, 576 or more.
    """
    value = options_of(_first(lab)).get(SIZE, b"")
    lab.check(len(value) == 2, "a maximum DHCP message size", value.hex() or "none")
    lab.check(int.from_bytes(value, "big") >= 576, "576 or more", int.from_bytes(value, "big"))


def _other_list() -> Mutant:
    def change(frame: Packet) -> Packet:
        asked = options_of(frame).get(PARAMETERS) if kind_of(frame) == REQUEST else None
        if asked is None:
            return frame
        wrong = sends(REQUEST, "", {PARAMETERS: asked[:-1]}).outgoing
        assert wrong is not None
        made = wrong(frame)
        assert isinstance(made, Packet)
        return made

    return Mutant("asks for fewer parameters in its REQUEST", outgoing=change)


@bare(
    "DHCP-1.13",
    "What a DISCOVER asks for the REQUEST asks for too",
    rfc=RFC,
    section="3.5",
    mutant=_other_list(),
)
def same_parameters(lab: Tester) -> None:
    """A list of parameters that is once there has to stay.

    1. DHCP is switched on; the server answers the DISCOVER with an OFFER.
    2. The REQUEST has the parameter request list that the DISCOVER had, or neither has one.
    """
    server = Server(lab)
    wanted = options_of(server.discovered()).get(PARAMETERS)
    server.reply(OFFER)
    found = options_of(server.expect(REQUEST)).get(PARAMETERS)
    lab.check(found == wanted, f"the same list ({wanted!r})", repr(found))


@bare(
    "DHCP-1.14",
    "A client that names itself does so by one name",
    rfc=RFC,
    section="4.2",
    mutant=sends(REQUEST, "takes another name in its REQUEST", {CLIENT: b"\x00other"}),
)
def same_name(lab: Tester) -> None:
    """The server knows the client by its client identifier, if it gives one.

    1. DHCP is switched on; the server answers the DISCOVER with an OFFER.
    2. The REQUEST has the client identifier that the DISCOVER had, or neither has one.
    """
    server = Server(lab)
    wanted = options_of(server.discovered()).get(CLIENT)
    server.reply(OFFER)
    found = options_of(server.expect(REQUEST)).get(CLIENT)
    lab.check(found == wanted, f"the same identifier ({wanted!r})", repr(found))
