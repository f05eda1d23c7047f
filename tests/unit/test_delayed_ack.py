"""Acknowledgements that are held back, and what sends them before (RFC 9293 3.8.6.3)."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace

import pytest
from by_hand import FAR, MSS, ByHand, Segment, by_hand
from lockstep import PORT, lockstep
from pair import RIGHT

from pystack.sockets import Socket

DELAY_S = 0.025


def connected(it: ByHand) -> tuple[Socket, Segment]:
    """A connection, and the segment with data that the peer sends next."""
    sock = it.net.socket(socket.AF_INET)
    sock.setblocking(False)
    assert sock.connect_ex((FAR, 80)) == errno.EINPROGRESS
    (syn,) = it.sent()
    it.give(Segment(80, syn.sport, "SA", 1000, syn.seq + 1, options=MSS))
    return sock, Segment(80, syn.sport, "AP", 1001, syn.seq + 1, data=b"small")


def test_a_reader_that_has_all_acknowledges() -> None:
    with by_hand() as it:
        sock, data = connected(it)
        assert it.give(data) == []
        assert sock.recv(3) == b"sma"
        assert it.sent() == []
        assert sock.recv(100) == b"ll"
        (ack,) = it.sent()
        assert (ack.flags, ack.ack, ack.data) == ("A", data.seq + 5, b"")
        sock.close()


def test_not_of_what_more_follows() -> None:
    """Without PSH the sender has not come to an end."""
    with by_hand() as it:
        sock, data = connected(it)
        it.give(replace(data, flags="A"))
        assert sock.recv(100) == b"small"
        assert it.sent() == []
        ((when, ack),) = it.over(0.1, 0.001)
        assert ack.ack == data.seq + 5
        assert when == pytest.approx(DELAY_S, abs=0.005)
        sock.close()


def test_who_answers_acknowledges_with_the_answer() -> None:
    with by_hand() as it:
        sock, data = connected(it)
        answer = b""
        for turn in range(3):
            it.give(replace(data, seq=data.seq + 5 * turn, ack=data.ack + 6 * turn))
            assert sock.recv(100) == b"small"
            early = it.sent()
            assert len(early) == (turn == 0)  # nobody knows of the answer before the first
            sock.send(b"answer")
            (answer,) = it.sent()
            assert (answer.data, answer.ack) == (b"answer", data.seq + 5 * (turn + 1))
        # It answers no longer: the delay is over once, and readers acknowledge again.
        data = replace(data, seq=answer.ack, ack=answer.seq + 6)
        it.give(data)
        assert sock.recv(100) == b"small"
        assert it.sent() == []
        assert len(it.over(0.1, 0.001)) == 1
        it.give(replace(data, seq=data.seq + 5))
        assert sock.recv(100) == b"small"
        assert len(it.sent()) == 1
        sock.close()


def test_small_records_one_way_do_not_wait() -> None:
    """Nagle's algorithm holds the next until the one before is acknowledged: 25 ms each, once."""
    with lockstep() as it, it.listen() as listener, it.client.socket() as client:
        client.setblocking(False)
        client.connect_ex((RIGHT, PORT))
        assert it.run(lambda: client.tcp_info().state.name == "ESTABLISHED")
        it.run(seconds=0.1)
        server = listener.accept()[0]
        server.setblocking(False)
        began = it.clock.now_us()

        def came() -> bool:
            try:
                return len(server.recv(2000)) == 1000
            except BlockingIOError:
                return False

        for _ in range(200):
            assert client.send(b"x" * 1000) == 1000
            assert it.run(came, seconds=1, stride=0.001)
        assert it.clock.now_us() - began <= DELAY_S * 1e6 + 1000
        server.close()
