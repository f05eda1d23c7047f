"""`nic.Async`: a NIC that an asyncio loop carries."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import random
import socket
from pathlib import Path
from typing import Any

import pytest
from async_wires import (
    DATA,
    LEFT,
    RIGHT,
    by_queues,
    by_streams,
    fetched,
    giving,
    joined,
    run,
)

import pystack
from pystack import nic
from pystack.errors import DeadlockError
from pystack.nic import Async, Framing, Layer


@pytest.mark.parametrize("ways", [by_streams, by_queues])
@pytest.mark.parametrize("layer", list(Layer))
@pytest.mark.parametrize("mtu", [1500, 16000])
def test_it_carries_every_byte(ways: Any, layer: Layer, mtu: int) -> None:
    async def work() -> None:
        async with joined(ways, mtu=mtu, layer=layer) as (left, right, *_):
            server = await giving(right, DATA)
            got = await asyncio.gather(*(fetched(left, 80) for _ in range(2)))
            assert [hashlib.sha256(one).digest() for one in got] == 2 * [
                hashlib.sha256(DATA).digest()
            ]
            assert (await left.aio.ping("fd00::2", timeout=30)).received == 1
            server.close()

    run(work())


@pytest.mark.parametrize("framing", [Framing.LENGTH16, Framing.LENGTH32, Framing.IP])
def test_framings(framing: Framing) -> None:
    async def work() -> None:
        async with joined(framing=framing) as (left, right, *_):
            server = await giving(right, DATA[:100_000])
            assert await fetched(left, 80) == DATA[:100_000]
            server.close()

    run(work())


def test_uvloop_carries_frames_too() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def work() -> None:
        async with joined() as (left, right, *_):
            assert (await left.aio.ping(RIGHT, timeout=30)).received == 1
            with right.sockets.create_server((RIGHT, 80)) as listener:
                listener.setblocking(False)
                loop = asyncio.get_running_loop()
                opening = asyncio.ensure_future(left.aio.connect(RIGHT, 80))
                server, _peer = await loop.sock_accept(listener)
                with server, await opening as client:
                    await loop.sock_sendall(server, b"uv")
                    assert await loop.sock_recv(client, 10) == b"uv"

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(work())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_a_slow_wire_holds_tcp_back() -> None:
    async def work() -> None:
        passing, sent = asyncio.Semaphore(0), []

        async def write(frame: bytes) -> None:
            await passing.acquire()
            sent.append(frame)
            await there.put(frame)

        there, back = asyncio.Queue[bytes](), asyncio.Queue[bytes]()
        async with pystack.Stack() as left, pystack.Stack() as right:
            slow = Async(back.get, write, queue_bytes=8000)
            left.attach(slow, f"{LEFT}/24")
            right.attach(Async(there.get, back.put), f"{RIGHT}/24")
            for _ in range(100):  # the handshake
                passing.release()
            with right.sockets.create_server((RIGHT, 80)) as listener:
                listener.setblocking(False)
                loop = asyncio.get_running_loop()
                client = await left.aio.connect(RIGHT, 80)
                server, _peer = await loop.sock_accept(listener)
                sending = asyncio.ensure_future(loop.sock_sendall(client, DATA[: 1 << 20]))
                while slow.statistics().dropped_frames == 0:  # refused, and kept by TCP
                    await asyncio.sleep(0)
                assert len(sent) <= 100
                for _ in range(100_000):
                    passing.release()
                got = b""
                while len(got) < 1 << 20:
                    got += await loop.sock_recv(server, 1 << 16)
                await sending
                assert got == DATA[: 1 << 20]
                client.close()
                server.close()
        sequences = [frame[24:28] for frame in sent if len(frame) > 1000]
        assert len(sequences) > 700
        # Nothing was lost: what is sent twice had to wait for longer than TCP does for an answer.
        assert len(sequences) - len(set(sequences)) < 20

    run(work())


def test_a_stack_that_is_behind_holds_the_reader_back() -> None:
    async def work() -> None:
        packet = bytes([0x45, 0, 5, 0x78]) + bytes(1396)
        reads = 0

        async def read() -> bytes:
            nonlocal reads
            reads += 1
            return packet

        with pystack.Stack(threaded=False) as net:
            wire = Async(read, lambda _frame: None, queue_bytes=140_000)
            net.attach(wire, "10.0.0.1/24")
            while wire.statistics().received_frames == 0:  # none, before it is stepped
                before = reads
                for _ in range(300):
                    await asyncio.sleep(0)
                if reads == before:
                    break
            assert reads == 101  # a hundred wait, and one has been read
            net.step()
            while reads < 150:
                await asyncio.sleep(0)
            net.close(abrupt=True)
        wire.close()
        await wire.wait_closed()

    run(work())


# --- waits in the wrong thread ------------------------------------------------------------------


def test_a_wait_in_the_loop_s_thread_says_what_to_do() -> None:
    async def work() -> None:
        async with joined() as (left, right, *_):
            for call in (
                lambda: left.ping(RIGHT),
                lambda: left.sockets.create_connection((RIGHT, 80), 30),
                lambda: left.traceroute(RIGHT),
                left.close,
            ):
                with pytest.raises(DeadlockError, match=r"net\.aio"):
                    call()
            with right.sockets.create_server((RIGHT, 80)) as listener:
                with pytest.raises(DeadlockError):
                    listener.accept()
                listener.setblocking(False)
                with pytest.raises(BlockingIOError):
                    listener.accept()
                listener.settimeout(0)
                with pytest.raises(BlockingIOError):
                    listener.accept()
            assert (await asyncio.to_thread(left.ping, RIGHT)).received == 1

    run(work())


def test_through_a_wrapper_too() -> None:
    async def work() -> None:
        near, far = await by_streams()
        async with pystack.Stack() as left, pystack.Stack() as right:
            left.attach(nic.impair(Async(*near)), f"{LEFT}/24")
            right.attach(Async(*far), f"{RIGHT}/24")
            with pytest.raises(DeadlockError):
                left.ping(RIGHT)
            assert (await left.aio.ping(RIGHT, timeout=30)).received == 1

    run(work())


def test_it_is_made_in_a_loop() -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        Async(lambda: None, lambda _frame: None)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"mtu": 10}, ValueError),
        ({"layer": "ip"}, TypeError),
        ({"framing": Framing.VIRTIO}, ValueError),
        ({"framing": Framing.IP, "layer": Layer.ETHERNET}, ValueError),
        ({"queue_bytes": 0}, ValueError),
        ({"queue_bytes": 1499}, ValueError),
        ({"read": 5}, TypeError),
        ({"write": None}, TypeError),
    ],
)
def test_what_it_refuses(arguments: dict[str, Any], error: type[Exception]) -> None:
    async def work() -> None:
        gc.collect()  # of other tests
        before = set(Path("/proc/self/fd").iterdir())
        with pytest.raises(error):
            Async(**{"read": lambda: None, "write": lambda _frame: None, **arguments})
        assert set(Path("/proc/self/fd").iterdir()) == before

    run(work())


# --- what a stranger sends ------------------------------------------------------------------------


@pytest.mark.sanitize
@pytest.mark.parametrize("framing", [Framing.DATAGRAM, Framing.IP, Framing.LENGTH16])
def test_any_bytes_in_any_pieces(framing: Framing) -> None:
    """Packets whole, cut and damaged, in pieces of any size: a NIC ends or goes on, and no more."""
    chance = random.Random(framing.value)

    def packet() -> bytes:
        size = chance.choice((20, 21, 60, 576, 1500, 9000))
        made = bytearray(chance.randbytes(size))
        made[0] = chance.choice((0x45, 0x45, 0x60, 0x4F, 0x00))
        if made[0] >> 4 == 4:
            made[2:4] = (size if chance.random() < 0.9 else chance.randrange(1 << 16)).to_bytes(
                2, "big"
            )
        else:
            made[4:6] = max(0, size - 40).to_bytes(2, "big")
        if framing is Framing.LENGTH16:
            return size.to_bytes(2, "big") + bytes(made)
        return bytes(made)

    async def work() -> None:
        for _ in range(40):
            stream = b"".join(packet() for _ in range(chance.randrange(1, 30)))
            if chance.random() < 0.5:
                stream = stream[: chance.randrange(1, len(stream) + 1)]
            pieces = []
            while stream:
                size = chance.choice((1, 2, 5, 6, 40, 1500, 1 << 16, 1 << 18))
                pieces.append(stream[:size])
                stream = stream[size:]

            async def read(pieces: list[bytes] = pieces) -> bytes:
                return pieces.pop(0) if pieces else b""

            with pystack.Stack() as net:
                wire = Async(read, lambda _frame: None, framing=framing)
                net.attach(wire, f"{LEFT}/24")
                with contextlib.suppress(OSError):
                    await wire.wait_closed()
                net.close(abrupt=True)
            wire.close()

    run(work())


def test_a_descriptor_has_another_framing() -> None:
    first, second = socket.socketpair()
    with first, second, pytest.raises(ValueError, match=r"nic\.Async"):
        nic.Descriptor(first, framing=Framing.IP)
