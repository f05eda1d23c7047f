"""Names by DNS inside a World: a host that answers, and hosts that ask it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pystack.serving.dns_message import AAAA, PTR, A, read, wire_name
from pystack.world import Host, World

MX = 15


@contextmanager
def named() -> Iterator[tuple[World, Host, Host, Host]]:
    """A router that answers, between a server, 5 ms away from it, and a client, 10 ms away."""
    with World(seed=1) as world:
        answers, server, client = world.router("ns"), world.host("server"), world.host("client")
        world.link(answers, server, delay="5ms")
        world.link(answers, client, delay="10ms")
        for number, host in enumerate((server, client)):
            host.routes.add("0.0.0.0/0", gateway=f"10.0.{number}.1")
            host.routes.add("::/0", gateway=["fd00::1", "fd00:0:0:1::1"][number])
        answers.serve_names()
        client.name_server = answers
        yield world, answers, server, client


def query(name: str, kind: int, *, room: int | None = None) -> bytes:
    head = struct.pack(">6H", 77, 0x0100, 1, 0, 0, 0 if room is None else 1)
    option = b"" if room is None else struct.pack(">BHHIH", 0, 41, room, 0, 0)
    return head + wire_name(name) + struct.pack(">HH", kind, 1) + option


def asked(client: Host, message: bytes, server: str = "10.0.1.1") -> bytes:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with client.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((server, 53))  # and so its answer has to come from there
        sock.send(message)
        return bytes(sock.recv(4096))


def test_names_are_asked_for_over_the_network() -> None:
    with named() as (world, _, _server, client):
        began = world.now
        found = client.sockets.getaddrinfo("server", 80, type=socket.SOCK_STREAM)
        assert {one[4][0] for one in found} == {"10.0.0.2", "fd00::2"}
        assert world.now - began > 0.019
        began = world.now
        with pytest.raises(socket.gaierror) as raised:
            client.sockets.getaddrinfo("nobody", 80)
        assert raised.value.errno == socket.EAI_NONAME
        assert world.now - began > 0.019
        assert client.sockets.gethostbyaddr("10.0.0.2")[0] == "server"
        client.name_server = None
        began = world.now
        assert client.sockets.gethostbyname("server") == "10.0.0.2"
        assert world.now == began, "the World's own file"
        assert not world.failures


def test_hosts_that_come_later_are_known() -> None:
    with named() as (world, answers, _server, client):
        late = world.host("late")
        world.link(answers, late, addresses=("10.7.0.1/24", "10.7.0.2/24"))
        late.routes.add("0.0.0.0/0", gateway="10.7.0.1")
        assert client.ping("late").received


def test_asyncio_asks_it_too() -> None:
    with named() as (world, _, server, client):

        async def say(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        async def serve() -> None:
            async with await asyncio.start_server(say, "", 80) as made:
                await made.serve_forever()

        async def main() -> bytes:
            server.spawn(serve())
            reader, writer = await client.run(asyncio.open_connection("server", 80))
            try:
                return await reader.read()
            finally:
                writer.close()

        assert world.run(main()) == b"hello"


def test_a_name_server_that_has_no_power() -> None:
    with named() as (world, answers, _server, client):
        answers.crash()
        began = world.now
        with pytest.raises(socket.gaierror) as raised:
            client.sockets.getaddrinfo("server", 80)
        assert raised.value.errno == socket.EAI_AGAIN
        assert world.now - began > 1, "it was asked more than once"
        answers.restart()
        assert client.sockets.gethostbyname("server") == "10.0.0.2"
        client.restart()
        client.routes.add("0.0.0.0/0", gateway="10.0.1.1")
        assert client.name_server is answers
        began = world.now
        assert client.sockets.gethostbyname("server") == "10.0.0.2"
        assert world.now - began > 0.019
        assert not world.failures


@pytest.mark.parametrize("server", ["10.0.1.1", "10.0.0.1", "fd00:0:0:1::1", "fd00::1"])
def test_its_answers_come_from_where_it_was_asked(server: str) -> None:
    with named() as (_world, _, _server, client):
        for kind, data in ((A, [b"\n\0\0\2"]), (AAAA, [b"\xfd" + bytes(14) + b"\2"]), (MX, [])):
            said = read(asked(client, query("SERVER", kind), server))
            assert said is not None
            assert (said.identifier, said.is_response) == (77, True)
            assert [one.data for one in said.answers] == data
        said = read(asked(client, query("2.0.0.10.in-addr.arpa", PTR), server))
        assert said is not None
        assert [one.data for one in said.answers] == [wire_name("server")]
        refused = asked(client, query("nobody", A), server)
        assert refused[3] & 0xF == 3
        assert refused[2] & 0x04, "authoritative"


def test_what_has_no_room_comes_by_tcp() -> None:
    with named() as (world, answers, _server, client):
        for number in range(40):
            world.link(answers, world.host(f"h{number}"))
        for room, is_whole in ((None, False), (600, False), (4096, True)):
            said = asked(client, query("ns", A, room=room))
            assert bool(said[2] & 0x02) == (not is_whole)
            assert int.from_bytes(said[6:8], "big") == (42 if is_whole else 0)
        with client.sockets.create_connection(("10.0.1.1", 53), timeout=5) as sock:
            for _ in range(2):
                message = query("ns", A)
                sock.sendall(len(message).to_bytes(2, "big") + message)
                size = int.from_bytes(sock.recv(2, socket.MSG_WAITALL), "big")
                said = sock.recv(size, socket.MSG_WAITALL)
                assert int.from_bytes(said[6:8], "big") == 42
            sock.sendall(b"\0\3abc")
            assert sock.recv(10) == b"", "no query: the connection ends"
        assert not world.failures


def test_what_is_no_query_gets_no_answer() -> None:
    with named() as (world, _, _server, client):
        with client.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            for message in (b"", b"abc", query("server", A)[:-3], b"\0\1\x80\0" + bytes(20)):
                sock.sendto(message, ("10.0.1.1", 53))
            with pytest.raises(TimeoutError):
                sock.recv(100)
        assert read(asked(client, query("server", A))) is not None
        assert not world.failures


def test_one_that_has_no_address_is_no_name_server() -> None:
    with World() as world:
        alone, client = world.host("alone"), world.host("client")
        with pytest.raises(ValueError, match="alone has no address yet"):
            client.name_server = alone
        assert client.name_server is None
