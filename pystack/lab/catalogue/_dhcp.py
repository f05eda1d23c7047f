"""What the DHCP cases share: the tester as a server, the client's messages, and faults.

Options are kept as they stand in the message, a code and its bytes (RFC 2132), so that a case can
send wrong ones and see exactly what came.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.catalogue._mutants import computed
from pystack.lab.host import Service
from pystack.lab.mutant import Mutant
from pystack.lab.packets import Match, ipv4, udp, where
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Unable

COOKIE = bytes((99, 130, 83, 99))
CLIENT_PORT, SERVER_PORT = 68, 67
FIXED = 236  # bytes of a message before its cookie
LEAST = 300  # of a whole one (RFC 1542 2.1)

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE = 1, 2, 3, 4, 5, 6, 7
NAMES = ("?", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM")

# Options, by the names that RFC 2132 gives them.
PAD, MASK, ROUTER, DNS, END = 0, 1, 3, 6, 255
REQUESTED, LEASE, OVERLOAD, TYPE, SERVER, PARAMETERS = 50, 51, 52, 53, 54, 55
SIZE, T1, T2, CLIENT = 57, 58, 59, 61

LEASED = "192.0.2.50"
NETWORK_MASK = "255.255.255.0"
HOUR_S = 3600
CHECKED_S = 15.0  # in which a Host has made sure that nobody else has an address
# A Host may count a lease in minutes, and then acts up to one of them early.
COARSE_S = 60.0
LATE_S = 2.0

Options = list[tuple[int, bytes]]


def packed(address: str) -> bytes:
    """An address as an option holds it."""
    return ipaddress.IPv4Address(address).packed


def seconds(value: int) -> bytes:
    """A time as an option holds it."""
    return struct.pack(">I", value)


def encoded(options: Options, end: bool = True) -> bytes:
    """Options in a row, and the one that ends them."""
    body = b"".join(
        bytes((code,)) if code in (PAD, END) else bytes((code, len(value))) + value
        for code, value in options
    )
    return body + bytes((END,)) * end


# --- what comes from the client ---------------------------------------------------------------


def options_area(frame: Packet) -> bytes:
    """What follows the fixed fields, the cookie included."""
    datagram = frame[UDP]
    return bytes(datagram.payload)[FIXED : datagram.len - 8]


def options_of(frame: Packet) -> dict[int, bytes]:
    """The options of a message, by code; of one that is there twice, the first."""
    area = options_area(frame)
    found: dict[int, bytes] = {}
    at = len(COOKIE)
    while at < len(area) and area[at] != END:
        if area[at] == PAD:
            at += 1
            continue
        size = area[at + 1] if at + 1 < len(area) else 0
        found.setdefault(area[at], area[at + 2 : at + 2 + size])
        at += 2 + size
    return found


def is_clients(frame: Packet) -> bool:
    """Whether a frame goes from a client to a server."""
    return bool(frame.haslayer(BOOTP)) and frame[UDP].dport == SERVER_PORT


def is_servers(frame: Packet) -> bool:
    """Whether a frame goes from a server to a client."""
    return bool(frame.haslayer(BOOTP)) and frame[UDP].dport == CLIENT_PORT


def kind_of(frame: Packet) -> int:
    """A message's type; 0: it has none, or is no message."""
    if not frame.haslayer(BOOTP):
        return 0
    value = options_of(frame).get(TYPE, b"")
    return value[0] if len(value) == 1 else 0


def any_message() -> Match:
    """Any message of the client's, of whatever type."""
    return where("a client's message", is_clients)


def message(kind: int) -> Match:
    """A message of the client's, of a type."""
    return where(f"a {NAMES[kind]}", lambda frame: is_clients(frame) and kind_of(frame) == kind)


def broadcast() -> Match:
    """To everybody, from a client that has no address."""
    return ipv4(src="0.0.0.0", dst="255.255.255.255") / udp(sport=CLIENT_PORT)


def with_option(code: int, value: bytes) -> Match:
    """A message with an option of this value."""
    return where(
        f"option {code} = {value.hex()}", lambda frame: options_of(frame).get(code) == value
    )


def without_option(code: int) -> Match:
    """A message without an option."""
    return where(f"no option {code}", lambda frame: code not in options_of(frame))


def from_address(address: str) -> Match:
    """A message that gives an address as the client's own (ciaddr)."""
    return where(f"ciaddr {address}", lambda frame: frame[BOOTP].ciaddr == address)


# --- the server ---------------------------------------------------------------------------------


class Server:
    """The tester as a DHCP server: it answers what a case tells it to, and nothing else.

    Args:
        lab: The case's tester.
        address: The server's own.

    Attributes:
        leased: The address that it has to give.
        lease_s: For how long.
        extra: Options of every OFFER and ACK besides mask, lease and server identifier.
        request: The client's last message that was waited for.
    """

    def __init__(self, lab: Tester, address: str = "", lease_s: int = HOUR_S) -> None:
        self.lab = lab
        self.address = address or lab.tester4
        self.leased = LEASED
        self.lease_s = lease_s
        self.extra: Options = []
        self.request: Packet | None = None
        lab.own(self.address)

    def start(self) -> None:
        """Tells the Host to get itself an address."""
        self.lab.call("DHCP on")
        self.lab.host.service(Service.DHCP)

    def stop(self) -> None:
        """Tells the Host to give the address back, and to seek no other."""
        self.lab.call("DHCP off")
        self.lab.host.service(Service.DHCP, False)

    def expect(self, kind: int, within_s: float = 12.0, but_not: Match | None = None) -> Packet:
        """Waits for a message of the client's, and answers this one from now on."""
        self.request = self.lab.expect(message(kind), within_s * 1000, but_not=but_not)
        return self.request

    def usual(self, kind: int) -> Options:
        """The options that a server sends with a message of this type."""
        options: Options = [(TYPE, bytes((kind,))), (SERVER, packed(self.address))]
        if kind != NAK:
            options += [(LEASE, seconds(self.lease_s)), (MASK, packed(NETWORK_MASK))]
            options += self.extra
        return options

    def reply(
        self,
        kind: int,
        *,
        options: Options | None = None,
        area: bytes | None = None,
        to_all: bool = False,
        **fields: Any,
    ) -> None:
        """Answers the client's last message.

        Args:
            kind: The answer's type.
            options: Instead of the usual ones.
            area: Instead of the cookie and the options.
            to_all: Whether it is broadcast although the client did not ask for it.
            fields: Others of the fixed fields.
        """
        assert self.request is not None
        asked = self.request[BOOTP]
        to_all = to_all or bool(asked.flags & 0x8000) or kind == NAK
        target = "255.255.255.255" if to_all else self.leased
        usual = {
            "op": 2,
            "xid": asked.xid,
            "flags": asked.flags,
            "ciaddr": asked.ciaddr if kind == ACK else "0.0.0.0",
            "yiaddr": "0.0.0.0" if kind == NAK else self.leased,
            "chaddr": bytes(asked.chaddr),
        }
        if area is None:
            area = COOKIE + encoded(self.usual(kind) if options is None else options)
            area = area.ljust(LEAST - FIXED, b"\0")
        self.lab.send(
            Ether(src=self.lab.tester_mac, dst=BROADCAST if to_all else self.lab.host_mac)
            / IP(src=self.address, dst=target)
            / UDP(sport=SERVER_PORT, dport=CLIENT_PORT)
            / BOOTP(**{**usual, **fields, "options": b""})
            / Raw(area)
        )

    def discovered(self) -> Packet:
        """Starts the client and waits for its first message, as a preamble."""
        self.start()
        with self.lab.preamble("the client's DISCOVER"):
            return self.expect(DISCOVER)

    def requested(self) -> Packet:
        """Brings the client to its REQUEST, as a preamble."""
        self.discovered()
        self.reply(OFFER)
        with self.lab.preamble("the client's REQUEST"):
            return self.expect(REQUEST)

    def bind(self) -> float:
        """Brings the client to its address, as a preamble; when it was given."""
        self.requested()
        given = self.lab.now
        self.reply(ACK)
        self.lab.need(self.has(), f"the Host did not take {self.leased}")
        return given

    def has(self, within_s: float = CHECKED_S) -> bool:
        """Whether the Host has the address before some time has passed."""
        until = self.lab.now + within_s
        while not self.holds():
            if self.lab.now >= until:
                return False
            self.lab.run(250)
        return True

    def holds(self) -> bool:
        """Whether the Host has the address now."""
        return any(one.split("/")[0] == self.leased for one in self.lab.host.addresses())


def checking(lab: Tester, on: bool = True) -> None:
    """Has the Host look whether an address is taken, where that is for its user to say."""
    with suppress(Unable):
        lab.host.sysctl("net.ipv4.dhcp_conflict_check", int(on))


# --- mutants --------------------------------------------------------------------------------------


def _changed(
    frame: Packet, options: dict[int, bytes | None], fields: dict[str, Any], network: dict[str, Any]
) -> Packet:
    """A message with other options (None: without), fixed fields and addresses."""
    found: dict[int, bytes | None] = {**options_of(frame), **options}
    header = frame[BOOTP]
    for name, value in fields.items():
        setattr(header, name, value)
    fixed = bytes(header)[:FIXED]
    area = COOKIE + encoded([(code, value) for code, value in found.items() if value is not None])
    datagram = frame[UDP]
    datagram.remove_payload()
    changed: Packet = frame / Raw((fixed + area).ljust(LEAST, b"\0"))
    for name, value in network.items():
        setattr(changed[IP], name, value)
        if name == "dst" and value == "255.255.255.255":
            changed.dst = BROADCAST
    return computed(changed)


def sends(
    kind: int,
    words: str,
    options: dict[int, bytes | None] | None = None,
    network: dict[str, Any] | None = None,
    **fields: Any,
) -> Mutant:
    """A client whose messages of a type are wrong in something; 0: all types."""

    def change(frame: Packet) -> Packet:
        if not is_clients(frame) or kind not in (0, kind_of(frame)):
            return frame
        return _changed(frame, options or {}, fields, network or {})

    return Mutant(words, outgoing=change)


def sees(
    kind: int, words: str, options: dict[int, bytes | None] | None = None, **fields: Any
) -> Mutant:
    """A client that takes a server's message of a type for something else; 0: all types."""

    def change(frame: Packet) -> Packet:
        if not is_servers(frame) or kind not in (0, kind_of(frame)):
            return frame
        return _changed(frame, options or {}, fields, {})

    return Mutant(words, incoming=change)


def deaf(test: Callable[[Packet], bool], words: str) -> Mutant:
    """A client that does not see some of a server's messages."""
    return Mutant(
        words, incoming=lambda frame: None if is_servers(frame) and test(frame) else frame
    )


def mute(kind: int, words: str) -> Mutant:
    """A client that does not send messages of a type."""
    return Mutant(
        words,
        outgoing=lambda frame: None if is_clients(frame) and kind_of(frame) == kind else frame,
    )


class Memory:
    """What a client has sent last, of each type."""

    def __init__(self) -> None:
        self.sent: dict[int, Packet] = {}

    def reset(self) -> None:
        """Forgets it."""
        self.sent.clear()

    def __call__(self, frame: Packet) -> Packet:
        """Remembers a frame, and changes nothing."""
        if is_clients(frame):
            self.sent[kind_of(frame)] = frame.copy()
        return frame


def repeating(kind: int, at: int, words: str) -> Mutant:
    """A client that sends its last message of a type again when a server's of a type comes."""
    memory = Memory()
    return Mutant(
        words,
        outgoing=memory,
        answer=lambda frame: (
            memory.sent.get(kind) if is_servers(frame) and kind_of(frame) == at else None
        ),
    )


def unidentified(words: str) -> Mutant:
    """A client that does not look at the transaction of a server's message."""
    memory = Memory()

    def change(frame: Packet) -> Packet:
        asked = memory.sent.get(REQUEST, memory.sent.get(DISCOVER))
        if not is_servers(frame) or asked is None:
            return frame
        return _changed(frame, {}, {"xid": asked[BOOTP].xid}, {})

    return Mutant(words, outgoing=memory, incoming=change)
