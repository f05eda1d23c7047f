"""How a NIC ends that an asyncio loop carries."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
    unclosed,
)

import pystack
from pystack.nic import Async, Framing


@asynccontextmanager
async def one_end() -> AsyncIterator[tuple[pystack.Stack, Async, socket.socket]]:
    """A Stack, its wire, and the socket that is the wire's other end."""
    first, second = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=first)
    with second, pystack.Stack() as net:
        wire = Async(reader, writer)
        net.attach(wire, f"{LEFT}/24")
        yield net, wire, second
    wire.close()


async def until_down(net: pystack.Stack) -> None:
    while net.interfaces[1].link:
        await asyncio.sleep(0)


def test_the_end_of_the_wire_takes_the_link_down() -> None:
    async def work() -> None:
        async with one_end() as (net, wire, second):
            second.close()
            await wire.wait_closed()
            await until_down(net)
            with pytest.raises(OSError, match=r"unreachable|down"):
                await net.aio.connect(RIGHT, 80)

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
        async with one_end() as (_net, wire, second):
            second.send(b"SSH-2.0-OpenSSH\r\n")
            with pytest.raises(OSError, match="5353482d322e302d") as caught:
                await wire.wait_closed()
            assert caught.value.errno == errno.EPROTO

    run(work())


def test_a_stream_that_ends_within_a_frame_says_so() -> None:
    async def work() -> None:
        async with one_end() as (_net, wire, second):
            second.send(bytes([0x45, 0, 5, 0x78]))
            second.close()
            with pytest.raises(OSError, match="4 bytes"):
                await wire.wait_closed()

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
        carrying = wire._carrier._task
        await asyncio.wait({carrying}, timeout=30)
        assert not carrying.cancelled()  # it ends of itself
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
