"""`Stack.aio`: asyncio's calls on a Stack's sockets, with nothing in the place of `socket`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
from dns_task import name_server
from pair import LEFT, LEFT6, RIGHT, RIGHT6

import pystack
from pystack.dial.race import first_connected, interleaved
from pystack.dial.streams import started_tls

_new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop


@pytest.fixture(params=["asyncio", "uvloop"], autouse=True)
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose loops `run` makes."""
    if request.param == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        monkeypatch.setattr(sys.modules[__name__], "_new_loop", uvloop.new_event_loop)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def watched() -> Any:
        loop, told = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        result = await asyncio.wait_for(work, 60)
        assert not told
        return result

    return run_in_a_loop(watched())


def run_in_a_loop(work: Coroutine[Any, Any, Any]) -> Any:
    loop = _new_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@asynccontextmanager
async def both() -> AsyncIterator[tuple[pystack.Stack, pystack.Stack]]:
    near, far = pystack.nic.wire()
    async with pystack.Stack() as left, pystack.Stack() as right:
        left.attach(near, f"{LEFT}/24", f"{LEFT6}/64")
        right.attach(far, f"{RIGHT}/24", f"{RIGHT6}/64")
        yield left, right
    assert left.arena.live_blocks == right.arena.live_blocks == 0


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def asked(net: pystack.Stack, host: str, port: int, **options: Any) -> bytes:
    reader, writer = await net.open_connection(host, port, **options)
    writer.write(b"hello\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_transports_tell_about_themselves() -> None:
    """As asyncio's do: in warnings and in what an exception handler logs, too."""

    async def work() -> None:
        async with both() as (left, right):
            accepted: list[Any] = []  # since Python 3.13 a writer that nobody has is closed
            server = await right.aio.start_server(lambda *two: accepted.append(two), RIGHT, 80)
            reader, writer = await left.aio.open_connection(RIGHT, 80)
            assert "read=polling write=<idle, bufsize=0>" in repr(writer)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            assert "read=idle write=<idle, bufsize=0>" in repr(reader)
            writer.write(bytes(20_000_000))
            assert "write=<polling, bufsize=" in repr(writer.transport)
            writer.transport.abort()
            assert "read=idle" in repr(writer.transport)
            server.close()
            for _reader, one in accepted:
                one.close()

    run(work())


def test_streams_of_both_families() -> None:
    async def work() -> None:
        async with both() as (left, right):
            async with await right.start_server(shout) as server:
                assert len(server.sockets) == 2
                ports = {one.getsockname()[1] for one in server.sockets}
                (port,) = ports
                assert server.is_serving()
                for host in (RIGHT, RIGHT6):
                    assert await asked(left, host, port) == b"HELLO\n"
                assert await asked(left, RIGHT, port, local_addr=(LEFT, 4000)) == b"HELLO\n"
            with pytest.raises(ConnectionRefusedError):
                await left.open_connection(RIGHT, port)

    run(work())


def test_tls_verifies_the_server() -> None:
    authority, theirs, ours = (
        trustme.CA(),
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert(RIGHT).configure_cert(theirs)
    authority.configure_trust(ours)

    async def work() -> None:
        async with both() as (left, right):
            server = await right.start_server(shout, RIGHT, 443, ssl=theirs)
            assert await asked(left, RIGHT, 443, ssl=ours) == b"HELLO\n"
            with pytest.raises(ssl.SSLCertVerificationError):
                await left.open_connection(RIGHT, 443, ssl=True)
            with pytest.raises(ssl.SSLCertVerificationError):
                await left.open_connection(RIGHT, 443, ssl=ours, server_hostname="else.where")
            server.close()

    run_in_a_loop(work())  # the server's side of the failed handshakes is told to the loop


def test_tls_begins_later() -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert(LEFT).configure_cert(server)
    authority.configure_trust(client)

    plain: list[asyncio.StreamWriter] = []  # since Python 3.13 one that nobody has is closed

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plain.append(writer)
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go on\n")
        await writer.drain()
        protocol: Any = writer.transport.get_protocol()
        secure = await protocol._loop.start_tls(
            writer.transport, protocol, server, server_side=True
        )
        secure.write((await reader.readline()).upper())
        secure.close()

    async def work() -> None:
        async with both() as (left, right):
            listener = await left.start_server(serve, LEFT, 25)
            reader, writer = await right.open_connection(LEFT, 25)
            plain.append(writer)
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go on\n"
            reader, secure = await started_tls(writer, client, LEFT)
            assert secure.get_extra_info("cipher") is not None
            secure.write(b"secret\n")
            assert await reader.read() == b"SECRET\n"
            secure.close()
            listener.close()
            await listener.wait_closed()

    run(work())


def test_back_pressure_and_resets() -> None:
    async def work() -> None:
        taken: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        async with both() as (left, right):
            listener = await left.start_server(lambda *both: taken.put_nowait(both), LEFT, 9)
            _, writer = await right.open_connection(LEFT, 9)
            reader, far_writer = await taken.get()
            sent = 0
            with pytest.raises(asyncio.TimeoutError):  # nobody reads: it has to stop
                while sent < 1 << 26:
                    writer.write(bytes(1 << 16))
                    sent += 1 << 16
                    await asyncio.wait_for(writer.drain(), 0.5)
            assert writer.transport.get_write_buffer_size() > 0
            assert await reader.readexactly(1 << 16) == bytes(1 << 16)
            far_writer.transport.abort()
            with pytest.raises(ConnectionResetError):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.01)
            writer.close()
            listener.close()
            await listener.wait_closed()

    run(work())


def test_a_loop_that_watches_nothing_is_refused() -> None:
    async def work(net: pystack.Stack) -> None:
        await net.open_connection(LEFT, 1)

    class Loop(asyncio.AbstractEventLoop):
        """Windows's, as far as it matters."""

    with pystack.Stack() as net:
        asyncio._set_running_loop(Loop())
        try:
            with pytest.raises(pystack.OffStackError, match=r"Run this in asyncio\.SelectorEv"):
                work(net).send(None)
        finally:
            asyncio._set_running_loop(None)


def test_datagrams() -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, peer: Any) -> None:
            self.transport.sendto(data.upper(), peer)

    class Client(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.got = asyncio.get_running_loop().create_future()

        def datagram_received(self, data: bytes, peer: Any) -> None:
            self.got.set_result((data, peer))

    async def work() -> None:
        async with both() as (left, right):
            for host in (RIGHT, RIGHT6):
                server, _ = await right.datagram_endpoint(Echo, (host, 5000))
                client, protocol = await left.datagram_endpoint(Client, remote_addr=(host, 5000))
                client.sendto(b"hello")
                data, peer = await protocol.got
                assert (data, peer[:2]) == (b"HELLO", (host, 5000))
                client.close()
                server.close()
            with pytest.raises(OSError, match=r"annot assign|not available") as caught:
                await left.datagram_endpoint(Client, (RIGHT, 1))
            assert caught.value.errno == errno.EADDRNOTAVAIL

    run(work())


def test_pings() -> None:
    async def work() -> None:
        async with both() as (left, _right):
            for host in (RIGHT, RIGHT6, LEFT, "127.0.0.1"):
                result = await left.aio.ping(host, count=3, interval=0, timeout=30)
                assert (result.destination, result.received) == (host, 3)
            assert result.rtts_ms[0] > 0
            many = await asyncio.gather(*(left.aio.ping(RIGHT, timeout=30) for _ in range(50)))
            assert all(many)
            silent = await left.aio.ping("10.0.0.77", timeout=0.05)
            assert (silent.received, silent.replies[0].error) == (0, "timeout")
            with pytest.raises(OSError, match="no route"):
                await left.aio.ping("192.0.2.1")
            with pytest.raises(ValueError, match="count"):
                await left.aio.ping(RIGHT, count=0)

    run(work())


def test_names_are_the_stack_s() -> None:
    async def work() -> None:
        async with both() as (left, right):
            async with name_server(right, RIGHT, {"shop.test": [RIGHT6, RIGHT]}):
                left.nameservers = [RIGHT]
                found = await left.aio.resolve("shop.test")
                assert [str(one) for one in found] == [RIGHT6, RIGHT]
                server = await right.start_server(shout, RIGHT, 80)  # not of its first address
                assert await asked(left, "shop.test", 80) == b"HELLO\n"
                assert (await left.aio.ping("shop.test", timeout=30)).destination == RIGHT6
                with pytest.raises(socket.gaierror):
                    await left.open_connection("no.test", 80)
                server.close()

    run(work())


def test_two_stacks_with_the_same_address() -> None:
    async def work() -> None:
        async with both() as (left, right), both() as (other_left, other_right):

            async def name_it(reader: Any, writer: asyncio.StreamWriter) -> None:
                await reader.readline()
                writer.write(b"other")
                writer.close()
                await writer.wait_closed()

            servers = [
                await right.start_server(shout, RIGHT, 80),
                await other_right.start_server(name_it, RIGHT, 80),
            ]
            answers = await asyncio.gather(
                *(asked(net, RIGHT, 80) for net in (left, other_left) * 20)
            )
            assert answers == [b"HELLO\n", b"other"] * 20
            for server in servers:
                server.close()

    run(work())


def test_a_reset_right_behind_data_is_heard() -> None:
    async def work() -> None:
        async with both() as (left, right):

            async def leave(_reader: Any, writer: asyncio.StreamWriter) -> None:
                writer.write(b"other")
                writer.close()  # with what came unread

            async def ask() -> bytes | None:
                reader, writer = await left.open_connection(RIGHT, 80)
                writer.write(b"hello\n")
                try:
                    return await reader.read()
                except ConnectionError:
                    return None
                finally:
                    writer.close()
                    with contextlib.suppress(ConnectionError):
                        await writer.wait_closed()

            server = await right.start_server(leave, RIGHT, 80)
            for _ in range(20):
                assert set(await asyncio.gather(*(ask() for _ in range(20)))) <= {b"other", None}
            server.close()

    run(work())


def test_nothing_is_put_in_the_place_of_socket() -> None:
    before = (socket.socket, socket.getaddrinfo, socket.create_connection)

    async def work() -> None:
        async with both() as (left, right):
            server = await right.start_server(shout, RIGHT, 80)
            assert (socket.socket, socket.getaddrinfo, socket.create_connection) == before
            assert await asked(left, RIGHT, 80) == b"HELLO\n"
            server.close()

    run(work())


def test_cancelled_while_connecting() -> None:
    async def work() -> None:
        async with both() as (left, _right):
            connecting = asyncio.ensure_future(left.open_connection("10.0.0.77", 80))
            await asyncio.sleep(0)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert not [one for one in left.connections() if one.state == "SYN_SENT"]

    run(work())


def test_closed_while_it_is_used() -> None:
    async def work() -> None:
        async with both() as (left, right):
            server = await right.start_server(shout, RIGHT, 80)
            reader, writer = await left.open_connection(RIGHT, 80)
            await left.aio.close()
            await left.aio.close()
            with pytest.raises(OSError, match="closed"):
                await left.open_connection(RIGHT, 80)
            with pytest.raises(OSError, match="closed"):
                await reader.read()
            writer.close()
            server.close()

    run_in_a_loop(work())


# --- happy eyeballs (RFC 8305) --------------------------------------------------------------------


def row(family: int, host: str) -> Any:
    return (family, socket.SOCK_STREAM, 6, "", (host, 80))


def test_families_take_turns() -> None:
    six, four = (
        [row(socket.AF_INET6, f"fd00::{n}") for n in range(3)],
        [row(socket.AF_INET, f"10.0.0.{n}") for n in range(2)],
    )
    assert interleaved([*six, *four], 1) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleaved([*six, *four], 2) == [six[0], six[1], four[0], six[2], four[1]]
    assert interleaved(four, 1) == four


def test_the_first_that_connects_wins() -> None:
    async def work() -> None:
        begun, discarded, release = [], [], asyncio.Event()

        async def silent() -> str:
            begun.append("silent")
            await release.wait()
            return "late"

        async def refused() -> str:
            begun.append("refused")
            raise ConnectionRefusedError("no")

        async def open_one() -> str:
            begun.append("open")
            return "open"

        assert await first_connected([silent, refused, open_one], 0.001, discarded.append) == "open"
        assert begun == ["silent", "refused", "open"]
        # Without a delay one after the other; what succeeds too late is given back.
        assert await first_connected([refused, open_one, silent], None, discarded.append) == "open"
        with pytest.raises(ConnectionRefusedError, match="no"):
            await first_connected([refused, refused], 0.001, discarded.append)
        assert not discarded

    run(work())


def test_what_succeeds_beside_a_fault_is_given_back() -> None:
    async def race() -> None:
        discarded, gate = [], asyncio.Event()

        async def good() -> str:
            await gate.wait()
            return "open"

        async def faulty() -> str:
            await gate.wait()
            raise RuntimeError

        async def last() -> str:
            gate.set()  # all end in one turn of the loop
            return "open"

        attempts = [good, faulty, last]
        try:
            assert await first_connected(attempts, 0.001, discarded.append) == "open"
        except RuntimeError:
            discarded.remove("open")  # there was no winner
        assert discarded == ["open"]

    async def work() -> None:
        for _each in range(20):  # they are looked at in any order
            await race()

    run(work())


def test_a_silent_address_costs_a_quarter_of_a_second_and_no_more() -> None:
    async def work() -> None:
        async with both() as (left, right):
            async with name_server(right, RIGHT, {"half.test": ["fd00::77", RIGHT]}):
                left.nameservers = [RIGHT]
                server = await right.start_server(shout, RIGHT, 80)
                began = asyncio.get_running_loop().time()
                assert await asked(left, "half.test", 80) == b"HELLO\n"
                assert 0.2 < asyncio.get_running_loop().time() - began < 3
                server.close()

    run(work())


def test_several_loops_share_a_stack() -> None:
    near, far = pystack.nic.wire()
    with pystack.Stack() as left, pystack.Stack() as right:
        left.attach(near, f"{LEFT}/24")
        right.attach(far, f"{RIGHT}/24")
        ready, done = threading.Event(), threading.Event()

        async def serve() -> None:
            async with await right.start_server(shout, RIGHT, 80):
                ready.set()
                await asyncio.to_thread(done.wait)

        answers: list[bytes] = []

        def ask() -> None:
            async def work() -> None:
                for _ in range(5):
                    answers.append(await asked(left, RIGHT, 80))

            run_in_a_loop(work())

        server = threading.Thread(target=asyncio.run, args=(serve(),))
        server.start()
        assert ready.wait(30)
        clients = [threading.Thread(target=ask) for _ in range(3)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        done.set()
        server.join()
        assert answers == [b"HELLO\n"] * 15


def test_it_keeps_a_world_s_time() -> None:
    from pystack.world import World

    with World(seed=1) as world:
        near, far = world.host("near"), world.host("far")
        world.link(near, far, delay="20ms")

        async def serve() -> None:
            async with await far.start_server(shout, None, 80) as server:
                await server.serve_forever()

        async def ask() -> None:
            result = await near.aio.ping("far")
            assert result.rtts_ms == (pytest.approx(80),)  # and neighbours are looked for
            began = world.now
            assert await asked(near, "far", 80) == b"HELLO\n"
            assert world.now - began == pytest.approx(0.08)

        async def both_hosts() -> None:
            serving = far.spawn(serve())
            await near.run(ask())
            serving.cancel()

        world.run(both_hosts())
