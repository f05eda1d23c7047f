"""Loss recovery of TCP as a sender (RFC 8985, 6675, 5681), in virtual time."""

from __future__ import annotations

import pytest
from path import Path, path

from pystack.nic import Impairment

MEBIBYTE = 1 << 20
CLEAN = Impairment(delay=0.01)  # a round trip of 20 ms
SEGMENT = 1448


def test_a_bad_wire_costs_no_timeouts() -> None:
    # NewReno alone takes 20 to 30 s here.
    bad = Impairment(delay=0.0005, loss=0.05, reorder=0.05, duplicate=0.02)
    with path(bad, seed=1) as it:
        assert it.transfer(*it.connected(), 10 * MEBIBYTE) < 6


@pytest.mark.parametrize("seed", range(1, 5))
def test_one_percent_of_loss_is_what_the_square_root_says(seed: int) -> None:
    # Mathis et al.: a rate of 1.22 segments a round trip over the square root of the loss.
    with path(Impairment(delay=0.01, loss=0.01), CLEAN, seed=seed) as it:
        took = it.transfer(*it.connected(), 2 * MEBIBYTE)
    expected = 2 * MEBIBYTE / SEGMENT * 0.02 / (1.22 / 0.1)
    assert took < 1.5 * expected


def test_lost_retransmissions_are_found_without_a_timeout() -> None:
    with path(Impairment(delay=0.01, loss=0.25), CLEAN, seed=3) as it:
        assert it.transfer(*it.connected(), MEBIBYTE // 2) < 30


def test_segments_that_overtake_each_other_are_not_lost() -> None:
    with path(Impairment(delay=0.01, reorder=0.05, rate=10**8), CLEAN, seed=2) as it:
        client, server = it.connected()
        took = it.transfer(client, server, 4 * MEBIBYTE)
        assert took < 1.6  # without losses 0.4; NewReno alone takes 3.5


def warm(it: Path) -> tuple:
    """A connection that knows its round trip, and whose window is wide."""
    client, server = it.connected()
    it.transfer(client, server, 200_000)
    it.run(lambda: False, seconds=0.1)
    return client, server


def test_a_lost_tail_costs_a_probe_and_no_timeout() -> None:
    with path(CLEAN) as it:
        client, server = warm(it)
        begin = it.now
        it.wire.set(outgoing=Impairment(loss=1.0))
        client.send(bytes(3 * SEGMENT))
        it.sender.step()
        it.wire.set(outgoing=CLEAN)
        got = bytearray()
        assert it.run(lambda: arrived(server, got) == 3 * SEGMENT)
        # Two round trips and a tick until the probe, half a one back, one for the rest.
        assert it.now - begin < 0.13


def arrived(server: object, got: bytearray) -> int:
    try:
        got += server.recv(100_000)  # type: ignore[attr-defined]
    except BlockingIOError:
        pass
    return len(got)


def test_a_lost_head_is_sent_again_after_one_round_trip() -> None:
    with path(CLEAN) as it:
        client, server = warm(it)
        begin = it.now
        it.wire.set(outgoing=Impairment(loss=1.0))
        client.send(bytes(SEGMENT))
        it.sender.step()
        it.wire.set(outgoing=CLEAN)
        client.send(bytes(8 * SEGMENT))
        got = bytearray()
        assert it.run(lambda: arrived(server, got) == 9 * SEGMENT)
        assert it.now - begin == pytest.approx(0.03, abs=0.002)


def test_a_wire_that_is_cut_for_seconds_goes_on_where_it_was() -> None:
    with path(CLEAN) as it:
        client, server = warm(it)
        it.wire.set(outgoing=Impairment(loss=1.0))
        client.send(bytes(100 * SEGMENT))
        it.run(lambda: False, seconds=3)
        it.wire.set(outgoing=CLEAN)
        begin, got = it.now, bytearray()
        assert it.run(lambda: arrived(server, got) == 100 * SEGMENT)
        assert it.now - begin < 4


def test_a_peer_without_sack_is_recovered_from_too() -> None:
    with path(Impairment(delay=0.001, loss=0.02), seed=1) as it:
        it.receiver.sysctl["net.ipv4.tcp_sack"] = 0
        assert it.transfer(*it.connected(), MEBIBYTE) < 20


def test_the_first_window_is_ten_segments() -> None:  # RFC 6928 2
    with path(CLEAN) as it:
        client, server = it.connected()
        it.run(lambda: False, seconds=0.5)
        client.send(bytes(100 * SEGMENT))
        got = bytearray()
        it.run(lambda: arrived(server, got) >= 10 * SEGMENT, seconds=0.011)
        assert len(got) == 10 * SEGMENT
