"""Name servers that lie, err or are away, and what a lookup makes of it (RFC 1035, RFC 5452)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from itertools import pairwise

import lab_hosts
import name_server
import pytest
from name_server import ASKED, CNAME, Lookup, a, name, record
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from pystack.lab.packets import udp
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester

FIRST, SECOND = "192.0.2.1", "192.0.2.9"
EVIL, GOOD = "198.51.100.66", "198.51.100.1"
A_QUESTION = b"\0\1\0\1"
SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, FORMERR = 2, 3, 4, 5, 1
ANSWER = 0x8180


@pytest.fixture
def lab() -> Iterator[Tester]:
    host = lab_hosts.kind_of("lwip").make()
    try:
        with lab_hosts.tester_of(host, Topology.HOST) as tester:
            yield tester
    finally:
        host.stop()


def asked(lab: Tester, *servers: str) -> Lookup:
    lookup = Lookup(lab, servers=servers or (FIRST,))
    lookup.asks(FIRST)
    return lookup


# --- what answers another question ----------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"identifier": b"zz"},
        {"question": name("evil.com") + A_QUESTION},
        {"question": name("a.example") + A_QUESTION},
        {"question": name("a.example.com.au") + A_QUESTION},
        {"question": b"\x0da.example.com\0" + A_QUESTION},
        {"question": name("a.example.com") + b"\0\x1c\0\1"},
        {"question": name("a.example.com") + b"\0\1\0\3"},
        {"question": b"\xc0\x0c" + A_QUESTION},
        {"question": b"", "questions": 0},
        {"questions": 2, "question": (name("a.example.com") + A_QUESTION) * 2},
        {"flags": 0x0100},
        {"flags": 0xA980},
    ],
    ids=str,
)
def test_another_answer_is_waited_past(lab: Tester, wrong: dict[str, object]) -> None:
    lookup = asked(lab)
    lookup.answer(lookup.message(a(EVIL, name("a.example.com")), **wrong))  # type: ignore[arg-type]
    assert lookup.result() is None
    lookup.answer(lookup.message(a(GOOD)))
    assert lookup.result() == [GOOD]


def test_an_answer_comes_from_whom_and_to_where_it_was_asked(lab: Tester) -> None:
    lookup, other = asked(lab), Lookup(lab, "b.example.com")
    question = lab.expect(udp(dport=53), 100)
    evil = lookup.message(a(EVIL))
    lookup.answer(evil, port=5353)
    lookup.answer(evil, source="192.0.2.99")
    lookup.answer(evil, to_port=question[UDP].sport)
    assert lookup.result() is None
    lookup.answer(lookup.message(a(GOOD)))
    assert (lookup.result(), other.result()) == ([GOOD], None)


# --- whose records count --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([a(EVIL, name("evil.com"))], errno.ENOENT),
        ([a(EVIL, name("evil.com")), a(GOOD)], [GOOD]),
        ([a(GOOD, name("A.Example.COM"))], [GOOD]),
        ([record(ASKED, CNAME, name("b.x")), a(EVIL, name("c.x"))], errno.ENOENT),
        ([record(ASKED, CNAME, name("b.x")), a(GOOD, name("b.x"))], [GOOD]),
        (
            [
                record(ASKED, CNAME, name("b.x")),
                record(name("b.x"), CNAME, name("c.x")),
                a(EVIL),
                a(GOOD, name("c.x")),
            ],
            [GOOD],
        ),
        ([record(ASKED, CNAME, ASKED), a(GOOD)], [GOOD]),
        ([record(ASKED, 1, b"\1\2\3\4\5"), a(GOOD)], [GOOD]),
        ([record(ASKED, 1, b"\1\2\3\4", cls=3)], errno.ENOENT),
        ([a(f"198.51.100.{i}") for i in range(100)], [f"198.51.100.{i}" for i in range(64)]),
    ],
)
def test_the_owner_is_the_question_or_its_alias(
    lab: Tester, records: list[bytes], found: object
) -> None:
    lookup = asked(lab)
    lookup.answer(lookup.message(*records))
    assert lookup.result() == found


def loop(at: int) -> bytes:
    """A pointer to an offset."""
    return struct.pack(">H", 0xC000 | at)


BEHIND = 12 + len(name("a.example.com")) + 4  # where the answers begin


@pytest.mark.parametrize(
    "broken",
    [
        a(EVIL, loop(BEHIND)),
        a(EVIL, b"\1x" + loop(BEHIND)),
        a(EVIL, loop(BEHIND + 2) + loop(BEHIND)),
        a(EVIL, loop(BEHIND + 40)),
        a(EVIL, b"\x40" + bytes(64)),
        a(EVIL, b"\x3f" + b"x" * 63) * 1,
        b"".join(b"\x3f" + b"x" * 63 for _ in range(5)) + a(EVIL, b"\0"),
        record(ASKED, CNAME, loop(BEHIND + 12)) + a(EVIL),
        record(ASKED, CNAME, name("b.x") + b"more") + a(EVIL, name("b.x")),
        ASKED + struct.pack(">HHIH", 1, 1, 60, 200) + b"\1\2\3\4",
        ASKED + b"\0\1\0",
        b"\xc0",
        b"",
    ],
    ids=range(13),
)
def test_a_broken_message_is_waited_past(lab: Tester, broken: bytes) -> None:
    lookup = asked(lab)
    lookup.answer(lookup.message(broken, a(EVIL), answers=2))
    assert lookup.result() is None
    lookup.answer(lookup.message(a(GOOD)))
    assert lookup.result() == [GOOD]


def test_a_truncated_answer_counts_as_far_as_it_goes(lab: Tester) -> None:
    lookup = asked(lab)
    lookup.answer(lookup.message(a(GOOD), a(EVIL)[:8], flags=ANSWER | 0x0200))
    assert lookup.result() == [GOOD]


def test_a_long_chain_of_aliases_and_a_huge_answer_end(lab: Tester) -> None:
    names = [f"n{i}.x" for i in range(2000)]
    chain = [record(ASKED, CNAME, name(names[0]))]
    chain += [record(name(one), CNAME, name(two)) for one, two in pairwise(names)]
    lookup = asked(lab)
    # 2,000 records of 30 bytes, in fragments: more than any answer that was asked for.
    payload = bytes(
        IP(src=FIRST, dst=lab.host4)
        / UDP(sport=53, dport=lookup.question[UDP].sport)
        / lookup.message(*chain)
    )[20:]  # type: ignore[index]
    for at in range(0, len(payload), 1480):
        part = payload[at : at + 1480]
        piece = IP(src=FIRST, dst=lab.host4, id=9, proto=17, frag=at // 8)
        piece.flags = int(at + 1480 < len(payload))
        lab.send(Ether(src=lab.tester_mac, dst=lab.host_mac) / piece / Raw(part))
    lookup.answer(lookup.message(*chain[:30]))
    assert lookup.result() is None
    lookup.answer(lookup.message(*chain[:10], a(GOOD, name(names[9]))))
    assert lookup.result() == [GOOD]


# --- the next server ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, NXDOMAIN])
def test_that_there_is_no_such_name_is_an_answer(lab: Tester, code: int) -> None:
    lookup = asked(lab, FIRST, SECOND)
    lookup.answer(lookup.message(flags=ANSWER | code))
    assert lookup.result() == errno.ENOENT
    lab.expect_nothing(udp(dport=53), 2000)


@pytest.mark.parametrize("code", [FORMERR, SERVFAIL, NOTIMP, REFUSED])
def test_a_server_that_fails_is_not_the_last_word(lab: Tester, code: int) -> None:
    lookup = asked(lab, FIRST, SECOND)
    lookup.answer(lookup.message(flags=ANSWER | code))
    lookup.asks(SECOND, 10)
    lookup.answer(lookup.message(flags=ANSWER | code))
    assert lookup.result() == errno.EREMOTEIO


def test_a_silent_server_is_not_the_last_word(lab: Tester) -> None:
    lookup = asked(lab, FIRST, SECOND)
    within = lab.now + 30
    while lab.now < within and lab.expect(udp(dport=53), 20_000)[IP].dst == FIRST:
        pass
    lookup.question = lab.expect(udp(dport=53), 20_000)
    lookup.answer(lookup.message(a(GOOD)))
    assert lookup.result() == [GOOD]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 10, 13])
def test_an_icmp_error_moves_on_at_once(lab: Tester, code: int) -> None:
    lookup = asked(lab, FIRST, SECOND)
    for server in (FIRST, SECOND):
        assert lookup.question is not None
        quoted = bytes(lookup.question[IP])[:28]
        error = IP(src=server, dst=lab.host4) / ICMP(type=3, code=code)
        header = Ether(src=lab.tester_mac, dst=lab.host_mac)
        lab.send(header / error / Raw(quoted[:20] + b"\x12\x34" + quoted[22:]))  # another port
        lab.expect_nothing(udp(dport=53), 50)
        assert lookup.result() is None
        lab.send(header / error / Raw(quoted))
        if server == FIRST:
            lookup.asks(SECOND, 10)
    lab.run(10)
    assert lookup.result() == errno.ETIMEDOUT


# --- what is to be guessed, and how much there may be ---------------------------------------------


def test_identifiers_and_ports_are_not_to_be_guessed(lab: Tester) -> None:
    lookups = [Lookup(lab, f"n{i}.example.com") for i in range(40)]
    questions = lab.collect(udp(dport=53), 500, at_most=40)
    ports = [one[UDP].sport for one in questions]
    identifiers = [struct.unpack(">H", bytes(one[UDP].payload)[:2])[0] for one in questions]
    for found in (ports, identifiers):
        assert len(set(found)) == len(lookups)
        steps = {two - one for one, two in pairwise(found)}
        assert len(steps) > 30


def test_more_lookups_than_lwip_counts(lab: Tester) -> None:
    lab.meet()
    lookups = [Lookup(lab, f"n{i}.example.com") for i in range(300)]
    results = [one.result() for one in lookups]
    assert results[:255] == [None] * 255
    assert set(results[255:]) == {errno.ENOBUFS}
    for question in lab.collect(udp(dport=53), 500, at_most=255):
        lookups[0].question = question
        lookups[0].answer(lookups[0].message(a(GOOD)))
    assert [one.result() for one in lookups[:255]] == [[GOOD]] * 255


def test_a_multicast_name_is_answered_from_its_port(lab: Tester) -> None:
    lookup = Lookup(lab, "printer.local")
    lookup.question = lab.expect(udp(dport=5353), 1000)
    evil = name_server.record(ASKED, name_server.A, bytes((198, 51, 100, 66)))
    lookup.answer(lookup.message(evil), source="192.0.2.7")
    assert lookup.result() is None
    flushing = record(ASKED, name_server.A, bytes((198, 51, 100, 1)), cls=0x8001)
    lookup.answer(lookup.message(flushing), port=5353, source="192.0.2.7")
    assert lookup.result() == [GOOD]
