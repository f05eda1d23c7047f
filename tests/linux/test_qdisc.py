"""Queueing disciplines on the interfaces of the engine linux, in virtual time."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest
from failing import fails_with
from lockstep import Lockstep, lockstep

import pystack

PORT = 7
STRIDE_S = 0.001


@pytest.fixture
def pair(engine: str) -> Iterator[Lockstep]:
    with lockstep(engines=(engine, engine)) as made:
        assert len(arrivals(made, 1)) == 1  # the next hop is known from here on
        yield made


def interface(pair: Lockstep) -> pystack.Interface:
    return pair.client.interfaces[1]


def seconds_of(pair: Lockstep) -> float:
    return pair.clock.now_us() / 1e6


def arrivals(pair: Lockstep, count: int, size: int = 1000, seconds: float = 5.0) -> list[float]:
    """When datagrams that are sent at once arrive, in seconds from then."""
    with (
        pair.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        pair.server.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        for sock in (near, far):
            sock.setblocking(False)
        far.bind(("10.0.0.2", PORT))
        began, came = seconds_of(pair), []
        for _ in range(count):
            near.sendto(bytes(size), ("10.0.0.2", PORT))

        def take() -> bool:
            try:
                while far.recv(2000):
                    came.append(seconds_of(pair) - began)
            except BlockingIOError:
                return len(came) >= count
            return False

        pair.run(take, seconds=seconds, stride=STRIDE_S)
        return came


def test_it_is_read_and_removed(pair: Lockstep) -> None:
    eth = interface(pair)
    assert not eth.qdisc().own
    made = eth.qdisc("netem", delay=0.02, jitter=0.001, loss=0.25, rate=8_000_000, limit=50)
    assert made == eth.qdisc()
    assert (made.kind, made.own, made.delay, made.jitter) == ("netem", True, 0.02, 0.001)
    assert (made.loss, made.rate, made.limit) == (pytest.approx(0.25), 8_000_000, 50)
    assert repr(made).startswith("Qdisc('netem', limit=50, rate=8000000, delay=0.02")
    again = eth.qdisc("netem", loss=1.0)  # what was there is replaced, not added to
    assert (again.delay, again.rate, again.loss, again.limit) == (0, 0, 1.0, 1000)
    for _ in range(2):
        assert not eth.qdisc("default").own


def test_each_kind_has_its_parameters(pair: Lockstep) -> None:
    eth = interface(pair)
    tbf = eth.qdisc("tbf", rate=10_000_000, burst=16_000, latency=0.05)
    assert (tbf.kind, tbf.rate, tbf.burst) == ("tbf", 10_000_000, 16_000)
    assert tbf.latency == pytest.approx(0.05, abs=1e-4)
    fq = eth.qdisc("fq", limit=500, flow_limit=20, rate=1_000_000)
    assert (fq.kind, fq.limit, fq.flow_limit, fq.rate) == ("fq", 500, 20, 1_000_000)
    codel = eth.qdisc("fq_codel", target=0.01, interval=0.2, flows=64, limit=300, ecn=False)
    assert (codel.kind, codel.target, codel.interval) == (
        "fq_codel", pytest.approx(0.01, abs=2e-6), pytest.approx(0.2, abs=2e-6),
    )  # fmt: skip
    assert (codel.flows, codel.limit, codel.ecn) == (64, 300, False)
    assert eth.qdisc("fq_codel").ecn
    assert pair.client.loopback.qdisc("netem", delay=0.1).delay == 0.1


def test_netem_delays(pair: Lockstep) -> None:
    assert max(arrivals(pair, 3)) < 0.01
    interface(pair).qdisc("netem", delay=0.05)
    came = arrivals(pair, 3)
    assert len(came) == 3
    assert min(came) >= 0.05
    assert max(came) < 0.06


def test_netem_loses_and_doubles(pair: Lockstep) -> None:
    eth = interface(pair)
    eth.qdisc("netem", loss=1)
    assert arrivals(pair, 5, seconds=1) == []
    assert eth.qdisc().counts.dropped == 5
    eth.qdisc("netem", loss=0.5)
    assert 60 < len(arrivals(pair, 200, 10, seconds=1)) < 140
    eth.qdisc("netem", duplicate=1)
    assert len(arrivals(pair, 10, seconds=1)) >= 10


def test_tbf_shapes(pair: Lockstep) -> None:
    """60 frames of 1042 bytes at 1 Mbit/s take 0.5 s, less what may go at once."""
    interface(pair).qdisc("tbf", rate=1_000_000, burst=5000, latency=2.0)
    came = arrivals(pair, 60)
    assert len(came) == 60
    assert came[-1] == pytest.approx((60 * 1042 - 5000) * 8 / 1e6, rel=0.05)
    counts = interface(pair).qdisc().counts
    assert (counts.sent_packets, counts.sent_bytes) == (60, 62_520)


def test_the_same_seed_loses_the_same(engine: str) -> None:
    def once() -> list[float]:
        with lockstep(engines=(engine, engine)) as pair:
            arrivals(pair, 1)
            interface(pair).qdisc("netem", loss=0.3, delay=0.01, jitter=0.005)
            return arrivals(pair, 50, 100, seconds=1)

    assert once() == once()


def test_what_is_wrong_is_named(pair: Lockstep) -> None:
    eth = interface(pair)
    with pytest.raises(ValueError, match=r"loss is a probability from 0 to 1, not 1\.5"):
        eth.qdisc("netem", loss=1.5)
    with pytest.raises(ValueError, match="tbf needs either a latency or a limit"):
        eth.qdisc("tbf", rate=1, burst=1)
    with pytest.raises(ValueError, match="no queueing discipline 'cake' here: one of default, fq"):
        eth.qdisc("cake")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="fq has no parameter 'delay'"):
        eth.qdisc("fq", delay=1)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="reorder needs a delay"):
        eth.qdisc("netem", reorder=0.5)
    with pytest.raises(ValueError, match="delay is finite and at least 0, not -1"):
        eth.qdisc("netem", delay=-1)
    with pytest.raises(TypeError, match="delay is a number, not '20ms'"):
        eth.qdisc("netem", delay="20ms")  # type: ignore[call-overload]
    eth.detach()
    with fails_with(errno.ENODEV):
        eth.qdisc("fq")


def test_other_engines_have_none() -> None:
    with pystack.Stack() as net, pytest.raises(OSError, match=r"pystack\.nic\.impair") as raised:
        net.loopback.qdisc("fq")
    assert raised.value.errno == errno.EOPNOTSUPP
