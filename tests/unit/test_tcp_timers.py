"""TCP's timers, against a peer made by hand, in virtual time."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import lab_hosts
import pytest
from scapy.layers.inet import TCP
from scapy.packet import Packet

from pystack.lab.hosts.stack import StackHost
from pystack.lab.plan import Topology
from pystack.lab.tcp import Connection, connect, in_state, open_from_host
from pystack.lab.tester import Tester
from pystack.lab.verdict import CaseFailed, Inconclusive
from pystack.tables import TcpState

PLAIN: list[tuple[Any, ...]] = [("MSS", 1460)]
SACK = [*PLAIN, ("SAckOK", b"")]
STAMPED = [*SACK, ("NOP", None), ("NOP", None), ("Timestamp", (1000, 0))]
KINDS = pytest.mark.parametrize("options", [PLAIN, SACK, STAMPED], ids=["plain", "sack", "stamped"])
FAMILIES = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture
def lab() -> Iterator[Tester]:
    host = lab_hosts.kind_of("lwip").make()
    try:
        with lab_hosts.tester_of(host, Topology.HOST) as tester:
            yield tester
    finally:
        host.stop()


def stack(lab: Tester) -> Any:
    assert isinstance(lab.host, StackHost)
    return lab.host.stack


def far_away(
    lab: Tester, trip_ms: float, options: list[tuple[Any, ...]], family: int = 4
) -> Connection:
    """A connection whose handshake took so long."""
    connection = in_state(lab, "SYN-RECEIVED", options=options, family=family)
    lab.drain(trip_ms)
    connection.send("A")
    assert connection.listener is not None
    connection.sock, _peer = lab.until(connection.listener.accept)
    lab._sockets.append(connection.sock)
    return connection


def sent(connection: Connection, size: int = 100) -> tuple[float, Packet]:
    """The program sends one segment: when, and the segment."""
    connection.socket.send(bytes(size))
    packet = connection.lab.expect(connection.with_data())
    return float(packet.time), packet


def next_ones(connection: Connection, for_s: float) -> list[Packet]:
    return connection.lab.collect(connection.match(), for_s * 1000)


def ages(began: float, packets: list[Packet]) -> list[float]:
    return [round(float(one.time) - began, 3) for one in packets]


def exchange(connection: Connection, trip_ms: float) -> None:
    """One segment, acknowledged after a round trip."""
    _when, packet = sent(connection)
    connection.lab.drain(trip_ms)
    connection.acknowledge(packet)
    connection.lab.drain(100)


# --- the timeout -------------------------------------------------------------------------------


@KINDS
@FAMILIES
def test_the_least_timeout_is_a_margin(
    lab: Tester, options: list[tuple[Any, ...]], family: int
) -> None:
    # Steady round trips of 300 ms: the variance goes to 0, the margin stays.
    connection = far_away(lab, 300, options, family)
    for _ in range(20):
        exchange(connection, 300)
    began, _packet = sent(connection)
    assert ages(began, next_ones(connection, 1)) == [pytest.approx(0.5, abs=0.004)]


@KINDS
def test_the_first_round_trip_sets_the_timeout(lab: Tester, options: list[tuple[Any, ...]]) -> None:
    connection = far_away(lab, 100, options)
    began, _packet = sent(connection)
    assert ages(began, next_ones(connection, 0.6)) == [pytest.approx(0.3, abs=0.002)]


@KINDS
def test_a_connection_that_we_open_learns_from_its_syn(
    lab: Tester, options: list[tuple[Any, ...]]
) -> None:
    connection = open_from_host(lab, answer=False)
    lab.drain(100)
    connection.send("SA", options=options)
    connection.seq += 1
    connection.agree(options)
    connection.expect("A", ack=connection.seq)
    began, _packet = sent(connection)
    assert ages(began, next_ones(connection, 0.6)) == [pytest.approx(0.3, abs=0.002)]


@KINDS
def test_no_timer_fires_early(lab: Tester, options: list[tuple[Any, ...]]) -> None:
    connection = far_away(lab, 10, options)
    for pause in (60, 58, 61.3, 12.7, 49.9):
        exchange(connection, 10)  # after a retransmission the timeout stays doubled until then
        lab.drain(pause)
        began, packet = sent(connection)
        again = lab.expect(connection.with_data(), 1000)
        assert ages(began, [again]) == [pytest.approx(0.21, abs=0.005)]
        connection.acknowledge(packet)


@KINDS
def test_timeouts_double_to_two_minutes(lab: Tester, options: list[tuple[Any, ...]]) -> None:
    connection = far_away(lab, 10, options)
    began, _packet = sent(connection)
    times = [0.0, *ages(began, next_ones(connection, 1200))]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    for gap, following in itertools.pairwise(gaps):
        assert following == pytest.approx(min(2 * gap, 120.0), abs=0.01)
    assert len(gaps) == 15  # net.ipv4.tcp_retries2


def test_in_recovery_the_timeout_counts_from_the_retransmission(lab: Tester) -> None:
    connection = far_away(lab, 10, SACK)
    connection.socket.send(bytes(10 * 1460))
    assert connection.ack is not None
    start = connection.ack
    assert len(lab.collect(connection.with_data(), 10, at_most=10)) == 10
    for end in (5, 6, 7):
        lab.run(3)
        edges = (start + 4 * 1460, start + end * 1460)
        connection.send("A", options=[("NOP", None), ("NOP", None), ("SAck", edges)])
    first, second = lab.collect(connection.match(seq=start), 400, at_most=2)
    assert float(first.time) < 0.2
    assert ages(float(first.time), [second]) == [pytest.approx(0.21, abs=0.005)]


# --- giving up ---------------------------------------------------------------------------------


@KINDS
@FAMILIES
def test_the_last_retransmission_has_its_time(
    lab: Tester, options: list[tuple[Any, ...]], family: int
) -> None:
    stack(lab).sysctl["net.ipv4.tcp_retries2"] = 2
    connection = far_away(lab, 100, options, family)
    began, packet = sent(connection, 1000)
    assert ages(began, next_ones(connection, 2)) == [
        pytest.approx(0.3, abs=0.01), pytest.approx(0.9, abs=0.01),
    ]  # fmt: skip
    connection.acknowledge(packet)  # 100 ms before it would be over
    lab.drain(10)
    sent(connection, 10)


def test_a_connection_ends_after_the_last_retransmissions_time(lab: Tester) -> None:
    stack(lab).sysctl["net.ipv4.tcp_retries2"] = 2
    connection = far_away(lab, 100, PLAIN)
    sent(connection)
    lab.drain(2_090)
    assert connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    lab.drain(20)
    connection.expect_error(TimeoutError)


def test_the_last_syn_has_its_time(lab: Tester) -> None:
    stack(lab).sysctl["net.ipv4.tcp_syn_retries"] = 2
    connection = open_from_host(lab, answer=False)
    began = lab.now
    assert ages(began, next_ones(connection, 6.9)) == [pytest.approx(1), pytest.approx(3)]
    connection.send("SA", options=PLAIN)
    connection.seq += 1
    connection.expect("A", ack=connection.seq)


def test_connect_fails_when_the_last_syn_has_had_its_time(lab: Tester) -> None:
    stack(lab).sysctl["net.ipv4.tcp_syn_retries"] = 2
    connection = open_from_host(lab, answer=False)
    lab.drain(6_990)
    assert connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    lab.drain(20)
    assert connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 110


@pytest.mark.parametrize("window", [0, 65535])
def test_the_users_timeout_is_exact(lab: Tester, window: int) -> None:
    connection = connect(lab, options=SACK, window=window)
    connection.socket.setsockopt(socket.IPPROTO_TCP, 18, 3000)  # TCP_USER_TIMEOUT
    connection.socket.send(b"x")
    lab.drain(2_990)
    assert connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    lab.drain(20)
    connection.expect_error(TimeoutError)


# --- keep-alives ---------------------------------------------------------------------------------


def keeps_alive(connection: Connection, idle: int = 2, interval: int = 1, count: int = 2) -> None:
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        (socket.TCP_KEEPIDLE, idle), (socket.TCP_KEEPINTVL, interval), (socket.TCP_KEEPCNT, count),
    ):  # fmt: skip
        connection.socket.setsockopt(socket.IPPROTO_TCP, name, value)


@pytest.mark.parametrize("state", ["ESTABLISHED", "CLOSE-WAIT", "FIN-WAIT-2"])
@FAMILIES
def test_a_dead_peer_is_found_out(lab: Tester, state: str, family: int) -> None:
    connection = in_state(lab, state, family=family, options=STAMPED)
    lab.drain(100)
    keeps_alive(connection)
    began = lab.now
    packets = next_ones(connection, 6)
    assert ages(began, packets) == pytest.approx([1.9, 2.9, 3.9], abs=0.15)
    assert all("Timestamp" in dict(one[TCP].options) for one in packets[:2])
    assert "R" in packets[2][TCP].flags
    if state == "CLOSE-WAIT":
        assert connection.socket.recv(1) == b""  # which was there before
    else:
        connection.expect_error(TimeoutError)


@pytest.mark.parametrize("state", ["ESTABLISHED", "CLOSE-WAIT", "FIN-WAIT-2"])
def test_one_that_answers_is_kept(lab: Tester, state: str) -> None:
    connection = in_state(lab, state, options=STAMPED)
    lab.drain(100)
    keeps_alive(connection)
    for _ in range(10):
        lab.expect(connection.match(flags="A"), 3000)
        connection.send("A")
    assert connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


# --- late timers -------------------------------------------------------------------------------


JUMPS = pytest.mark.parametrize("seconds", [1, 10, 60, 1000, 86400])


def jump(lab: Tester, seconds: float) -> None:
    """The clock moves, and the Stack does not: its process was stopped."""
    assert isinstance(lab.host, StackHost)
    lab.host._clock.advance(seconds)


@KINDS
@JUMPS
def test_what_has_come_counts_before_late_timers(
    lab: Tester, options: list[tuple[Any, ...]], seconds: int
) -> None:
    connection = far_away(lab, 10, options)
    _began, packet = sent(connection)
    connection.acknowledge(packet)
    jump(lab, seconds)
    assert next_ones(connection, 1) == []
    sent(connection)


@KINDS
@JUMPS
def test_a_late_timer_fires_once(lab: Tester, options: list[tuple[Any, ...]], seconds: int) -> None:
    connection = far_away(lab, 10, options)
    _began, packet = sent(connection)
    jump(lab, seconds)
    assert len(lab.collect(connection.match(), 50)) == 1
    connection.acknowledge(packet)
    lab.drain(10)
    sent(connection)


@pytest.mark.slow
def test_an_acknowledgement_behind_many_frames_counts(lab: Tester) -> None:
    connection = connect(lab, options=PLAIN)
    _began, packet = sent(connection)
    for number in range(1000):
        lab.send(lab.udp(4000, 5000 + number))
    connection.acknowledge(packet)
    jump(lab, 600)
    assert next_ones(connection, 1) == []


def test_a_flood_does_not_hold_timers_up(lab: Tester) -> None:
    connection = connect(lab, options=PLAIN)
    sent(connection)
    assert isinstance(lab.host, StackHost)
    frame = bytes(lab.frame_for(lab.udp(4000, 5000)))
    for _ in range(100):  # more than one step takes, each 20 ms
        with suppress(OSError):  # the wire holds no more
            for _frame in range(200):
                lab.host.send(0, frame)
        jump(lab, 0.02)
        stack(lab).step()
    assert stack(lab).counters()["tcp.retransmitted_segments"] == 3  # after 0.2, 0.6 and 1.4 s


def test_keep_alives_are_not_made_up_for(lab: Tester) -> None:
    connection = connect(lab, options=STAMPED)
    keeps_alive(connection, idle=10, interval=5, count=3)
    jump(lab, 86400)
    assert len(lab.collect(connection.match(), 1000)) == 1
    connection.send("A")
    lab.drain(100)
    connection.still_works()


def test_window_probes_are_not_made_up_for(lab: Tester) -> None:
    connection = connect(lab, options=STAMPED, window=0)
    connection.socket.send(b"x" * 1000)
    jump(lab, 3600)
    assert len(lab.collect(connection.match(), 100)) == 1
    connection.window = 65535
    connection.send("A")
    lab.expect(connection.with_data())


# --- orphans -----------------------------------------------------------------------------------


def rest(lab: Tester) -> list[Any]:
    return [one for one in stack(lab).connections() if one.state is not TcpState.LISTEN]


@pytest.mark.parametrize("state", ["FIN-WAIT-1", "CLOSING", "LAST-ACK"])
@KINDS
def test_an_orphan_that_nobody_answers_ends(
    lab: Tester, state: str, options: list[tuple[Any, ...]]
) -> None:
    connection = in_state(lab, state, options=options)
    connection.socket.close()
    lab.drain(130_000)
    assert rest(lab) == []


def test_an_orphan_whose_window_stays_closed_ends(lab: Tester) -> None:
    connection = connect(lab, options=STAMPED, window=0)
    before = stack(lab).arena.used_bytes
    connection.socket.send(bytes(100_000))
    connection.socket.close()
    for _ in range(40):
        for _probe in lab.collect(connection.match(), 10_000):
            connection.send("A")
    assert rest(lab) == []
    assert stack(lab).arena.used_bytes < before


def test_an_orphan_with_a_slow_reader_delivers_all(lab: Tester) -> None:
    connection = connect(lab, options=STAMPED, window=0)
    size, got, rounds = 10_000, 0, 0
    connection.socket.send(bytes(size))
    connection.socket.close()
    finished = False
    while not finished:
        lab.drain(100_000)
        connection.window = 1000
        connection.send("A")
        packet = lab.expect(connection.match(), 1000)
        got += len(connection.take(packet))
        rounds += 1
        finished = "F" in packet[TCP].flags
        connection.window = 0
        connection.send("A")
    assert got == size
    assert rounds <= 15  # a window that was closed at first makes no small segments


def test_too_many_orphans_make_room(lab: Tester) -> None:
    stack(lab).sysctl["net.ipv4.tcp_max_orphans"] = 2
    connections = [connect(lab, options=SACK, window=0) for _ in range(4)]
    for connection in connections:
        connection.socket.send(b"x")
        connection.socket.close()
    connections[0].expect_reset()
    connections[1].expect_reset()
    assert len(rest(lab)) == 2


@FAMILIES
@pytest.mark.parametrize("size", [1, 60_000, 500_000])
def test_an_orphan_whose_neighbour_is_gone_ends(lab: Tester, size: int, family: int) -> None:
    connection = connect(lab, options=STAMPED, family=family)
    before = stack(lab).arena.used_bytes
    stack(lab).neighbours.flush()
    with lab.silent():
        connection.socket.send(bytes(size))
        connection.socket.close()
        lab.run(240_000)
        assert rest(lab) == []
        assert stack(lab).arena.used_bytes <= before


@FAMILIES
def test_an_orphan_without_a_route_ends(lab: Tester, family: int) -> None:
    connection = connect(lab, options=STAMPED, family=family)
    connection.socket.send(bytes(100_000))
    connection.socket.close()
    stack(lab).interfaces[-1].up = False
    lab.run(240_000)
    assert rest(lab) == []


def test_orphans_make_room_where_memory_runs_out(lab: Tester) -> None:
    net = stack(lab)
    for _ in range(20):
        connection = connect(lab, options=SACK, window=0)
        connection.socket.send(bytes(100_000))
        connection.socket.close()
    net.arena.set_limit(net.arena.used_bytes)
    for _ in range(20):  # a SYN that is lost for want of memory comes again
        try:
            connect(lab).still_works()
        except (Inconclusive, CaseFailed, OSError):
            continue
        break
    else:
        raise AssertionError("no connection came about")
    assert len(rest(lab)) < 21


def test_an_orphan_that_goes_on_stays(lab: Tester) -> None:
    """Room is made by the one whose peer has acknowledged nothing for longest."""
    stack(lab).sysctl["net.ipv4.tcp_max_orphans"] = 2
    moving, stuck, newest = (connect(lab, options=SACK, window=0) for _ in range(3))
    for connection in (moving, stuck):
        connection.socket.send(bytes(3000))
        connection.socket.close()
        lab.run(10)
    moving.window = 1460
    moving.send("A")
    moving.take(lab.expect(moving.with_data()))
    moving.window = 0
    moving.send("A")
    lab.run(10)
    newest.socket.send(b"x")
    newest.socket.close()
    stuck.expect_reset()
    assert len(rest(lab)) == 2


def test_a_simultaneous_open_has_all_its_tries(lab: Tester) -> None:
    stack(lab).sysctl["net.ipv4.tcp_syn_retries"] = 5
    connection = open_from_host(lab, answer=False)
    connection.send("S", ack=0, options=PLAIN)
    connection.seq += 1
    began = float(connection.expect(lambda flags: "S" in flags and "A" in flags).time)
    lab.drain(30_000)
    assert ages(began, next_ones(connection, 2)) == [pytest.approx(31, abs=0.1)]
    connection.send("A")
    connection.still_works()
