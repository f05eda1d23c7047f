"""TCP in a World behaves like TCP: what is known of it from outside holds in virtual time."""

from __future__ import annotations

import itertools
import socket
import threading

import pytest

from pystack.examples.loss_and_round_trip import bound, goodput
from pystack.world import Host, World


@pytest.mark.parametrize(("loss", "round_trip"), [(0.01, 0.01), (0.01, 0.05), (0.03, 0.05)])
def test_goodput_over_loss_is_near_the_bound_of_mathis(
    loss: float, round_trip: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSTACK_ENGINE", "lwip")
    assert 0.75 < goodput(loss, round_trip) / bound(loss, round_trip) < 1.4


def pair(world: World, **conditions: object) -> tuple[Host, Host]:
    one, other = world.host("one"), world.host("other")
    world.link(one, other, **conditions)
    return one, other


def test_a_timeout_doubles_with_each_retransmission() -> None:
    # RFC 6298 5.5: from a first one that 2.4 bounds below by a second (lwip: 200 ms, as Linux).
    with World(trace=True) as world:
        one, other = pair(world, delay="20ms")
        # Or after three of them ARP looks for the neighbour instead.
        one.neighbours.add("10.0.0.2", other.interfaces[1].mac)
        listener = other.sockets.create_server(("", 80))
        sock = one.sockets.create_connection(("other", 80))
        accepted, _peer = listener.accept()
        world.sleep(1)
        world.links[0].down(one)
        sock.sendall(b"lost")
        world.sleep(100)
        lost = [each.at for each in world.trace.where(sender="one", port=80, dropped=True)]
        for each in (sock, accepted, listener):
            each.close()
    waits = [after - before for before, after in itertools.pairwise(lost)]
    waits = [wait for wait in waits if wait > 0.15]  # before: the probe of RFC 8985 7
    assert len(waits) >= 6
    for before, after in itertools.pairwise(waits):
        assert after == pytest.approx(2 * before, rel=0.02)


def test_a_syn_without_an_answer_is_sent_after_1_3_7_seconds() -> None:
    with World(trace=True) as world:
        one, _other = pair(world, delay="20ms")
        one.neighbours.add("10.0.0.2", "02:00:00:00:00:02")
        world.links[0].down(one)

        def connect() -> None:
            with pytest.raises(TimeoutError), socket.socket() as sock:
                sock.settimeout(10)
                sock.connect(("10.0.0.2", 80))

        one.thread(connect).join()
        times = [each.at for each in world.trace.where(sender="one", port=80)]
    assert [round(each - times[0], 2) for each in times] == [0, 1, 3, 7]


@pytest.mark.slow
def test_a_long_fat_path_is_filled() -> None:
    """1 Gbit/s and 100 ms: 12.5 MB on their way."""
    seconds, most = 4, 64 << 20
    with World() as world:
        one, other = (world.host(name, memory_limit=8 * most) for name in ("one", "other"))
        world.link(one, other, delay="50ms", rate="1Gbit/s", queue=20_000)
        for host in (one, other):
            host.sysctl["net.ipv4.tcp_wmem_max"] = most
        arrived = [0]
        full = threading.Event()

        def take() -> None:
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, most // 2)
                listener.bind(("", 80))
                listener.listen()
                connection, _peer = listener.accept()
                with connection:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1 << 18)
                    while data := connection.recv(1 << 20):
                        arrived[0] += len(data)

        def give() -> None:
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, most // 2)
                sock.connect(("other", 80))
                while not full.is_set():
                    sock.sendall(bytes(1 << 20))

        other.thread(take)
        one.thread(give)
        world.sleep(4)
        before = arrived[0]
        world.sleep(seconds)
        rate = (arrived[0] - before) * 8 / seconds
        full.set()
    assert rate > 0.99 * 1e9 * 1448 / 1514
