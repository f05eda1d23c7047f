"""What TCP's options do on the wire: TCP_SYNCNT, TCP_LINGER2, TCP_DEFER_ACCEPT, TCP_NOTSENT_LOWAT,
TCP_WINDOW_CLAMP, and IP_TOS, which leaves ECN's bits alone."""

from __future__ import annotations

import errno
import select
import socket
from dataclasses import replace

import pytest
from by_hand import FAR, MSS, ByHand, Segment, by_hand

from pystack.sockets import Socket

TCP, SOL = socket.IPPROTO_TCP, socket.SOL_SOCKET
NOTSENT_LOWAT, CLAMP = 25, 10


def connecting(it: ByHand, **options: int) -> tuple[Socket, Segment]:
    """A socket that connects, and its SYN."""
    sock = it.net.socket(socket.AF_INET)
    for name, value in options.items():
        sock.setsockopt(TCP, getattr(socket, name), value)
    sock.setblocking(False)
    assert sock.connect_ex((FAR, 80)) == errno.EINPROGRESS
    (syn,) = it.sent()
    return sock, syn


def connected(it: ByHand, **options: int) -> tuple[Socket, Segment]:
    """A connection, and the segment that the peer sends next, an ACK."""
    sock, syn = connecting(it, **options)
    it.give(Segment(80, syn.sport, "SA", 1000, syn.seq + 1, options=MSS))
    return sock, Segment(80, syn.sport, "A", 1001, syn.seq + 1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_how_often_a_syn_is_sent(count: int) -> None:
    with by_hand() as it:
        sock, _ = connecting(it, TCP_SYNCNT=count)
        assert [one.flags for _, one in it.over(60)] == ["S"] * count
        assert sock.getsockopt(SOL, socket.SO_ERROR) == errno.ETIMEDOUT
        sock.close()


@pytest.mark.parametrize(("seconds", "gone_s"), [(2, 2), (40, 40), (0, 60)])
def test_how_long_it_waits_for_a_fin(seconds: int, gone_s: float) -> None:
    with by_hand() as it:
        sock, following = connected(it, TCP_LINGER2=seconds)
        sock.close()
        (fin,) = it.sent()
        following = replace(following, ack=fin.seq + 1)
        it.give(following)
        it.over(gone_s - 0.5)
        assert [one.state.name for one in it.net.connections() if one.state] == ["FIN_WAIT_2"]
        it.over(1)
        assert list(it.net.connections()) == []


def test_it_does_not_wait_for_a_fin() -> None:
    with by_hand() as it:
        sock, following = connected(it, TCP_LINGER2=-1)
        sock.close()
        (fin,) = it.sent()
        it.give(replace(following, ack=fin.seq + 1))
        answers = [one for _, one in it.over(0.1)]
        assert list(it.net.connections()) == []
        assert all("R" in one.flags for one in answers)


def handshake(it: ByHand) -> tuple[Segment, Segment]:
    """A listener's SYN-ACK, and the ACK that it gets."""
    (answer,) = it.give(Segment(7, 80, "S", 100, options=MSS))
    assert answer.flags == "SA"
    return answer, Segment(7, 80, "A", 101, answer.seq + 1)


def test_an_ack_alone_makes_no_connection() -> None:
    with by_hand() as it:
        listener = it.listen()
        listener.setblocking(False)
        listener.setsockopt(TCP, socket.TCP_DEFER_ACCEPT, 3)  # two timeouts: one second, two
        _, ack = handshake(it)
        assert it.give(ack) == []
        with pytest.raises(BlockingIOError):
            listener.accept()
        assert it.over(2.8) == []
        # The peer is asked for its ACK again at the end, and that will do.
        assert [one.flags for _, one in it.over(0.5)] == ["SA"]
        it.give(ack)
        listener.accept()[0].close()
        listener.close()


def test_data_makes_a_connection_at_once() -> None:
    with by_hand() as it:
        listener = it.listen()
        listener.setblocking(False)
        listener.setsockopt(TCP, socket.TCP_DEFER_ACCEPT, 30)
        _, ack = handshake(it)
        it.give(ack)
        assert it.over(5) == []
        it.give(replace(ack, flags="PA", data=b"hello"))
        sock, _ = listener.accept()
        assert sock.recv(9) == b"hello"
        sock.close()
        listener.close()


def test_how_much_may_wait_to_be_sent() -> None:
    with by_hand() as it:
        sock, following = connected(it)
        sock.setsockopt(TCP, NOTSENT_LOWAT, 20_000)
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLOUT)
        assert poll.poll(0)
        sent = 0
        with pytest.raises(BlockingIOError):
            while True:
                sent += sock.send(bytes(10_000))
        flight = sum(len(one.data) for one in it.sent())
        assert 20_000 <= sent - flight < 20_000 + 32_768 + 10_000
        assert not poll.poll(0)
        it.give(replace(following, ack=following.ack + flight))
        for _ in range(8):  # what has left is acknowledged, until all but little has left
            left = sum(len(one.data) for one in it.sent())
            flight += left
            it.give(replace(following, ack=following.ack + flight))
        assert poll.poll(0)
        sock.close()


def test_a_clamped_window() -> None:
    with by_hand() as it:
        listener = it.listen()
        listener.setsockopt(TCP, CLAMP, 5000)
        answer, ack = handshake(it)
        assert answer.window == 5000
        it.give(ack)
        sock, _ = listener.accept()
        (seen,) = it.give(replace(ack, flags="PA", data=bytes(3000)))
        assert seen.window == 2000
        sock.close()
        listener.close()


def test_ecn_is_no_type_of_service() -> None:
    with by_hand() as it, it.net.socket(socket.AF_INET) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xB8 | 3)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0xB8
        sock.setblocking(False)
        sock.connect_ex((FAR, 80))
        it.net.step()
        frame = it.end.receive(0)
        assert frame is not None
        assert frame[14:16] == b"\x45\xb8"
