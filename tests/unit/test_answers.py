"""What is answered to what is unacceptable, and how often; what resets say and do; SYNs that cross,
that are forged, or that carry more than themselves."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from by_hand import FAR, MSS, OURS, SACK, SCALE_7, ByHand, Segment, by_hand, timestamp

import pystack
from pystack.hypercalls import ManualClock
from pystack.nic import PythonNic
from pystack.sockets import Socket

ALL = MSS + SACK + timestamp(7000) + SCALE_7


def connecting(it: ByHand) -> tuple[Socket, Segment]:
    """A socket that connects, and its SYN."""
    sock = it.net.socket(socket.AF_INET)
    sock.setblocking(False)
    assert sock.connect_ex((FAR, 80)) == errno.EINPROGRESS
    (syn,) = it.sent()
    return sock, syn


def connected(it: ByHand, options: bytes = MSS) -> tuple[Socket, Segment]:
    """A socket that is connected; and the segment that comes next, an ACK."""
    sock, syn = connecting(it)
    answer = Segment(80, syn.sport, "SA", 1000, syn.seq + 1, options=options)
    (ack,) = it.give(answer)
    assert ack.flags == "A"
    following = Segment(80, syn.sport, "A", 1001, syn.seq + 1)
    if ack.stamps is not None:
        following.options = timestamp(7001, ack.stamps[0])
    return sock, following


def flags(segments: list[Segment]) -> list[str]:
    return [one.flags for one in segments]


def state(it: ByHand) -> str:
    (one,) = it.net.connections()
    assert one.state is not None
    return one.state.name


# --- how often -----------------------------------------------------------------------------------


def test_two_stacks_that_disagree_do_not_storm() -> None:
    """Ten bytes are injected once: each end's ACK is unacceptable to the other one from then on."""
    clock = ManualClock()
    ways: tuple[list[bytes], list[bytes]] = ([], [])
    nics = [PythonNic(way.append, 1500) for way in ways]
    frames = 0

    def run(seconds: float) -> None:
        nonlocal frames
        end = clock.now_us() + seconds * 1e6
        while clock.now_us() < end:
            for way, nic in zip(ways, reversed(nics), strict=True):
                frames += len(way)
                for frame in way:
                    nic.deliver(frame)
                way.clear()
            for net in nets:
                net.step()
            assert frames < 1000
            if not any(ways):
                clock.advance(0.01)

    with (
        pystack.Stack(threaded=False, clock=clock, seed=1) as a,
        pystack.Stack(threaded=False, clock=clock, seed=2) as b,
    ):
        nets = (a, b)
        for number, (net, nic) in enumerate(zip(nets, nics, strict=True), 1):
            net.attach(nic, f"10.0.0.{number}/24", mac=f"02:00:00:00:00:0{number}")
        with b.socket() as listener, a.socket() as client:
            listener.bind(("10.0.0.2", 80))
            listener.listen()
            client.setblocking(False)
            client.connect_ex(("10.0.0.2", 80))
            run(3)
            server = listener.accept()[0]
            server.setblocking(False)
            server.send(b"genuine")
            a.step()
            b.step()
            (frame,) = ways[1]
            genuine = Segment.read(frame)
            assert genuine is not None
            ways[1].clear()  # it never arrives; what does is longer
            genuine.data = b"injected!!"
            forged = genuine.frame()
            nics[0].deliver(bytes.fromhex("020000000001020000000002") + forged[12:])
            frames = 0
            run(60)
            assert client.recv(100) == b"injected!!"
            assert frames < 300
            server.close()


def until_silent(it: ByHand, following: Segment) -> int:
    """Plays a Stack that has seen other numbers, and answers each ACK alike: how many came."""
    answers = 0
    while found := it.give(following):
        answers += len(found)
        assert answers < 100
    return answers


UNACCEPTABLE: dict[str, Callable[[Segment], Segment]] = {
    "an old number": lambda one: replace(one, seq=one.seq - 100_000),
    "a number to come": lambda one: replace(one, seq=one.seq + (1 << 30)),
    "an ACK of what was never sent": lambda one: replace(one, ack=one.ack + 1),
    "an ACK of long ago": lambda one: replace(one, ack=one.ack - (1 << 30)),
    "a reset in the window": lambda one: replace(one, flags="R", seq=one.seq + 9),
    "a SYN": lambda one: replace(one, flags="S"),
    "an old timestamp": lambda one: replace(one, options=timestamp(5)),
}


@pytest.mark.parametrize("what", UNACCEPTABLE)
def test_an_answer_twice_a_second(what: str) -> None:
    with by_hand() as it:
        sock, following = connected(it, ALL)
        following = UNACCEPTABLE[what](following)
        assert until_silent(it, following) == 1
        for _ in range(20):
            it.give(following)
        answers = [one for _when, one in it.over(0.4)]
        assert answers == []
        it.clock.advance(0.2)
        assert until_silent(it, following) == 1
        assert it.net.counters()["tcp.answers_skipped"] >= 20
        it.net.sysctl["net.ipv4.tcp_invalid_ratelimit"] = 0
        assert len(it.give(*[following] * 20)) == 20
        sock.close()


def test_text_that_comes_again_is_always_acknowledged() -> None:
    with by_hand() as it:
        sock, following = connected(it, ALL)
        following.data = b"text"
        it.give(following)
        assert sock.recv(100) == b"text"
        for _ in range(20):
            (answer,) = it.give(following)
            assert answer.ack == following.seq + 4
            assert answer.option(5) is not None  # RFC 2883
        sock.close()


def test_a_limit_for_all_connections_together() -> None:
    with by_hand() as it:
        it.net.sysctl["net.ipv4.tcp_challenge_ack_limit"] = 20
        it.net.sysctl["net.ipv4.tcp_invalid_ratelimit"] = 0
        sock, following = connected(it)
        following.flags = "S"
        counts = []
        for _ in range(10):
            counts.append(sum(len(it.give(*[following] * 10)) for _ in range(10)))
            it.clock.advance(1)
        assert all(10 <= one < 30 for one in counts)
        assert len(set(counts)) > 1  # nobody can count what others got
        it.net.sysctl["net.ipv4.tcp_challenge_ack_limit"] = 0
        it.clock.advance(1)
        assert it.give(following) == []
        sock.close()


@pytest.mark.parametrize("kind", ["A", "S", "R"])
def test_handshakes_answer_as_seldom(kind: str) -> None:
    with by_hand() as it, it.listen():
        (first,) = it.give(Segment(7, 80, "S", 99, options=ALL))
        again = Segment(7, 80, kind, 99, first.seq + 1, options=ALL)
        if kind == "R":
            again.seq += 100
        elif kind == "A":
            again.seq -= 100_000
        assert sum(len(it.give(again)) for _ in range(50)) == 1


# --- timestamps that are missing -----------------------------------------------------------------


def test_a_last_ack_without_its_timestamp_opens() -> None:
    with by_hand() as it, it.listen() as listener:
        (answer,) = it.give(Segment(7, 80, "S", 99, options=ALL))
        assert answer.stamps is not None
        assert it.give(Segment(7, 80, "A", 100, answer.seq + 1)) == []
        sock = listener.accept()[0]
        sock.setblocking(False)
        it.give(Segment(7, 80, "AP", 100, answer.seq + 1, b"without"))
        assert sock.recv(100) == b"without"
        sock.send(b"with")
        assert all(one.stamps is not None for one in it.sent())
        sock.close()


# --- TIME-WAIT -----------------------------------------------------------------------------------


def time_wait(it: ByHand, options: bytes = MSS) -> Segment:
    """A connection that listener 80 had, in TIME-WAIT; the peer's next segment."""
    with it.listen() as listener:
        sock, following = it.open(listener, 7, options=options, seq=500_000)
        sock.close()
        (fin,) = it.sent()
        following.ack, following.flags = fin.seq + 1, "FA"
        assert flags(it.give(following)) == ["A"]
        following.seq += 1
        following.flags = "A"
    assert state(it) == "TIME_WAIT"
    return following


def test_a_reset_ends_time_wait_and_its_ports_are_free() -> None:
    with by_hand() as it:
        following = time_wait(it)
        with it.listen() as listener:
            # A SYN of lower numbers, as of a host that has started anew.
            syn = Segment(7, 80, "S", 3, options=MSS)
            (answer,) = it.give(syn)
            assert (answer.flags, answer.ack) == ("A", following.seq)
            assert it.give(Segment(7, 80, "R", answer.ack + 1)) == []
            assert len(it.net.connections()) == 2
            assert it.give(Segment(7, 80, "R", answer.ack)) == []
            assert len(it.net.connections()) == 1
            sock, _last = it.open(listener, 7, seq=3)
            sock.close()
            it.give(Segment(7, 80, "R", 4))


def test_rfc_1337_keeps_time_wait() -> None:
    with by_hand() as it:
        it.net.sysctl["net.ipv4.tcp_rfc1337"] = 1
        following = time_wait(it)
        following.flags = "R"
        assert it.give(following) == []
        assert state(it) == "TIME_WAIT"


def test_time_wait_answers_what_is_not_next() -> None:
    with by_hand() as it:
        following = time_wait(it)
        assert it.give(following) == []  # acknowledgements are not acknowledged
        following.seq += 1
        (answer,) = it.give(following)
        assert (answer.flags, answer.seq, answer.ack) == ("A", following.ack, following.seq - 1)
        assert it.give(*[following] * 20) == []
        following.data = b"!"
        assert len(it.give(following)) == 1


def test_a_syn_of_an_old_timestamp_opens_nothing() -> None:
    with by_hand() as it:
        following = time_wait(it, ALL)
        with it.listen() as listener:
            syn = Segment(7, 80, "S", following.seq + 100, options=MSS + timestamp(10))
            assert flags(it.give(syn)) == ["A"]
            # Lower numbers, and a later timestamp (RFC 6191).
            sock, _last = it.open(listener, 7, seq=1, options=MSS + timestamp(9000))
            sock.close()
            it.give(Segment(7, 80, "R", 2))


# --- resets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [MSS, ALL])
def test_what_a_reset_says(options: bytes) -> None:
    with by_hand() as it:
        sock, following = connected(it, options)
        following.data = b"nobody reads it"
        it.give(following)
        it.over(0.1)
        sock.close()
        (reset,) = it.sent()
        assert (reset.flags, reset.window) == ("RA", 0)
        assert (reset.stamps is not None) == (options is ALL)
        if reset.stamps is not None:
            assert reset.stamps[1] == 7001


def test_a_reset_counts_both_a_syn_and_a_fin() -> None:
    with by_hand() as it:
        (reset,) = it.give(Segment(7, 81, "SF", 0, data=b"abc"))
        assert (reset.flags, reset.seq, reset.ack, reset.window) == ("RA", 0, 5, 0)
        (reset,) = it.give(Segment(7, 81, "SF", 0))
        assert reset.ack == 2


@pytest.mark.parametrize(
    ("closes", "fin_first", "error"),
    [
        (False, False, errno.ECONNRESET),  # ESTABLISHED
        (False, True, errno.EPIPE),  # CLOSE-WAIT
        (True, False, errno.ECONNRESET),  # FIN-WAIT-1, then CLOSING
        (True, True, errno.ECONNRESET),  # LAST-ACK
    ],
)
def test_what_a_reset_is_to_the_program(closes: bool, fin_first: bool, error: int) -> None:
    with by_hand() as it:
        sock, following = connected(it)
        following.flags = "FA"
        if fin_first:
            it.give(following)
        if closes:
            sock.shutdown(socket.SHUT_WR)
            it.sent()
            if not fin_first:
                it.give(following)
                assert state(it) == "CLOSING"
        following.seq += fin_first or closes
        following.flags = "RA"
        it.give(following)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == error
        sock.close()


# --- ACKs on what came twice ---------------------------------------------------------------------


def test_a_fin_that_comes_again_brings_an_ack() -> None:
    with by_hand() as it:
        sock, following = connected(it)
        sock.shutdown(socket.SHUT_WR)
        (fin,) = it.sent()
        following.flags = "FA"
        (ack,) = it.give(following)
        assert state(it) == "CLOSING"
        following.ack = fin.seq + 1
        (again,) = it.give(following)
        assert (again.flags, again.ack) == ("A", ack.ack)
        assert state(it) == "TIME_WAIT"
        sock.close()


def test_text_that_comes_again_brings_an_ack() -> None:
    with by_hand() as it:
        sock, following = connected(it)
        following.data = b"text"
        it.give(following)
        sock.send(b"answer")
        it.sent()
        following.ack += 6
        assert flags(it.give(following)) == ["A"]
        assert it.over(3) == []  # nothing is sent again: it was acknowledged
        assert sock.recv(100) == b"text"
        sock.close()


# --- SYNs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [MSS, MSS + SACK, MSS + timestamp(7000), MSS + SCALE_7, ALL])
def test_a_syn_ack_after_syns_that_crossed(options: bytes) -> None:
    with by_hand() as it:
        sock, syn = connecting(it)
        assert all(syn.option(kind) is not None for kind in (2, 3, 4, 8))
        crossing = Segment(80, syn.sport, "S", 1000, options=options, window=32767)
        (answer,) = it.give(crossing)
        assert (answer.flags, answer.seq, answer.ack) == ("SA", syn.seq, 1001)
        assert answer.option(2) is not None
        for kind in (3, 4, 8):
            assert (answer.option(kind) is not None) == (crossing.option(kind) is not None)
        last = Segment(80, syn.sport, "A", 1001, syn.seq + 1, window=2000)
        if answer.stamps is not None:
            last.options = timestamp(7001, answer.stamps[0])
        assert it.give(last) == []
        sock.send(bytes(3000))
        sent = it.sent()
        scaled = crossing.option(3) is not None
        assert scaled == (sum(len(one.data) for one in sent) > 2000)
        sock.close()


def test_a_window_is_not_scaled_after_syns_that_crossed() -> None:
    with by_hand() as it:
        sock, syn = connecting(it)
        it.give(Segment(80, syn.sport, "S", 1000, options=MSS + SACK, window=32767))
        last = Segment(80, syn.sport, "A", 1001, syn.seq + 1, window=2000)
        it.give(last)
        sock.send(bytes(3000))
        (first,) = it.sent()
        assert len(first.data) >= 1000
        last.ack += len(first.data)
        last.window = 40
        later = it.give(last) + [one for _when, one in it.over(2)]
        assert [len(one.data) for one in later[:1]] == [40]
        sock.close()


def test_a_lost_syn_ack_comes_again_after_syns_that_crossed() -> None:
    with by_hand() as it:
        sock, syn = connecting(it)
        crossing = Segment(80, syn.sport, "S", 1000, options=MSS)
        (answer,) = it.give(crossing)
        ((when, again),) = it.over(1.5)
        assert (round(when), again.flags, again.options) == (1, "SA", answer.options)
        assert flags(it.give(crossing)) == ["SA"]
        assert it.give(crossing) == []
        it.give(Segment(80, syn.sport, "A", 1001, syn.seq + 1))
        assert sock.getpeername()[0] == FAR
        sock.close()


def test_text_and_fin_in_a_syn_ack_are_taken() -> None:
    with by_hand() as it:
        sock, syn = connecting(it)
        answer = Segment(80, syn.sport, "SAF", 1000, syn.seq + 1, b"0123456789", MSS)
        acks = it.give(answer)
        assert {one.ack for one in acks[-1:]} == {1012}
        assert sock.recv(100) == b"0123456789"
        assert sock.recv(100) == b""
        assert state(it) == "CLOSE_WAIT"
        sock.close()


def test_a_forged_syn_ack_changes_nothing() -> None:
    with by_hand() as it:
        sock, syn = connecting(it)
        forged = Segment(80, syn.sport, "SA", 5, syn.seq + 77, options=ALL)
        answers = it.give(*[forged] * 30)
        # Each is reset; the SYN goes again once, and connect goes on.
        assert flags(answers).count("S") == 1
        assert flags(answers).count("R") == 30
        assert it.give(Segment(80, syn.sport, "A", 5, syn.seq + 1, options=ALL)) == []
        (ack,) = it.give(Segment(80, syn.sport, "SA", 1000, syn.seq + 1, options=MSS))
        assert ack.stamps is None
        sock.send(bytes(100))
        (sent,) = it.sent()
        assert sent.stamps is None
        it.give(Segment(80, syn.sport, "A", 1001, syn.seq + 101, window=50))
        sock.send(bytes(100))
        sent_later = it.sent() + [one for _when, one in it.over(10)]
        assert len(sent_later[0].data) == 50  # no scale
        sock.close()


def test_the_receive_buffer_may_change_while_a_socket_connects() -> None:
    with by_hand() as it:
        sock, syn = connecting(it)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
        (ack,) = it.give(Segment(80, syn.sport, "SA", 1000, syn.seq + 1, options=ALL))
        assert 0 < ack.window << 10 <= 40_000
        assert state(it) == "ESTABLISHED"
        sock.close()


def test_icmp_errors_about_what_was_not_sent_count_for_nothing() -> None:
    with by_hand() as it:
        sock, syn = connecting(it)
        for seq, ends in ((syn.seq + 1, False), (syn.seq - 1, False), (syn.seq, True)):
            quoted = Segment(syn.sport, 80, "S", seq, src=OURS, dst=FAR).frame()[14:]
            message = b"\3\3\0\0\0\0\0\0" + quoted[:28]
            total = sum(struct.unpack(f"!{len(message) // 2}H", message))
            total = (total >> 16) + (total & 0xFFFF)
            total = ~((total >> 16) + total) & 0xFFFF
            frame = bytearray(Segment(0, 0, "", data=bytes(16)).frame())
            frame[23] = 1
            frame[24:26] = b"\0\0"
            header = sum(struct.unpack("!10H", bytes(frame[14:34])))
            header = (header >> 16) + (header & 0xFFFF)
            frame[24:26] = struct.pack("!H", ~((header >> 16) + header) & 0xFFFF)
            it.end.send(bytes(frame[:34]) + message[:2] + struct.pack("!H", total) + message[4:])
            it.sent()
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            assert error == (errno.ECONNREFUSED if ends else 0)
        sock.close()
        assert it.net.connections() == []
