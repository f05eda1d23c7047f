"""`nic.Async`: a NIC that an asyncio loop carries."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import hashlib
import os
import random
import select
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import pystack
from pystack import nic
from pystack.errors import DeadlockError
from pystack.nic import Async, Framing, Layer

LEFT, RIGHT = "10.0.0.1", "10.0.0.2"
DATA = os.urandom(3 << 20)
# A task that is cancelled leaves its streams to the garbage collector.
unclosed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """In a loop of its own, whose exception handler has nothing to say."""

    async def watched() -> Any:
        loop, told = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        result = await asyncio.wait_for(work, 60)
        gc.collect()
        await asyncio.sleep(0)
        assert not told
        return result

    try:
        return asyncio.run(watched())
    finally:
        gc.collect()  # what is left unclosed is this test's, not the next one's


async def by_streams() -> tuple[Any, Any]:
    """Two reader and writer pairs: the ends of a stream."""
    first, second = [await asyncio.open_connection(sock=one) for one in socket.socketpair()]
    return first, second


async def by_queues() -> tuple[Any, Any]:
    """The same as functions, of which each gives or takes one frame."""
    queues = asyncio.Queue[bytes](8), asyncio.Queue[bytes](8)
    return (queues[0].get, queues[1].put), (queues[1].get, queues[0].put)


@asynccontextmanager
async def joined(
    ways: Callable[[], Any] = by_streams, **options: Any
) -> AsyncIterator[tuple[pystack.Stack, pystack.Stack, Async, Async]]:
    """Two Stacks with a loop between them."""
    (near, far), made = await ways(), []
    try:
        async with pystack.Stack() as left, pystack.Stack() as right:
            for net, way, address in ((left, near, LEFT), (right, far, RIGHT)):
                made.append(Async(*way, **options))
                net.linger = 0.5  # for those whose peer has been cancelled
                net.attach(made[-1], f"{address}/24", f"fd00::{address[-1]}/64")
            yield left, right, *made
    finally:
        for one in made:
            one.close()
            await one.wait_closed()
    assert left.arena.live_blocks == right.arena.live_blocks == 0
    assert len(asyncio.all_tasks()) <= 2  # the test, and what watches it


async def fetched(net: pystack.Stack, port: int, host: str = RIGHT) -> bytes:
    reader, writer = await net.open_connection(host, port)
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data


async def giving(net: pystack.Stack, data: bytes) -> Any:
    """A server that sends this to each client."""

    async def give(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return await net.start_server(give, RIGHT, 80)


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


# --- ends ----------------------------------------------------------------------------------------


async def until_down(net: pystack.Stack) -> None:
    while net.interfaces[1].link:
        await asyncio.sleep(0)


def test_the_end_of_the_wire_takes_the_link_down() -> None:
    async def work() -> None:
        first, second = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=first)
        with pystack.Stack() as net:
            wire = Async(reader, writer)
            net.attach(wire, f"{LEFT}/24")
            second.close()
            await wire.wait_closed()
            await until_down(net)
            with pytest.raises(OSError, match=r"unreachable|down"):
                await net.aio.connect(RIGHT, 80)
        wire.close()

    run(work())


@pytest.mark.parametrize("unread", [False, True])
def test_a_peer_that_closes_is_the_end_whoever_finds_out_first(unread: bool) -> None:
    async def work() -> None:
        first, second = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=first)
        ended = asyncio.Event()

        async def late() -> bytes:  # knows of the end after the writer
            await ended.wait()
            return await reader.read(1 << 16)

        with pystack.Stack() as net, net.sockets.socket(type=socket.SOCK_DGRAM) as sock:
            wire = Async(reader.read if unread else late, writer, framing=Framing.LENGTH16)
            net.attach(wire, f"{LEFT}/24")
            if unread:
                sock.sendto(b"", (RIGHT, 9))
                while not select.select([second], [], [], 0)[0]:
                    await asyncio.sleep(0)
                second.close()
            else:
                second.close()
                sock.sendto(b"", (RIGHT, 9))
                await until_down(net)
                ended.set()
            await wire.wait_closed()
            await until_down(net)
        wire.close()

    run(work())


@pytest.mark.parametrize(
    ("error", "fails"),
    [
        (BrokenPipeError(errno.EPIPE, "x"), False),
        (ConnectionResetError(errno.ECONNRESET, "x"), True),
    ],
)
def test_an_error_of_the_writer_that_is_none_of_the_wire(error: OSError, fails: bool) -> None:
    async def fail(_frame: bytes) -> None:
        raise error

    async def work() -> None:
        silence = asyncio.Queue[bytes]()
        with pystack.Stack() as net, net.sockets.socket(type=socket.SOCK_DGRAM) as sock:
            wire = Async(silence.get, fail)
            net.attach(wire, f"{LEFT}/24")
            waiting = asyncio.ensure_future(wire.wait_closed())
            sock.sendto(b"", (RIGHT, 9))
            with pytest.raises(ConnectionResetError) if fails else contextlib.nullcontext():
                await waiting
        wire.close()

    run(work())


@pytest.mark.parametrize("way", ["read", "write"])
def test_what_a_function_raises_is_told(way: str) -> None:
    class TornError(Exception):
        pass

    async def fail(*_frame: bytes) -> bytes:
        raise TornError

    async def work(awaits: bool) -> list[dict[str, Any]]:
        loop, told = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        silence = asyncio.Queue[bytes]()
        with pystack.Stack() as net:
            wire = Async(*((fail, silence.put) if way == "read" else (silence.get, fail)))
            net.attach(wire, f"{LEFT}/24")
            waiting = asyncio.ensure_future(wire.wait_closed()) if awaits else None
            if way == "write":
                with net.sockets.socket(type=socket.SOCK_DGRAM) as sock:
                    sock.sendto(b"", (RIGHT, 9))
            await until_down(net)
            while not (awaits or told):
                await asyncio.sleep(0)
            with pytest.raises(TornError):
                await (waiting or wire.wait_closed())
        wire.close()
        return told

    assert not asyncio.run(work(awaits=True))
    (told,) = asyncio.run(work(awaits=False))
    assert isinstance(told["exception"], TornError)


def test_what_is_no_packet_ends_a_stream() -> None:
    async def work() -> None:
        first, second = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=first)
        with second, pystack.Stack() as net:
            wire = Async(reader, writer)
            net.attach(wire, f"{LEFT}/24")
            second.send(b"SSH-2.0-OpenSSH\r\n")
            with pytest.raises(OSError, match="5353482d322e302d") as caught:
                await wire.wait_closed()
            assert caught.value.errno == errno.EPROTO
        wire.close()

    run(work())


def test_a_stream_that_ends_within_a_frame_says_so() -> None:
    async def work() -> None:
        first, second = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=first)
        with pystack.Stack() as net:
            wire = Async(reader, writer)
            net.attach(wire, f"{LEFT}/24")
            second.send(bytes([0x45, 0, 5, 0x78]))
            second.close()
            with pytest.raises(OSError, match="4 bytes"):
                await wire.wait_closed()
        wire.close()

    run(work())


@unclosed
def test_the_end_of_the_loop_is_the_wire_s_and_nothing_waits_for_it() -> None:
    nets = []

    async def work() -> None:
        near, far = await by_streams()
        for way, address in ((near, LEFT), (far, RIGHT)):
            nets.append(pystack.Stack())
            nets[-1].attach(Async(*way), f"{address}/24")
        reader, writer = await asyncio.wait_for(connected(), 30)
        writer.write(bytes(100))  # and nobody carries it
        assert reader

    async def connected() -> Any:
        server = await giving(nets[1], b"")
        made = await nets[0].open_connection(RIGHT, 80)
        server.close()
        return made

    asyncio.run(work())
    for net in nets:
        while net.interfaces[1].link:  # its driver's thread takes it down
            pass
        net.close(linger=5)
    nets.clear()
    gc.collect()  # what is left unclosed is this test's, not the next one's


def test_closing_sends_what_waits_and_closes_the_writer() -> None:
    async def work() -> None:
        first, second = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=first)
        with second, pystack.Stack() as net:
            wire = Async(reader, writer)
            net.attach(wire, f"{LEFT}/24")
            wire.close()  # the Stack still has it
            with net.sockets.socket(type=socket.SOCK_DGRAM) as sock:
                sock.sendto(b"the last", (RIGHT, 9))
            net.close(abrupt=True)
            await wire.wait_closed()
            assert writer.is_closing()
            second.setblocking(False)
            got = await asyncio.get_running_loop().sock_recv(second, 1 << 16)
            assert got.endswith(b"the last")

    run(work())


@unclosed
@pytest.mark.parametrize("way", ["stream", "function"])
def test_a_peer_that_never_reads_is_given_up(way: str) -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        never = asyncio.Event()
        write = writer if way == "stream" else lambda _frame: never.wait()
        net = pystack.Stack()
        wire = Async(reader.read if way == "function" else reader, write)
        net.attach(wire, f"{LEFT}/24")
        with net.socket(type=socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.setblocking(False)
            for _ in range(3000):
                sock.sendto(bytes(1400), (RIGHT, 9))
                await asyncio.sleep(0)
        wire.close()
        await asyncio.wait_for(net.aio.close(), 30)
        await asyncio.wait_for(wire.wait_closed(), 30)
        writer.close()
        theirs.close()

    run(work())


def test_one_that_nobody_keeps_ends() -> None:
    async def work() -> None:
        first, second = socket.socketpair()
        second.setblocking(False)
        with second:
            net = pystack.Stack()
            net.attach(Async(*await asyncio.open_connection(sock=first)), f"{LEFT}/24")
            net.close(abrupt=True)
            del net
            gc.collect()
            assert await asyncio.get_running_loop().sock_recv(second, 10) == b""
        while len(asyncio.all_tasks()) > 2:
            await asyncio.sleep(0)

    run(work())


@unclosed
def test_cancelled_at_any_moment() -> None:
    """A task that carries and uses a Stack is cancelled after so many turns of the loop."""

    async def task() -> None:
        async with joined(by_queues) as (left, right, *_):
            server = await giving(right, DATA[:30_000])
            await fetched(left, 80)
            server.close()

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)  # servers whose Stack is gone
        for turns in range(0, 60, 7):
            running = asyncio.ensure_future(task())
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(running, 30)

    asyncio.run(work())
    gc.collect()  # as there


def test_threads_and_tasks_mixed() -> None:
    async def work() -> None:
        async with joined(mtu=16000) as (left, right, *_):
            server = await giving(right, DATA)

            def by_thread() -> bytes:
                with left.sockets.create_connection((RIGHT, 80), 30) as sock:
                    got = bytearray()
                    while part := sock.recv(1 << 16):
                        got += part
                    return bytes(got)

            jobs = [asyncio.to_thread(by_thread) for _ in range(3)]
            jobs += [fetched(left, 80) for _ in range(3)]
            assert all(one == DATA for one in await asyncio.gather(*jobs))
            server.close()

    run(work())


def test_it_reads_an_async_iterator() -> None:
    async def work() -> None:
        packets = asyncio.Queue[bytes]()

        async def each() -> AsyncIterator[bytes]:
            while packet := await packets.get():
                yield packet

        near = asyncio.Queue[bytes]()
        async with pystack.Stack() as left, pystack.Stack() as right:
            first = Async(each(), near.put_nowait)  # a function that has nothing to await
            left.attach(first, f"{LEFT}/24")
            right.attach(Async(near.get, packets.put), f"{RIGHT}/24")
            assert (await left.aio.ping(RIGHT, timeout=30)).received == 1
            packets.put_nowait(b"")
            await first.wait_closed()

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
