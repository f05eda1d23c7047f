"""The programs that are compared: asyncio and nothing else, each with its fault.

No library is named here: the same lines run in a World, in simloop and in simloom, and what a side
adds is a function for each scenario (hosts, faults, what has to hold).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable, Coroutine
from typing import Any

ADDED = 3  # by the client of `tally`
LEASE = 2.0  # seconds
SIZES = (1_000, 10_000, 100_000, 1_000_000)  # of a report, in bytes
LINES = (10, 100, 500, 1000)  # in a pipeline

Scenario = Callable[..., Any]

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def serve(name: str, answer: Handler) -> None:
    """Serves port 80 of this host."""

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A cancelled handler is an error in the log of asyncio before 3.13.
        with contextlib.suppress(asyncio.CancelledError):
            await answer(reader, writer)

    async with await asyncio.start_server(quietly, name, 80) as server:
        await server.serve_forever()


# --- the lost update: read, then write, in two exchanges ------------------------------------------


async def counter(count: list[int]) -> None:
    """Tells its number to who asks, and takes a new one from anybody."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line != b"?\n":
            count[0] = int(line)
        writer.write(b"%d\n" % count[0])
        writer.close()

    await serve("counter", answer)


async def add_one(after: float = 0) -> None:
    """Adds one to what it has been told: another may have done so meanwhile."""

    async def ask(line: bytes) -> int:
        reader, writer = await asyncio.open_connection("counter", 80)
        writer.write(line)
        told = await reader.readline()
        writer.close()
        return int(told)

    await asyncio.sleep(after)
    await ask(b"%d\n" % (await ask(b"?\n") + 1))


# --- the lossy echo: asking again for what was done already ---------------------------------------


class Tally(asyncio.DatagramProtocol):
    """Adds each datagram that comes, and sends it back; it keeps no list of those it has had."""

    def __init__(self, total: list[int]) -> None:
        self.total = total

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.total[0] += 1
        self.transport.sendto(data, addr)


class Inbox(asyncio.DatagramProtocol):
    """What has arrived, in a queue."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.queue.put_nowait((data, addr))


async def tally(total: list[int]) -> None:
    """The server."""
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: Tally(total), local_addr=("tally", 9))
    await asyncio.sleep(1000)


async def add_three() -> None:
    """Sends each until it comes back."""
    loop = asyncio.get_running_loop()
    transport, inbox = await loop.create_datagram_endpoint(Inbox, remote_addr=("tally", 9))
    for number in range(ADDED):
        for _attempt in range(20):
            transport.sendto(b"%d" % number)
            with contextlib.suppress(asyncio.TimeoutError):
                if (await asyncio.wait_for(inbox.queue.get(), 0.5))[0] == b"%d" % number:
                    break
    transport.close()


# --- the exclusive lease: a holder that counts from when it heard, not from when it asked ---------


async def landlord() -> None:
    """Lets one have the lease at a time, for two seconds, and notes it on a slow disk."""
    free_at = 0.0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal free_at
        while await reader.readline():
            now = asyncio.get_running_loop().time()
            free = now >= free_at
            if free:
                free_at = now + LEASE
                await asyncio.sleep(0.3)
            writer.write(b"yes\n" if free else b"no\n")

    await serve("landlord", answer)


async def tenant(name: str, held: list[tuple[float, float, str]]) -> None:
    """Asks again and again, and holds the lease for two seconds from when it hears of it."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("landlord", 80)
    while True:
        writer.write(b"mine?\n")
        if await reader.readline() == b"yes\n":
            held.append((loop.time(), loop.time() + LEASE, name))
            await asyncio.sleep(LEASE)
        await asyncio.sleep(0.3)


def overlap(held: list[tuple[float, float, str]]) -> float:
    """For how many seconds two have held it."""
    return max((mine[1] - next_[0] for mine, next_ in both(sorted(held))), default=0.0)


def both(items: list[Any]) -> list[tuple[Any, Any]]:
    """Each with the one behind it."""
    return list(itertools.pairwise(items))


# --- a partition: a vote for whoever asks, also for a second one in the same term -----------------


async def elect(name: str, patience: float, leaders: set[tuple[int, str]]) -> None:
    """One of three nodes; who hears of no leader for so long asks for votes in a new term."""
    loop = asyncio.get_running_loop()
    transport, inbox = await loop.create_datagram_endpoint(Inbox, local_addr=(name, 7))
    await asyncio.sleep(0.2)  # until all have a name
    found = [await loop.getaddrinfo(peer, 7, type=socket.SOCK_DGRAM) for peer in {*"abc"} - {name}]
    term, votes, beat, said = 0, set[str](), loop.time(), 0.0
    while True:
        now = loop.time()
        if (term, name) not in leaders and now > beat + patience:
            term, votes, beat = term + 1, {name}, now
        word = "lead" if (term, name) in leaders else "vote?" if votes else ""
        if word and now >= said + 0.1:  # not with each that comes: that would be a storm
            said = now
            for info in found:
                transport.sendto(f"{word} {term} {name}".encode(), info[0][4])
        with contextlib.suppress(asyncio.TimeoutError):
            data, sender = await asyncio.wait_for(inbox.queue.get(), 0.1)
            word, told, peer = data.decode().split()
            if int(told) > term:
                term, votes = int(told), set()
            if int(told) == term and word == "vote?":  # the fault: it may have voted already
                transport.sendto(f"vote {term} {name}".encode(), sender)
            elif int(told) == term and word == "lead":
                votes, beat = set(), now
            elif int(told) == term and votes:
                votes.add(peer)
                if len(votes) > 1:
                    leaders.add((term, name))


def terms_with_two(leaders: set[tuple[int, str]]) -> list[int]:
    """Terms that more than one has led."""
    terms = sorted(term for term, _name in leaders)
    return [one for one, next_ in both(terms) if one == next_]


# --- what TCP does: half-open connections, windows, retransmission, streams -----------------------


async def publisher() -> None:
    """Sends a line each second to each who has connected."""

    async def publish(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"news\n")
                await writer.drain()
                await asyncio.sleep(1)

    await serve("publisher", publish)


async def subscriber(heard: list[float]) -> None:
    """Listens, without a deadline, and connects again when the connection has ended."""
    while True:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            opening = asyncio.open_connection("publisher", 80)
            reader, writer = await asyncio.wait_for(opening, 5)
            with contextlib.closing(writer):
                while await reader.readline():
                    heard.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1)


async def answerer() -> None:
    """Answers each line of a thousand bytes with one."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()

    await serve("answerer", answer)


async def pipeline(lines: int, answers: list[int]) -> None:
    """Asks all its questions before it reads the first answer."""
    reader, writer = await asyncio.open_connection("answerer", 80)
    for _each in range(lines):
        writer.write(b"?" * 999 + b"\n")
        await writer.drain()
    for _each in range(lines):
        await reader.readline()
        answers[0] += 1


async def monitor(heard: list[float]) -> None:
    """Notes when it has heard a dot."""

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if b"." in data:
                heard.append(asyncio.get_running_loop().time())

    await serve("monitor", listen)


async def sensor(report: int = 0) -> None:
    """Sends a dot each half second, and once a report of so many bytes on the same connection."""
    while True:
        with contextlib.suppress(OSError):
            _reader, writer = await asyncio.open_connection("monitor", 80)
            break
        await asyncio.sleep(0.1)
    for number in range(60):
        writer.write(b"." if number != 10 else b"x" * report + b".")
        await asyncio.sleep(0.5)


def longest_silence(heard: list[float], until: float) -> float:
    """Between two times at which something was heard, or since the last."""
    return max((next_ - one for one, next_ in both([*heard, until])), default=until)
