"""What TCP_CORK and MSG_MORE hold back: until when, and what sends it before (tcp(7))."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace

import pytest
from by_hand import FAR, MSS, ByHand, Segment, by_hand

from pystack.sockets import Socket

CEILING_S = 0.2
TCP, CORK = socket.IPPROTO_TCP, 3
MORE = 0x8000


def connected(it: ByHand) -> tuple[Socket, Segment]:
    """A connection, and the segment that the peer sends next, an ACK."""
    sock = it.net.socket(socket.AF_INET)
    sock.setblocking(False)
    assert sock.connect_ex((FAR, 80)) == errno.EINPROGRESS
    (syn,) = it.sent()
    it.give(Segment(80, syn.sport, "SA", 1000, syn.seq + 1, options=MSS))
    return sock, Segment(80, syn.sport, "A", 1001, syn.seq + 1)


def hold(sock: Socket, how: str, data: bytes) -> None:
    if how == "cork":
        sock.setsockopt(TCP, CORK, 1)
    sock.send(data, MORE if how == "more" else 0)


HOW = ("cork", "more")


@pytest.mark.parametrize("how", HOW)
def test_no_longer_than_the_ceiling(how: str) -> None:
    with by_hand() as it:
        sock, _ = connected(it)
        hold(sock, how, b"head")
        first = it.over(1, 0.01)
        assert [one.data for _, one in first] == [b"head"] * len(first)
        assert CEILING_S <= first[0][0] < CEILING_S + 0.02
        sock.close()


def test_what_was_held_goes_as_one() -> None:
    with by_hand() as it:
        sock, _ = connected(it)
        hold(sock, "cork", b"a" * 40)
        assert it.over(0.1) == []
        sock.send(b"b" * 40)
        assert it.over(0.05) == []
        sock.setsockopt(TCP, CORK, 0)
        (segment,) = it.sent()
        assert segment.data == b"a" * 40 + b"b" * 40
        sock.close()


def test_the_ceiling_is_of_the_first() -> None:
    with by_hand() as it:
        sock, _ = connected(it)
        hold(sock, "cork", b"a")
        assert it.over(0.15) == []
        sock.send(b"b")
        ((when, segment), *_) = it.over(0.5, 0.01)
        assert segment.data == b"ab"
        assert when < 0.07
        sock.close()


def test_a_full_segment_is_not_held() -> None:
    with by_hand() as it:
        sock, _ = connected(it)
        sock.setsockopt(TCP, CORK, 1)
        sock.send(b"x" * 1460 + b"rest")
        assert sum(len(one.data) for one in it.sent()) == 1460
        sock.close()


@pytest.mark.parametrize("how", HOW)
def test_what_comes_from_the_peer(how: str) -> None:
    """It is acknowledged at once, without what is held: as on Linux, where it is in sequence."""
    with by_hand() as it:
        sock, following = connected(it)
        hold(sock, how, b"head")
        following = replace(following, flags="PA", data=b"hello")
        sent = it.give(following) + [one for _, one in it.over(0.1, 0.01)]
        assert [one.data for one in sent] == [b""]
        assert sent[-1].ack == following.seq + 5
        sock.close()


def test_an_acknowledgement_sends_what_more_holds() -> None:
    with by_hand() as it:
        sock, following = connected(it)
        sock.send(b"first")
        (first,) = it.sent()
        hold(sock, "more", b"second")
        sent = it.give(replace(following, ack=first.seq + 5))
        assert [one.data for one in sent] == [b"second"]
        sock.close()


def test_an_acknowledgement_does_not_uncork() -> None:
    with by_hand() as it:
        sock, following = connected(it)
        sock.send(b"first")
        (first,) = it.sent()
        hold(sock, "cork", b"second")
        assert it.give(replace(following, ack=first.seq + 5)) == []
        ((when, segment), *_) = it.over(0.5, 0.01)
        assert segment.data == b"second"
        assert when >= CEILING_S - 0.01
        sock.close()


@pytest.mark.parametrize("how", HOW)
def test_what_ends_it(how: str) -> None:
    for end in (
        lambda sock: sock.shutdown(socket.SHUT_WR),
        lambda sock: sock.close(),
        lambda sock: sock.setsockopt(TCP, socket.TCP_NODELAY, 1),
    ):
        with by_hand() as it:
            sock, _ = connected(it)
            hold(sock, how, b"head")
            assert it.sent() == []
            end(sock)
            assert b"".join(one.data for one in it.sent()) == b"head"
            sock.close()
