"""DHCP: how the client repeats what is not answered (RFC 2131 4.1)."""

from __future__ import annotations

from itertools import pairwise

from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._dhcp import (
    DISCOVER,
    OFFER,
    REQUEST,
    Server,
    broadcast,
    is_clients,
    message,
    options_of,
    sends,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import where
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

RFC = "RFC 2131"
FIRST_S = 12.0  # by then the client has begun, whatever it waits for (RFC 2131 4.4.1)

bare = group("DHCP", topology=Topology.BARE)


def _moments(lab: Tester, kind: int, count: int, within_s: float) -> list[float]:
    """When so many messages of a type came."""
    found: list[float] = []
    until = lab.now + within_s
    while len(found) < count:
        packet = lab.expect(message(kind), max(0.0, until - lab.now) * 1000)
        found.append(float(packet.time))
    return found


def _delays(lab: Tester, kind: int, count: int, within_s: float) -> list[float]:
    moments = _moments(lab, kind, count + 1, within_s)
    return [later - earlier for earlier, later in pairwise(moments)]


class _Paced:
    """Lets some of the client's messages out only: those of these numbers."""

    def __init__(self, keep: set[int]) -> None:
        self._keep = keep
        self._count = 0

    def reset(self) -> None:
        self._count = 0

    def __call__(self, frame: Packet) -> Packet | None:
        if not is_clients(frame):
            return frame
        self._count += 1
        return frame if self._count in self._keep else None


@bare(
    "DHCP-2.1",
    "An unanswered DISCOVER is repeated",
    rfc=RFC,
    section="4.1",
    mutant=Mutant("asks only once", outgoing=_Paced({1})),
    seconds=30,
)
def discover_again(lab: Tester) -> None:
    """It is for the client alone to repeat what was lost.

    1. DHCP is switched on, and nobody answers.
    2. Another DISCOVER comes within ten seconds of the first.
    """
    Server(lab).start()
    _moments(lab, DISCOVER, 2, FIRST_S + 10)


@bare(
    "DHCP-2.2",
    "The time between two DISCOVERs grows exponentially",
    rfc=RFC,
    section="4.1",
    mutant=Mutant(
        "asks at ever the same interval",
        outgoing=lambda frame: [frame, frame] if is_clients(frame) else frame,
    ),
    seconds=60,
)
def backs_off(lab: Tester) -> None:
    """Collect what comes while nobody answers.

    1. DHCP is switched on, and nobody answers.
    2. Of the three times between four DISCOVERs each is one and a half times the one before, or
       more.
    """
    Server(lab).start()
    delays = _delays(lab, DISCOVER, 3, 60)
    for earlier, later in pairwise(delays):
        lab.check(later >= 1.5 * earlier, f"at least {1.5 * earlier:.1f} s", f"{later:.1f} s")


@bare(
    "DHCP-2.3",
    "The time before a DISCOVER is repeated is random",
    rfc=RFC,
    section="4.1",
    mutant=Mutant(
        "repeats what it has to say at once",
        outgoing=lambda frame: [frame] * 3 if is_clients(frame) else frame,
    ),
    seconds=100,
)
def random_delays(lab: Tester) -> None:
    """Clients that began together must not go on so.

    1. DHCP is switched on and off, four times, and nobody answers.
    2. The time from the second DISCOVER to the third is not four times the same, to a hundredth
       of a second. (That from the first to the second may hang on when a Host's clock ticks.)
    """
    found = set()
    for _ in range(4):
        server = Server(lab)
        server.start()
        found.add(round(_delays(lab, DISCOVER, 2, FIRST_S + 20)[1], 2))
        server.stop()
        lab.drain(100)
    lab.check(len(found) > 1, "delays that differ", f"four times {found} s")


@bare(
    "DHCP-2.4",
    "The first DISCOVER is repeated after four seconds, the next after eight",
    rfc=RFC,
    section="4.1",
    level=Level.SHOULD,
    mutant=Mutant("waits longer", outgoing=_Paced({1, 3, 4, 5, 6})),
    seconds=40,
)
def first_delays(lab: Tester) -> None:
    """On an Ethernet, with a second of randomness either way.

    1. DHCP is switched on, and nobody answers.
    2. The second DISCOVER comes 3 to 5 seconds after the first, the third 7 to 9 after that.
    """
    Server(lab).start()
    for found, wanted in zip(_delays(lab, DISCOVER, 2, 40), (4, 8), strict=True):
        near = wanted - 1.1 <= found <= wanted + 1.1
        lab.check(near, f"{wanted} s, give or take one", f"{found:.2f} s")


@bare(
    "DHCP-2.5",
    "The delay is doubled up to 64 seconds and grows no more",
    rfc=RFC,
    section="4.1",
    level=Level.SHOULD,
    mutant=Mutant("loses patience", outgoing=_Paced({1, 2, 3, 4, 5})),
    seconds=240,
)
def later_delays(lab: Tester) -> None:
    """Wait for it.

    1. DHCP is switched on, and nobody answers.
    2. From the third to the seventh DISCOVER 16, 32, 64 and 64 seconds pass, give or take one.
    """
    Server(lab).start()
    delays = _delays(lab, DISCOVER, 6, 240)[2:]
    for found, wanted in zip(delays, (16, 32, 64, 64), strict=True):
        near = wanted - 1.1 <= found <= wanted + 1.1
        lab.check(near, f"{wanted} s, give or take one", f"{found:.2f} s")


def _once(kind: int) -> Mutant:
    seen = _Paced({1, 2})
    return Mutant(f"sends one {('?', 'DISCOVER', '?', 'REQUEST')[kind]} only", outgoing=seen)


@bare(
    "DHCP-2.6",
    "An unanswered REQUEST is repeated, in the same transaction",
    rfc=RFC,
    section="4.4.1",
    mutant=_once(REQUEST),
    seconds=30,
)
def request_again(lab: Tester) -> None:
    """The server's answer is lost.

    1. The server makes an OFFER, and does not answer the REQUEST.
    2. The REQUEST comes again within ten seconds, with the same transaction identifier and
       without a change in what it asks for.
    """
    server = Server(lab)
    first = server.requested()
    again = server.expect(REQUEST, 10)
    lab.check(again[BOOTP].xid == first[BOOTP].xid, hex(first[BOOTP].xid), hex(again[BOOTP].xid))
    wanted, found = options_of(first), options_of(again)
    lab.check(found == wanted, f"options {wanted}", found)


@bare(
    "DHCP-2.7",
    "A client whose REQUESTs stay unanswered begins again",
    rfc=RFC,
    section="3.1",
    mutant=Mutant("never gives up", outgoing=_Paced(set(range(1, 4)))),
    seconds=300,
)
def begins_again(lab: Tester) -> None:
    """The server is gone, and another may be there.

    1. The server makes an OFFER, and answers nothing from then on.
    2. Within five minutes the client sends a DISCOVER, in another transaction.
    """
    server = Server(lab)
    first = server.requested()
    again = server.expect(DISCOVER, 300)
    differs = again[BOOTP].xid != first[BOOTP].xid
    lab.check(differs, "another transaction", hex(again[BOOTP].xid))


@bare(
    "DHCP-2.8",
    "A client that has no address says nothing else before the ACK",
    rfc=RFC,
    section="4.4.1",
    mutant=sends(REQUEST, "sends from what it was only offered", network={"src": "192.0.2.50"}),
    seconds=25,
)
def no_source(lab: Tester) -> None:
    """An address that was offered is not given.

    1. The server makes an OFFER, and does not answer the REQUEST.
    2. All that comes over IPv4 in ten seconds comes from 0.0.0.0.
    """
    server = Server(lab)
    server.discovered()
    server.reply(OFFER)
    lab.expect(message(REQUEST) / broadcast())
    with_source = where(
        "from an address", lambda frame: bool(frame.haslayer(IP)) and frame[IP].src != "0.0.0.0"
    )
    lab.expect_nothing(with_source, 10000)


@bare(
    "DHCP-2.9",
    "The message says for how many seconds the client has been trying",
    rfc="RFC 1542",
    section="3.2",
    level=Level.SHOULD,
    mutant=sends(0, "never counts", secs=0),
    seconds=40,
)
def seconds_of_trying(lab: Tester) -> None:
    """Relay agents let the nearest server answer first.

    1. DHCP is switched on, and nobody answers.
    2. The first DISCOVER says 0 seconds. The third says as many as have passed since, give or take
       one.
    """
    server = Server(lab)
    server.start()
    first = server.expect(DISCOVER, FIRST_S)
    lab.check(first[BOOTP].secs == 0, "0 seconds", first[BOOTP].secs)
    server.expect(DISCOVER, 20)
    third = server.expect(DISCOVER, 20)
    passed, found = float(third.time) - float(first.time), third[BOOTP].secs
    lab.check(abs(found - passed) <= 1, f"{passed:.0f} seconds", found)
