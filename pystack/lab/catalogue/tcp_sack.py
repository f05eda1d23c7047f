"""TCP, group 11: selective acknowledgements (RFC 2018, RFC 2883)."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import TCP
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    ACKS_ONE_LESS,
    MSS,
    Again,
    acks,
    altered,
    and_next,
    any_segment,
    data_segments,
    empty,
    flagged,
    highest,
    lacking,
    offer,
    pattern,
    segments,
    widen,
    with_option,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, Connection, connect, in_state
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level, Unable

case = group("TCP-11", rfc="RFC 2018")

PERMITTED = "SAckOK"
BLOCKS = "SAck"
SIZE = 100


def blocks_of(packet: Packet) -> list[tuple[int, int]]:
    """The blocks that a segment acknowledges selectively."""
    edges = dict(packet[TCP].options).get(BLOCKS) or ()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _selective(lab: Tester) -> Connection:
    """A connection with selective acknowledgements."""
    connection = connect(lab, options=[("MSS", MSS), (PERMITTED, b"")])
    if PERMITTED not in dict(connection.host_options):
        raise Unable("the Host has no selective acknowledgements")
    return connection


def _ahead(connection: Connection, index: int) -> tuple[int, int]:
    """Sends the segment of so many octets that stands so many places ahead; its edges."""
    left = (connection.seq + SIZE * index) % MODULUS
    connection.send("A", pattern(SIZE), seq=left)
    return left, (left + SIZE) % MODULUS


def _latest(connection: Connection) -> list[tuple[int, int]]:
    """The blocks of the last ACK that comes now."""
    found = segments(connection, 60, flags=acks)
    connection.lab.check(bool(found), "an ACK", "none")
    return blocks_of(found[-1])


def _reversed(frame: Packet) -> Packet:
    """The frame, with its blocks in reverse order and each a bit larger."""
    if not frame.haslayer(TCP) or BLOCKS not in dict(frame[TCP].options):
        return frame
    found = [(left, right + 1) for left, right in reversed(blocks_of(frame))]
    edges = tuple(edge for block in found for edge in block)
    changed = altered(
        any_segment,
        options=[(name, edges if name == BLOCKS else value) for name, value in frame[TCP].options],
    )(frame)
    assert isinstance(changed, Packet)
    return changed


WRONG_BLOCKS = Mutant("mixes the blocks up", outgoing=_reversed)


@case(
    "TCP-11.1",
    "Selective acknowledgements are agreed to only if they were offered",
    section="2",
    level=Level.MAY,
    mutant=Mutant("offers them always", outgoing=with_option(flagged("SA"), (PERMITTED, b""))),
)
def permitted_if_offered(lab: Tester) -> None:
    """Do not offer selective acknowledgements.

    1. The tester's SYN has an MSS alone.
    2. The SYN-ACK does not permit them either. (RFC 2018 does not forbid it; all stacks do so, as
       one side alone gains nothing.)
    """
    options = dict(in_state(lab, "SYN-RECEIVED").host_options)
    lab.check(PERMITTED not in options, "no SACK-permitted", options)


@case(
    "TCP-11.2",
    "No segment but a SYN permits selective acknowledgements",
    section="2",
    mutant=Mutant(
        "permits them all the time", outgoing=with_option(lacking("S"), (PERMITTED, b""))
    ),
)
def permitted_on_syn_only(lab: Tester) -> None:
    """Look at the options of a connection.

    1. Selective acknowledgements are agreed on. Data goes both ways, and leaves a gap.
    2. No segment has SACK-permitted.
    """
    connection = _selective(lab)
    connection.push(b"question")
    _ahead(connection, 1)
    write(connection, b"answer")
    found = segments(connection, 300)
    lab.need(bool(found), "segments")
    wrong = [one[TCP].options for one in found if PERMITTED in dict(one[TCP].options)]
    lab.check(not wrong, "no SACK-permitted", wrong)


@case(
    "TCP-11.3",
    "Without permission no blocks are sent",
    section="3",
    mutant=Mutant("sends blocks unasked", outgoing=with_option(empty, (BLOCKS, (5, 9)))),
)
def no_blocks_without_permission(lab: Tester) -> None:
    """Leave a gap on a connection without selective acknowledgements.

    1. The tester's SYN does not permit them. It sends a segment behind a gap.
    2. The ACK has no blocks.
    """
    connection = connect(lab)
    _ahead(connection, 1)
    found = [blocks_of(one) for one in segments(connection, 300)]
    lab.check(not any(found), "no blocks", found)


@case(
    "TCP-11.4",
    "What has come behind a gap is acknowledged selectively",
    section="3",
    level=Level.SHOULD,
    mutant=WRONG_BLOCKS,
)
def block_behind_gap(lab: Tester) -> None:
    """Leave a gap.

    1. Selective acknowledgements are agreed on. The tester leaves 100 octets out and sends 100.
    2. The ACK has one block: these 100 octets.
    """
    connection = _selective(lab)
    block = _ahead(connection, 1)
    found = _latest(connection)
    lab.check(found == [block], f"the block {block}", found)


@case(
    "TCP-11.5",
    "Adjacent segments make one block",
    section="3",
    mutant=WRONG_BLOCKS,
)
def adjacent(lab: Tester) -> None:
    """Send three segments behind a gap, in another order.

    1. The tester sends the second, the fourth and the third of four segments.
    2. The last ACK has one block, from the second's first octet to the fourth's last.
    """
    connection = _selective(lab)
    left, _ = _ahead(connection, 1)
    _, right = _ahead(connection, 3)
    _ahead(connection, 2)
    found = _latest(connection)
    lab.check(found == [(left, right)], f"the block {(left, right)}", found)


@case(
    "TCP-11.6",
    "The first block is the one that has just come",
    section="4",
    mutant=WRONG_BLOCKS,
)
def newest_first(lab: Tester) -> None:
    """Leave several gaps.

    1. The tester sends segments 5, 1 and 3, each between gaps.
    2. The first block of each ACK is the segment that it answers.
    """
    connection = _selective(lab)
    for index in (5, 1, 3):
        block = _ahead(connection, index)
        found = _latest(connection)
        lab.check(found[:1] == [block], f"first the block {block}", found)


@case(
    "TCP-11.7",
    "An ACK has as many blocks as there is room for",
    section="4",
    level=Level.SHOULD,
    mutant=Mutant(
        "sends one block",
        outgoing=lambda frame: (
            altered(any_segment, options=[(BLOCKS, blocks_of(frame)[0])])(frame)
            if frame.haslayer(TCP) and len(blocks_of(frame)) > 1
            else frame
        ),
    ),
)
def many_blocks(lab: Tester) -> None:
    """Leave four gaps.

    1. The tester sends segments 1, 3, 5 and 7.
    2. The last ACK has at least three blocks, the newest first: 7, 5, 3.
    """
    connection = _selective(lab)
    sent = [_ahead(connection, index) for index in (1, 3, 5, 7)]
    found = _latest(connection)
    lab.check(found[:3] == sent[:0:-1], f"the blocks {sent[:0:-1]}", found)


@case(
    "TCP-11.8",
    "Blocks go when the gap before them is filled",
    section="3",
    mutant=Mutant(
        "keeps an old block", outgoing=with_option(empty, (BLOCKS, (1_000_101, 1_000_201)))
    ),
)
def filled(lab: Tester) -> None:
    """Fill a gap.

    1. The tester leaves a gap, and fills it.
    2. The ACK of all has no blocks.
    """
    connection = _selective(lab)
    _ahead(connection, 1)
    lab.drain(60)
    connection.push(pattern(SIZE))
    connection.seq += SIZE
    found = blocks_of(connection.expect_ack())
    lab.check(not found, "no blocks", found)


@case(
    "TCP-11.9",
    "Data that has come twice is told of (D-SACK)",
    rfc="RFC 2883",
    section="4",
    level=Level.MAY,
    mutant=Mutant("makes blocks up", outgoing=with_option(empty, (BLOCKS, (5, 9)))),
)
def duplicate_block(lab: Tester) -> None:
    """Send data twice.

    1. Selective acknowledgements are agreed on. The tester sends 100 octets, and again the same.
    2. If the ACK of the second has blocks, the first of them is these 100 octets; if it has none,
       the case does not apply.
    """
    connection = _selective(lab)
    left = connection.seq
    connection.push(pattern(SIZE))
    connection.expect_ack()
    lab.drain(600)
    connection.send("A", pattern(SIZE), seq=left)
    found = blocks_of(connection.expect("A", ack=connection.seq))
    if not found:
        raise Unable("the Host does not tell of duplicates")
    lab.check(found[0] == (left, connection.seq), "the duplicate's block", found)


@case(
    "TCP-11.10",
    "What was acknowledged selectively is not sent again",
    section="5.1",
    level=Level.SHOULD,
    mutant=Mutant("sends what follows a lost one again, too", outgoing=Again(and_next)),
)
def not_again(lab: Tester) -> None:
    """Lose the first and the third of many segments.

    1. Selective acknowledgements are agreed on. The congestion window has grown, and eight segments
       or more are under way.
    2. The tester acknowledges selectively all but the first and the third, with an ACK for each.
    3. Both come again within 300 ms, and nothing that was acknowledged does.
    """
    connection = _selective(lab)
    widen(connection, 12 * MSS)
    start = connection.ack
    assert start is not None
    offer(connection, pattern(60 * MSS))
    flight = highest(data_segments(connection, 40), start)
    lab.need(flight >= 8 * MSS, "eight segments under way")

    def edge(index: int) -> int:
        return (start + index * MSS) % MODULUS

    connection.send("A", options=_blocks((edge(1), edge(2))))
    for last in range(4, flight // MSS + 1):
        connection.send("A", options=_blocks((edge(3), edge(last)), (edge(1), edge(2))))
    again = [
        (one[TCP].seq - start) % MODULUS // MSS
        for one in data_segments(connection, 300)
        if (one[TCP].seq - start) % MODULUS < flight
    ]
    lab.check({0, 2} <= set(again), "the first and the third again", again)
    lab.check(set(again) == {0, 2}, "no other again", again)


@case(
    "TCP-11.11",
    "Data that has come twice in part is told of (D-SACK)",
    rfc="RFC 2883",
    section="4.2",
    level=Level.MAY,
    mutant=Mutant("makes blocks up", outgoing=with_option(empty, (BLOCKS, (5, 9)))),
)
def duplicate_part(lab: Tester) -> None:
    """Send data of which a part has come.

    1. Selective acknowledgements are agreed on. The tester sends 100 octets; then the last 50 of
       them and 50 more.
    2. If the ACK of that has blocks, the first of them is the 50 that came twice; if it has none,
       the case does not apply.
    3. It sends the third hundred, and then the second half of it and 50 more: as before, and the
       block behind the first is all 150.
    """
    connection = _selective(lab)
    start = connection.seq
    connection.push(pattern(SIZE))
    connection.expect_ack()
    lab.drain(300)
    connection.send("A", pattern(SIZE), seq=start + SIZE // 2)
    connection.seq += SIZE // 2
    found = blocks_of(connection.expect_ack())
    if not found:
        raise Unable("the Host does not tell of duplicates")
    part = (start + SIZE // 2, start + SIZE)
    lab.check(found == [part], f"the block {part}", found)
    left = start + 2 * SIZE
    connection.send("A", pattern(SIZE), seq=left)
    lab.drain(60)
    connection.send("A", pattern(SIZE), seq=left + SIZE // 2)
    wanted = [(left + SIZE // 2, left + SIZE), (left, left + SIZE * 3 // 2)]
    found = _latest(connection)
    lab.check(found == wanted, f"the blocks {wanted}", found)


@case(
    "TCP-11.12",
    "A block covers the FIN",
    section="3",
    level=Level.SHOULD,
    mutant=WRONG_BLOCKS,
)
def block_with_fin(lab: Tester) -> None:
    """Send the last segment first.

    1. Selective acknowledgements are agreed on. The tester leaves 100 octets out, and sends 100
       with a FIN.
    2. The ACK has one block, up to the number behind the FIN's.
    """
    connection = _selective(lab)
    left = connection.seq + SIZE
    connection.send("FA", pattern(SIZE), seq=left)
    found = _latest(connection)
    lab.check(found == [(left, left + SIZE + 1)], "the data and the FIN", found)


@case(
    "TCP-11.13",
    "What was acknowledged selectively is kept",
    section="8",
    level=Level.SHOULD,
    mutant=ACKS_ONE_LESS,
)
def blocks_are_kept(lab: Tester) -> None:
    """Send what waits behind a gap again, in other pieces.

    1. Selective acknowledgements are agreed on. The tester leaves 100 octets out and sends 300.
    2. It sends the second hundred of these again; then all of them and 100 more.
    3. It sends what is missing. All 500 octets are acknowledged, and the program reads them.
    """
    connection = _selective(lab)
    data = pattern(5 * SIZE)
    start = connection.seq
    for first, last in ((1, 4), (2, 3), (1, 5), (0, 1)):
        lab.drain(60)
        connection.send("A", data[first * SIZE : last * SIZE], seq=start + first * SIZE)
    connection.seq = (start + len(data)) % MODULUS
    connection.expect_ack()
    got = connection.read(len(data))
    lab.check(got == data, "the data", f"{len(got)} octets")


def _blocks(*found: tuple[int, int]) -> list[tuple[Any, ...]]:
    return [("NOP", None), ("NOP", None), (BLOCKS, tuple(edge for one in found for edge in one))]
