"""Many connections one after the other, and many stacks at once: nothing is left behind."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from socket import AF_INET, SOCK_STREAM

import pytest
from growth import KEPT_BYTES, need, resident_bytes
from lockstep import PORT, lockstep
from quick import slow

import pystack

CYCLES = [1_000, slow(10_000)]
STACKS = [40, slow(200)]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["lwip", "linux"])
@pytest.mark.parametrize("cycles", CYCLES)
def test_connections_return_to_baseline(cycles: int, engine: str) -> None:
    need(engine)
    gc.collect()  # of other tests
    descriptors, threads = open_descriptors(), threading.active_count()
    with lockstep(engines=(engine, engine)) as pair:
        for net in (pair.client, pair.server):
            if engine == "lwip":  # elsewhere TIME-WAIT lasts 60 seconds, always
                net.sysctl["net.ipv4.tcp_msl_ms"] = 1000
        listener = pair.listen()

        def cycle(number: int) -> None:
            client = pair.client.socket(AF_INET, SOCK_STREAM)
            client.setblocking(False)
            client.connect_ex(("10.0.0.2", PORT))
            for _ in range(6):
                pair.client.step()
                pair.server.step()
            server, _peer = listener.accept()
            server.setblocking(False)
            payload = number.to_bytes(4, "big") * 25
            client.sendall(payload)
            pair.server.step()
            assert server.recv(1000) == payload
            server.close()
            pair.client.step()
            client.close()
            pair.clock.advance(0.001)

        cycle(0)  # the first socket makes the table of sockets, which stays
        pair.run(seconds=120)
        nets = (pair.client, pair.server)
        # Linux tries for as much of the arena as it may have when it begins.
        baseline = [(net.arena.live_blocks, net.arena.failures) for net in nets]
        for number in range(cycles):
            cycle(number)
        pair.run(seconds=120)
        assert [(net.arena.live_blocks, net.arena.failures) for net in nets] == baseline
        listener.close()
    assert open_descriptors() == descriptors
    assert threading.active_count() == threads


@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["lwip", "linux"])
@pytest.mark.parametrize("cycles", [100, slow(1_000)])
def test_stacks_come_and_go(cycles: int, engine: str) -> None:
    need(engine)

    def cycle() -> None:
        near, far = pystack.nic.wire()
        with near, far, pystack.Stack(engine=engine) as net:
            net.attach(near, "10.0.0.1/24")
            net.linger = (
                0  # or each close would wait half a second for a neighbour that isn't there
            )
            with net.socket(AF_INET, SOCK_STREAM) as sock:
                sock.setblocking(False)
                sock.connect_ex(("10.0.0.2", PORT))

    for _ in range(20):  # what the first ones leave for the next: code, the allocator's pages
        cycle()
    gc.collect()
    descriptors, threads, before = open_descriptors(), threading.active_count(), resident_bytes()
    for _ in range(cycles):
        cycle()
    gc.collect()
    assert open_descriptors() == descriptors
    assert threading.active_count() == threads
    assert resident_bytes() - before < KEPT_BYTES


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stacks", STACKS)
def test_many_stacks_each_with_a_neighbour(stacks: int) -> None:
    gc.collect()  # of other tests
    descriptors = open_descriptors()
    before = resident_bytes()
    with ExitStack() as cleanup:
        pairs = []
        for _ in range(stacks // 2):
            left, right = pystack.nic.wire()
            a, b = (cleanup.enter_context(pystack.Stack(memory_limit=8 << 20)) for _ in "ab")
            a.attach(left, "10.0.0.1/24")
            b.attach(right, "10.0.0.2/24")
            pairs.append((a, b))

        def exchange(number: int) -> None:
            a, b = pairs[number]
            with b.sockets.create_server(("10.0.0.2", PORT)) as listener:
                client = a.sockets.create_connection(("10.0.0.2", PORT), 30)
                server, _peer = listener.accept()
                with client, server:
                    message = f"stack {number}".encode() * 1000
                    client.sendall(message)
                    client.shutdown(1)
                    got = b"".join(iter(lambda: server.recv(65536), b""))
                    assert got == message

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(exchange, range(len(pairs))))
        during = resident_bytes()
    gc.collect()
    left_over = resident_bytes() - before
    assert open_descriptors() == descriptors
    # The allocator keeps some pages for later; nearly all of it comes back.
    assert left_over < (during - before) / 4
