"""ICMPv6, groups 1 and 2: messages in general, and echo (RFC 4443 2, 4)."""

from __future__ import annotations

import socket

from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ParamProblem,
    ICMPv6Unknown,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip6 import (
    ALL_NODES,
    ICMPV6,
    alive,
    answering_with,
    echo_bytes,
    fragment,
    packed,
    unanswered,
)
from pystack.lab.catalogue._mutants import altering, dropping, hiding, mending
from pystack.lab.packets import echo_reply6, echo_request6, ipv6
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("ICMPV6", rfc="RFC 4443", section="4.2")


DEAF = hiding(lambda frame: bool(frame.haslayer(ICMPv6EchoRequest)), "does not hear echo requests")
UNCHECKED = mending(ICMPv6EchoRequest, "does not verify the checksum")
REPORTS_ALL = answering_with(
    lambda sent: ICMPv6ParamProblem(code=1, ptr=40) / Raw(sent),
    "reports messages that it does not know",
    next_header=ICMPV6,
)


# --- messages ------------------------------------------------------------------------------------


@case(
    "ICMPV6-1.1",
    "An ICMPv6 message with a wrong checksum is dropped",
    section="2.3",
    mutant=UNCHECKED,
)
def wrong_checksum(lab: Tester) -> None:
    """Send a message that was damaged on the way.

    1. The tester sends an echo request with a wrong checksum.
    2. Nothing comes.
    """
    request: Packet = lab.echo6()
    request[ICMPv6EchoRequest].cksum = 0x1234
    unanswered(lab, request)


@case(
    "ICMPV6-1.2",
    "A message whose checksum is for another address is dropped",
    section="2.3",
    mutant=UNCHECKED,
)
def pseudo_header(lab: Tester) -> None:
    """The checksum covers the addresses of IPv6's header too.

    1. The tester makes an echo request to another host, 2001:db8:1::77, checksum and all.
    2. It sends this message to the Host, without mending the checksum.
    3. Nothing comes.
    """
    unanswered(lab, packed(lab, upper=echo_bytes(lab, dst="2001:db8:1::77")))


@case(
    "ICMPV6-1.3",
    "A message that is sent has a right checksum",
    section="2.3",
    mutant=altering(ICMPv6EchoReply, "sends no checksum", exact=True, cksum=0),
)
def sent_checksum(lab: Tester) -> None:
    """Look at the checksum of replies, with data of an even and of an odd length.

    1. The tester sends echo requests with 4 and with 5 bytes of data.
    2. Both replies have the right checksum.
    """
    for number, data in enumerate((b"four", b"fives")):
        lab.send(lab.echo6(sequence=number, data=data))
        found = lab.expect(echo_reply6(seq=number))
        again: Packet = found.copy()
        del again[ICMPv6EchoReply].cksum
        right = Ether(bytes(again))[ICMPv6EchoReply].cksum
        lab.check(
            found[ICMPv6EchoReply].cksum == right, hex(right), hex(found[ICMPv6EchoReply].cksum)
        )


@case(
    "ICMPV6-1.4",
    "A message that ends within its header does no harm",
    section="2.1",
    mutant=DEAF,
)
def cut_header(lab: Tester) -> None:
    """Send messages that end too early.

    1. The tester sends the first 0, 1, 3, 4 and 7 bytes of messages, each in a separate packet.
    2. The Host still answers an echo request.
    """
    for size in (0, 1, 3, 4, 7):
        lab.send(lab.ip6(nh=ICMPV6) / Raw(echo_bytes(lab)[:size]))
        lab.send(lab.ip6(nh=ICMPV6) / Raw(b"\x02\0\0\0\0\0\x05\0"[:size]))
    alive(lab)


@case(
    "ICMPV6-1.5",
    "An unknown informational message is dropped without a word",
    section="2.4 (b)",
    mutant=REPORTS_ALL,
)
def unknown_informational(lab: Tester) -> None:
    """Send unassigned types.

    1. The tester sends messages of the types 190 and 254.
    2. Nothing comes.
    """
    messages = [lab.ip6() / ICMPv6Unknown(type=kind, msgbody=b"news?" * 3) for kind in (190, 254)]
    unanswered(lab, *messages)


@case(
    "ICMPV6-1.6",
    "An unknown error message is not answered",
    section="2.4 (e.1)",
    mutant=REPORTS_ALL,
)
def unknown_error(lab: Tester) -> None:
    """Errors never lead to errors, and what is below 128 is an error.

    1. The tester sends messages of the types 90 and 126 that quote a packet of the Host's.
    2. Nothing comes.
    """
    quoted = bytes(4) + bytes(IPv6(src=lab.host6, dst=lab.tester6) / ICMPv6EchoReply())
    messages = [lab.ip6() / ICMPv6Unknown(type=kind, msgbody=quoted) for kind in (90, 126)]
    unanswered(lab, *messages)


# --- echo ----------------------------------------------------------------------------------------


@case(
    "ICMPV6-2.1",
    "An echo request is answered with its own identifier, sequence number and data",
    aliases=("v6lc:5.1.2",),
    mutant=altering(ICMPv6EchoReply, "counts replies itself", seq=0),
)
def echo(lab: Tester) -> None:
    """Ask for an echo.

    1. The tester sends an echo request.
    2. The Host answers it from the address that was asked, with the same identifier, sequence
       number and data, and code 0.
    """
    lab.send(lab.echo6(0x1234, 0x4321, b"hello, hello"))
    lab.expect(
        ipv6(src=lab.host6, dst=lab.tester6)
        / echo_reply6(id=0x1234, seq=0x4321, data=b"hello, hello", code=0)
    )


@case(
    "ICMPV6-2.2",
    "The data of an echo request that fills a frame comes back whole",
    mutant=altering(ICMPv6EchoReply, "cuts the data", data=lambda found: found[:1000]),
)
def full_frame(lab: Tester) -> None:
    """Send as much as one frame can hold.

    1. The tester sends an echo request with 1452 bytes of data.
    2. All of them come back.
    """
    data = bytes(range(256)) * 5 + bytes(172)
    lab.send(lab.echo6(data=data))
    lab.expect(echo_reply6(data=data))


@case(
    "ICMPV6-2.3",
    "The data of an echo request in fragments comes back whole",
    mutant=dropping(
        lambda frame: frame.type == 0x86DD and bytes(frame)[20] == 44, "sends no fragments"
    ),
)
def in_fragments(lab: Tester) -> None:
    """Send more than one frame can hold.

    1. The tester sends an echo request with 2000 bytes of data in two fragments.
    2. All of them come back, in fragments too.
    """
    data = bytes(range(250)) * 8
    whole = echo_bytes(lab, data=data)
    lab.send(packed(lab, fragment(0, True), upper=whole[:1400]))
    lab.send(packed(lab, fragment(1400, False), upper=whole[1400:]))
    got = bytearray(len(whole))
    have = 0
    while have < len(got):
        raw = bytes(lab.expect(ipv6(src=lab.host6, dst=lab.tester6, nh=44)))[54:]
        offset = int.from_bytes(raw[2:4], "big") & ~7
        got[offset : offset + len(raw) - 8] = raw[8:]
        have += len(raw) - 8
    lab.check(bytes(got[8:]) == data, "the same data", f"{len(got) - 8} bytes")


@case(
    "ICMPV6-2.4",
    "An echo request to a group is answered from an address of the Host's",
    level=Level.SHOULD,
    mutant=altering(IPv6, "answers from the group's address", src=ALL_NODES),
)
def multicast_echo(lab: Tester) -> None:
    """Ask all nodes at once.

    1. The tester sends an echo request to ff02::1, from its link-local address.
    2. The Host answers from one of its addresses.
    """
    lab.send(
        lab.ip6(src=lab.tester_ll, dst=ALL_NODES) / ICMPv6EchoRequest(id=1, seq=7, data=b"all?")
    )
    found = lab.expect(ipv6(dst=lab.tester_ll) / echo_reply6(seq=7, data=b"all?"))
    lab.check(found[IPv6].src in (lab.host_ll, lab.host6), "the Host's address", found[IPv6].src)


@case(
    "ICMPV6-2.5",
    "The answer to a message has the address that was asked as its source",
    section="2.2 (a)",
    mutant=altering(IPv6, "answers from its first address", src="2001:db8:1::2"),
)
def source_of_reply(lab: Tester) -> None:
    """Ask an address that is not the Host's first one.

    1. The Host gets 2001:db8:1::22 as a second address.
    2. The tester sends an echo request to it; the Host answers from it.
    3. The same for the Host's link-local address, asked by a global one.
    """
    lab.host.add_address("2001:db8:1::22/64")
    lab.drain(2500 if lab.host.virtual else 200)
    for asked in ("2001:db8:1::22", lab.host_ll):
        lab.send(lab.ip6(dst=asked) / ICMPv6EchoRequest(id=1, seq=7))
        lab.expect(ipv6(src=asked, dst=lab.tester6) / echo_reply6(seq=7))


@case(
    "ICMPV6-2.6",
    "An unsolicited ICMPv6 echo reply is not answered",
    mutant=REPORTS_ALL,
)
def unsolicited_reply(lab: Tester) -> None:
    """Answer without having been asked.

    1. The tester sends an echo reply.
    2. Nothing comes.
    """
    unanswered(lab, lab.ip6() / ICMPv6EchoReply(id=0x1234, seq=1, data=b"here I am"))


@case(
    "ICMPV6-2.7",
    "An echo reply is passed to the program that asked",
    mutant=hiding(lambda frame: bool(frame.haslayer(ICMPv6EchoReply)), "drops echo replies"),
)
def reply_is_told(lab: Tester) -> None:
    """Have a program of the Host's ask.

    1. The Host's program sends an echo request by a raw socket.
    2. It comes with the right checksum; the tester answers it.
    3. The program receives the reply.
    """
    sock = lab.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    sock.sendto(echo_bytes(lab, 77, b"there?"), (lab.tester6, 0))
    request = lab.expect(ipv6(dst=lab.tester6) / echo_request6(seq=77, data=b"there?"))
    again: Packet = request.copy()
    del again[ICMPv6EchoRequest].cksum
    right = Ether(bytes(again))[ICMPv6EchoRequest].cksum
    found = request[ICMPv6EchoRequest].cksum
    lab.check(found == right, f"checksum {hex(right)}", hex(found))
    lab.send(lab.ip6() / ICMPv6EchoReply(id=1, seq=77, data=b"there?"))

    def reply() -> bytes:
        while True:  # neighbours' messages come to such a socket too
            message = sock.recv(2000)
            if message[:1] == b"\x81":
                return message

    got = lab.until(reply, 1000, "the reply for the program")
    lab.check(got[4:] == b"\0\x01\0\x4dthere?", "the reply", repr(got))


@case(
    "ICMPV6-2.8",
    "The Host can ask for an echo itself",
    section="4.1",
    level=Level.SHOULD,
    mutant=altering(ICMPv6EchoRequest, "sends no checksum", exact=True, cksum=0),
)
def ping(lab: Tester) -> None:
    """Have the Host send an echo request, as its ping does.

    1. The Host pings the tester.
    2. An echo request comes, code 0, with the right checksum.
    """
    lab.host.ping(lab.tester6)
    request = lab.expect(ipv6(src=lab.host6, dst=lab.tester6) / echo_request6(code=0))
    again: Packet = request.copy()
    del again[ICMPv6EchoRequest].cksum
    right = Ether(bytes(again))[ICMPv6EchoRequest].cksum
    found = request[ICMPv6EchoRequest].cksum
    lab.check(found == right, f"checksum {hex(right)}", hex(found))


@case(
    "ICMPV6-2.9",
    "A destination unreachable that is about nobody's packet is dropped",
    section="2.4 (e.1)",
    mutant=REPORTS_ALL,
)
def error_about_nothing(lab: Tester) -> None:
    """Send errors that quote too little, or nonsense.

    1. The tester sends destination unreachables that quote nothing, half a header, and a packet
       that the Host never sent.
    2. Nothing comes; the Host lives on.
    """
    packet = bytes(lab.ip6(src=lab.host6, dst="2001:db8:9::9", nh=17) / Raw(bytes(8)))
    quotations = (b"", packet[:20], packet, bytes(60))
    unanswered(lab, *(lab.ip6() / ICMPv6DestUnreach(code=4) / Raw(one) for one in quotations))
