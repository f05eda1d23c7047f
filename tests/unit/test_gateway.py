"""A gateway and its guest, both Stacks on an in-memory wire."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import pystack
from pystack.embed.gateway import Forward, Gateway
from pystack.sockets import Socket

PATIENCE_S = 20.0


def until(holds: Callable[[], bool]) -> None:
    """Waits until something holds, for want of an event that says so."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


@contextmanager
def guest_of(**options: Any) -> Iterator[tuple[Gateway, pystack.Stack, pystack.Interface]]:
    """A gateway, and its guest with an address by DHCP."""
    ours, theirs = pystack.nic.wire()
    with Gateway(ours, **options) as gateway, pystack.Stack() as guest:
        interface = guest.attach(theirs)
        interface.dhcp(timeout=PATIENCE_S)
        yield gateway, guest, interface


def ping_pong(one: Any, other: Any) -> None:
    """Both ways, a half-close, and the other end."""
    for end in (one, other):
        end.settimeout(PATIENCE_S)
    one.sendall(b"ping")
    assert other.recv(100) == b"ping"
    one.shutdown(socket.SHUT_WR)
    assert other.recv(100) == b""
    other.sendall(b"pong")
    assert one.recv(100) == b"pong"
    other.close()
    assert one.recv(100) == b""
    one.close()


def test_a_guest_gets_all_it_needs() -> None:
    with guest_of() as (gateway, guest, interface):
        assert str(interface.lease.address) == "10.0.2.100/24"
        assert str(gateway.guest) == "10.0.2.100"
        assert guest.ping("10.0.2.2", timeout=30).received == 1
        assert {str(one) for one in guest.resolve("gateway.internal")} == {"10.0.2.2", "fd00::2"}


def test_ipv6_configures_itself() -> None:
    with guest_of() as (_, guest, interface):
        until(lambda: any(one.ip.is_link_local and one.state.name == "PREFERRED"
                          for one in interface.addresses))  # fmt: skip
        interface.slaac()
        interface.dhcp6()
        until(lambda: any(str(one.ip).startswith("fd00::") and one.state.name == "PREFERRED"
                          for one in interface.addresses))  # fmt: skip
        until(lambda: "fd00::3" in map(str, guest.nameservers))
        assert str(guest.routes.lookup("2001:db8::1").gateway) == "fe80::2"
        assert guest.ping("fd00::2", timeout=30).received == 1


def test_without_ipv6_and_names() -> None:
    with guest_of(subnet6=None, nameservers=()) as (gateway, guest, interface):
        interface.slaac()
        assert guest.ping("10.0.2.2", timeout=30).received == 1
        assert gateway.interface is not None
        assert all(one.ip.version == 4 or one.ip.is_link_local for one in interface.addresses)
        with pytest.raises(ConnectionRefusedError):
            guest.sockets.create_connection(("10.0.2.3", 53), timeout=PATIENCE_S)


def test_a_forward_leads_to_the_guest() -> None:
    with guest_of() as (gateway, guest, _), guest.sockets.create_server(("0.0.0.0", 80)) as server:
        published = gateway.publish("127.0.0.1:0:80")
        at = ("127.0.0.1", published.forward.port)
        server.settimeout(PATIENCE_S)
        near = socket.create_connection(at, timeout=PATIENCE_S)
        far, peer = server.accept()
        assert peer[0] == "10.0.2.2", "this machine is the gateway to its guest"
        ping_pong(near, far)
        published.close()
        published.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(at, timeout=PATIENCE_S)


def test_a_guest_that_refuses_is_a_reset() -> None:
    with guest_of(forwards=[Forward(0, 80)]) as (gateway, _, _):
        port = next(iter(gateway.published)).forward.port
        with pytest.raises(ConnectionResetError):
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as near:
                near.recv(1)


def test_a_reset_passes_as_one() -> None:
    with guest_of() as (gateway, guest, _), guest.sockets.create_server(("0.0.0.0", 80)) as server:
        at = ("127.0.0.1", gateway.publish("127.0.0.1:0:80").forward.port)
        near = socket.create_connection(at, timeout=PATIENCE_S)
        server.settimeout(PATIENCE_S)
        far, _ = server.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
        far.close()
        with near, pytest.raises(ConnectionResetError):
            near.recv(1)


def test_datagrams_are_forwarded_and_answered() -> None:
    with guest_of() as (gateway, guest, _):
        with guest.sockets.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("0.0.0.0", 5353))
            server.settimeout(PATIENCE_S)
            port = gateway.publish("127.0.0.1:0:5353/udp").forward.port
            nears = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
            try:
                for number, near in enumerate(nears):
                    near.settimeout(PATIENCE_S)
                    near.sendto(b"%d" % number, ("127.0.0.1", port))
                    data, peer = server.recvfrom(100)
                    server.sendto(b"answer to " + data, peer)
                    assert near.recvfrom(100) == (b"answer to %d" % number, ("127.0.0.1", port))
            finally:
                for near in nears:
                    near.close()


def room_at(one: Any) -> int:
    """What a flow was given: the kernel gets twice as much; both tell twice what they got."""
    size = int(one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
    return size // 2 if isinstance(one, Socket) else size // 4


def test_forwarded_datagrams_share_the_room_of_all_flows() -> None:
    total = 1 << 16
    with guest_of(udp_room=total) as (gateway, guest, _), contextlib.ExitStack() as ends:

        def made(sockets: Any) -> Any:
            one = ends.enter_context(sockets.socket(socket.AF_INET, socket.SOCK_DGRAM))
            one.settimeout(PATIENCE_S)
            return one

        inside, outside = made(guest.sockets), made(socket)
        inside.bind(("0.0.0.0", 5353))
        outside.bind(("127.0.0.1", 0))
        published = gateway.publish("127.0.0.1:0:5353/udp")
        offered = gateway.offer(9, "127.0.0.1", outside.getsockname()[1], "udp")
        for number in range(4):
            near = made(socket)
            near.sendto(b"in", ("127.0.0.1", published.forward.port))
            assert inside.recvfrom(100)[0] == b"in"
            far = made(guest.sockets)
            far.sendto(b"out", ("10.0.2.2", 9))
            assert outside.recvfrom(100)[0] == b"out"
            works = [one._at_work for one in (published, offered)]
            flows = [flow.socket for work in works for flow in work._flows.values()]
            assert len(flows) == 2 * (number + 1)
            each = total // (1 << (len(flows) - 1).bit_length())
            assert {room_at(one) for one in flows} == {each}
        offered.close()
        flows = [flow.socket for flow in works[0]._flows.values()]
        assert {room_at(one) for one in flows} <= {total // 8, total // 4}


def test_what_is_offered_is_reached_at_the_gateway() -> None:
    with guest_of() as (gateway, guest, _), socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        gateway.offer(5432, "127.0.0.1", server.getsockname()[1])
        near = guest.sockets.create_connection(("10.0.2.2", 5432), timeout=PATIENCE_S)
        far, _ = server.accept()
        ping_pong(near, far)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", 0))
            datagrams.settimeout(PATIENCE_S)
            gateway.offer(9, "127.0.0.1", datagrams.getsockname()[1], "udp")
            with guest.sockets.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.settimeout(PATIENCE_S)
                one.sendto(b"hello", ("10.0.2.2", 9))
                data, peer = datagrams.recvfrom(100)
                datagrams.sendto(data.upper(), peer)
                assert one.recvfrom(100) == (b"HELLO", ("10.0.2.2", 9))


def test_on_the_running_loop() -> None:
    async def main() -> None:
        ours, theirs = pystack.nic.wire()
        loop = asyncio.get_running_loop()
        with pystack.Stack() as guest:
            interface = guest.attach(theirs)
            async with Gateway(ours) as gateway:
                await loop.run_in_executor(None, interface.dhcp)
                with guest.sockets.create_server(("0.0.0.0", 80)) as server:
                    server.settimeout(PATIENCE_S)
                    with gateway.publish("127.0.0.1:0:80") as published:
                        at = ("127.0.0.1", published.forward.port)
                        near = await loop.run_in_executor(None, socket.create_connection, at)
                        far, _ = await loop.run_in_executor(None, server.accept)
                        await loop.run_in_executor(None, ping_pong, near, far)
            with pytest.raises(OSError, match="not entered, or closed"):
                gateway.publish("127.0.0.1:0:80")

    asyncio.run(main())


def test_nothing_is_left() -> None:
    threads = threading.active_count()
    ours, theirs = pystack.nic.wire()
    with pystack.Stack() as guest:
        interface = guest.attach(theirs)
        with Gateway(ours) as gateway:
            interface.dhcp(timeout=PATIENCE_S)
            server = guest.sockets.create_server(("0.0.0.0", 80))
            server.settimeout(PATIENCE_S)
            port = gateway.publish("127.0.0.1:0:80").forward.port
            near = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            far = [server.accept()[0] for _ in near]
            net = gateway.net
        assert net is not None
        assert net.closed
        assert net.arena.live_blocks == 0
        for one in near:
            with one, pytest.raises(ConnectionResetError):
                one.recv(1)
        for other in (server, *far):
            other.close()
    assert threading.active_count() == threads
    with pytest.raises(OSError, match="not entered, or closed") as caught:
        gateway.publish("127.0.0.1:0:80")
    assert caught.value.errno == errno.EBADF
    with pytest.raises(RuntimeError, match="entered once"), gateway:
        pass


def test_what_fails_at_the_start_leaves_nothing() -> None:
    threads = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ours, _ = pystack.nic.wire()
        with pytest.raises(OSError, match=f"forward 127.0.0.1:{port}:80/tcp: Address already"):
            with Gateway(ours, forwards=[Forward(port, 80)]):
                pass
    assert threading.active_count() == threads
    with pytest.raises(OSError, match="closed"):
        ours.send(bytes(60))


def test_a_bad_forward_is_refused_before_anything_runs() -> None:
    ours, _ = pystack.nic.wire()
    with ours:
        with pytest.raises(ValueError, match="is no forward"):
            Gateway(ours, forwards=["eighty"])
        with pytest.raises(ValueError, match="is not an IP address"):
            Gateway(ours, nameservers=["dns.example"])
        with pytest.raises(ValueError, match=r"flows is .*, not 0"):
            Gateway(ours, flows=0)
        with pytest.raises(ValueError, match="take an address outside"):
            Gateway(ours, host_loopback="10.0.2.2")
        with pytest.raises(ValueError, match="prefix"):
            Gateway(ours, subnet="10.0.0.0/31")


def test_an_engine_that_fails_stops_what_reads_from_it() -> None:
    async def main() -> None:
        ours, _theirs = pystack.nic.wire()
        loop = asyncio.get_running_loop()
        told: list[Any] = []
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        async with Gateway(ours) as gateway:
            assert gateway.net is not None
            with pytest.raises(pystack.StackPanic):
                gateway.net.fail("on purpose")
            select, turns = loop._selector.select, 0  # type: ignore[attr-defined]

            def counting(timeout: float | None = None) -> Any:
                nonlocal turns
                turns += 1
                return select(timeout)

            loop._selector.select = counting  # type: ignore[attr-defined]
            await asyncio.sleep(0.5)
            assert turns < 50, "the loop spins"
            interface = gateway.interface
            assert interface is not None
            with pytest.raises(pystack.StackPanic):
                _ = interface.link
        assert len(told) < 10, told

    asyncio.run(main())
