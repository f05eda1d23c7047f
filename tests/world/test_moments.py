"""Snapshots of a World: back to a moment, and on from there in other ways."""

from __future__ import annotations

import itertools
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from pystack._native.engines import default_engine
from pystack.world import CoDel, Fault, FqCoDel, Host, Link, NormalDelay, World, WorldSnapshot

pytestmark = pytest.mark.skipif(
    default_engine() == "gvisor", reason="gvisor keeps the state of all its Stacks together"
)
SEGMENT = 1448


def connected(world: World, **conditions: object) -> tuple[Link, socket.socket, socket.socket]:
    """A connection whose both ends are in this thread."""
    client, server = world.host("client"), world.host("server")
    link = world.link(client, server, **{"delay": "20ms", **conditions})
    with server.sockets.create_server(("", 80)) as listener:
        sock = client.sockets.create_connection(("server", 80))
        served, _peer = listener.accept()
    world.sleep(5)
    return link, sock, served


def receive(served: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += served.recv(65536)
    return data


def test_each_loss_of_the_next_six_frames() -> None:
    data = random.Random(1).randbytes(6 * SEGMENT)
    took: dict[tuple[bool, ...], float] = {}
    stories: list[str] = []
    with World(seed=7, trace=True) as world:
        link, sock, served = connected(world)
        before = world.snapshot()
        patterns = list(itertools.product((False, True), repeat=6))
        for pattern in [*patterns, *patterns[::9]]:
            world.restore(before)
            assert world.now == before.at
            link.lose_next(link.ends[0], pattern)
            sock.sendall(data)
            assert receive(served, len(data)) == data
            lost = world.trace.where(sender="client", dropped=True, since=before.at)
            sent = world.trace.where(sender="client", since=before.at).frames[:6]
            assert [one.dropped for one in sent] == list(pattern)
            assert len(lost) == sum(pattern)
            took[pattern] = world.now - before.at
            stories.append(f"{pattern} {world.trace} {world.tape}")
    assert stories[64:] == stories[:64:9]  # whatever was tried in between
    assert took[(False,) * 6] == pytest.approx(0.02, abs=0.001)
    assert min(took.values()) == took[(False,) * 6]
    assert len({round(one, 3) for one in took.values()}) > 5


@pytest.mark.parametrize(
    "conditions",
    [
        {"loss": 0.1, "jitter": "5ms", "duplicate": 0.05, "corrupt": 0.02, "reorder": 0.1},
        {"rate": "2Mbit/s", "queue": 5, "to_bad": 0.05, "to_good": 0.3},
        {"rate": "2Mbit/s", "queue": CoDel(target="1ms")},
        {
            "rate": "2Mbit/s",
            "queue": FqCoDel(target="1ms"),
            "delay": NormalDelay("9ms", "3ms", 0.5),
        },
    ],
)
def test_the_same_again(conditions: dict[str, object]) -> None:
    """From a moment with frames on their way, in queues and in timers."""
    with World(seed=5, trace=True) as world:
        link, sock, served = connected(world, **conditions)
        sock.sendall(bytes(30_000))
        world.sleep(0.013)
        before = world.snapshot()
        found = []
        for _each in range(3):
            chances = random.random(), world.choose("x", range(1000))
            receive(served, 30_000)
            world.note("received")
            link.change(delay="1ms", queue=9)
            sock.sendall(bytes(30_000))
            receive(served, 30_000)
            world.sleep(2)
            told = [link.counts(end) for end in link.ends]
            found.append(
                f"{world.now} {chances} {told} {world.trace} {world.tape} {world.counts()}"
            )
            world.restore(before)
            assert str(link.conditions(link.ends[0])) == str(link.conditions(link.ends[1]))
        assert found[0] == found[1] == found[2]


def test_switches_and_nats_are_as_they_were() -> None:
    with World(seed=3, trace=True) as world:
        lan, nat = world.switch("lan"), world.nat("nat", "symmetric", preserve_ports=False)
        peer, server = world.host("peer"), world.host("server")
        world.link(peer, lan, addresses=("192.168.1.2/24", ()))
        world.link(nat.inside, lan, addresses=("192.168.1.1/24", ()))
        world.link(nat.outside, server, addresses=("198.51.100.1/24", "198.51.100.2/24"))
        peer.routes.add("0.0.0.0/0", gateway="192.168.1.1")
        with peer.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b"before", ("198.51.100.2", 9))
            world.sleep(1)
            before, mapped, seen = world.snapshot(), nat.mappings(), str(world.trace)
            stories = []
            for _each in range(2):
                for port in range(10, 30):
                    sock.sendto(b"behind", ("198.51.100.2", port))
                world.sleep(1)
                stories.append((nat.mappings(), nat.counts(), lan.counts(), str(world.trace)))
                world.restore(before)
                assert nat.mappings() == mapped
                assert str(world.trace) == seen
            assert stories[0] == stories[1]
            world.sleep(400)
            assert nat.mappings() == []


@pytest.fixture
def branched() -> Iterator[tuple[World, WorldSnapshot, Host]]:
    with World() as world:
        host = world.host("a")
        yield world, world.snapshot(), host


def test_what_cannot_be_copied_is_refused(branched: tuple[World, WorldSnapshot, Host]) -> None:
    world, before, host = branched
    thread = host.thread(threading.Event().wait)
    with pytest.raises(OSError, match="other threads take part"):
        world.snapshot()
    with pytest.raises(OSError, match="other threads take part"):
        world.restore(before)
    host.crash()
    del thread

    async def main() -> None:
        with pytest.raises(OSError, match=r"tasks of World\.run"):
            world.snapshot()

    world.run(main())


def test_what_has_changed_is_refused(branched: tuple[World, WorldSnapshot, Host]) -> None:
    world, before, host = branched
    with host.socket(), pytest.raises(OSError, match="opened since"):
        world.restore(before)
    world.restore(before)
    with host.socket():
        within = world.snapshot()
    with pytest.raises(OSError, match="closed since"):
        world.restore(within)
    world.link(host, world.host("b"))
    with pytest.raises(OSError, match="made, restarted or closed since"):
        world.restore(before)
    between = world.snapshot()
    host.restart()
    with pytest.raises(OSError, match="made, restarted or closed since"):
        world.restore(between)
    world.restore(world.snapshot())


def test_another_worlds_snapshot_and_faults_are_refused() -> None:
    with World() as world:
        before = world.snapshot()
    with World(faults=[Fault("crash", "a", 1, 1)]) as other:
        other.host("a")
        with pytest.raises(OSError, match="faults happen in a thread"):
            other.snapshot()
    with pytest.raises(OSError, match="not open"):
        world.restore(before)
    with World() as third, pytest.raises(OSError, match="another World"):
        third.restore(before)


def test_a_plan_has_an_end() -> None:
    with World() as world:
        link, _sock, _served = connected(world)
        with pytest.raises(ValueError, match="64 frames at most, not 65"):
            link.lose_next(link.ends[0], [True] * 65)
