"""A gateway whose engine fails, that is cancelled, that another thread or a lone packet reaches."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether

import pystack
from pystack.embed.gateway import Gateway
from pystack.scapy import FarEnd

PATIENCE_S = 20.0


@asynccontextmanager
async def entered(**options: Any) -> AsyncIterator[tuple[Gateway, pystack.Stack, list[Any]]]:
    """A gateway on the running loop, its guest, and what the loop's handler is told."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, what: told.append(what))
    ours, theirs = pystack.nic.wire()
    with pystack.Stack() as guest:
        guest.attach(theirs, "10.0.2.100/24", gateway="10.0.2.2")
        async with Gateway(ours, nameservers=(), subnet6=None, **options) as gateway:
            yield gateway, guest, told


async def some_turns() -> None:
    """So many that whatever is readable has been found so."""
    for _ in range(50):
        await asyncio.sleep(0)


def datagrams(sockets: Any, cleanup: ExitStack, *at: Any) -> Any:
    """A datagram socket of the kernel's or a Stack's, bound if there is an address."""
    one = cleanup.enter_context(sockets.socket(socket.AF_INET, socket.SOCK_DGRAM))
    one.settimeout(PATIENCE_S)
    if at:
        one.bind(at)
    return one


def test_an_engine_that_fails_ends_what_it_carried() -> None:
    async def main() -> None:
        async with entered() as (gateway, guest, told):
            with ExitStack() as cleanup:
                await fail(gateway, guest, cleanup)
                await some_turns()
        # Once, by the task that takes new flows.
        assert [one["message"][:30] for one in told] == ["the gateway takes no new flows"]

    async def fail(gateway: Gateway, guest: pystack.Stack, cleanup: ExitStack) -> None:
        away = asyncio.to_thread
        # A flow of a published port's, whose far side is the Stack's.
        published = gateway.publish("127.0.0.1:0:5353/udp")
        inside = datagrams(guest.sockets, cleanup, "0.0.0.0", 5353)
        near = datagrams(socket, cleanup)
        near.sendto(b"x", ("127.0.0.1", published.forward.port))
        await away(inside.recvfrom, 10)
        # One of an offered port's, whose listener is.
        outside = datagrams(socket, cleanup, "127.0.0.1", 0)
        gateway.offer(9, "127.0.0.1", outside.getsockname()[1], "udp")
        inside.sendto(b"x", ("10.0.2.2", 9))
        _, flow = await away(outside.recvfrom, 10)
        at = ("127.0.0.1", gateway.publish("127.0.0.1:0:80").forward.port)
        gateway.offer(80, "127.0.0.1", 1)

        assert gateway.net is not None
        with pytest.raises(pystack.StackPanic):
            gateway.net.fail("on purpose")
        await some_turns()
        near.sendto(b"again", ("127.0.0.1", published.forward.port))
        outside.sendto(b"an answer", flow)
        with pytest.raises(ConnectionResetError):  # as it connects, or once it has
            one = cleanup.enter_context(await away(socket.create_connection, at, PATIENCE_S))
            await away(one.recv, 10)

    asyncio.run(main())


def descriptors() -> int:
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("times", [1, 3])
def test_one_that_is_cancelled_as_it_closes_leaves_nothing(times: int) -> None:
    async def main() -> None:
        inside = asyncio.Event()

        async def run(nic: pystack.nic.Nic) -> None:
            async with Gateway(nic, nameservers=["127.0.0.9"], forwards=["127.0.0.1:0:80"]):
                inside.set()
                await asyncio.get_running_loop().create_future()

        for _ in range(2):  # the loop keeps a thread for the first one
            before = descriptors()
            ours, theirs = pystack.nic.wire()
            inside.clear()
            task = asyncio.ensure_future(run(ours))
            await inside.wait()
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
            theirs.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}
        assert descriptors() == before

    asyncio.run(main())


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_another_thread_publishes(protocol: str) -> None:
    async def main() -> None:
        async with entered() as (gateway, _guest, told):
            made = await asyncio.to_thread(gateway.publish, f"127.0.0.1:0:80/{protocol}")
            offered = await asyncio.to_thread(gateway.offer, 80, "127.0.0.1", 80, protocol)
            assert gateway.published == [made, offered]
            with pytest.raises(OSError, match="in use"):
                await asyncio.to_thread(gateway.publish, made.forward)
            await asyncio.to_thread(made.close)
            await asyncio.to_thread(offered.close)
            made.close()
            assert gateway.published == told == []
            with gateway.publish(made.forward):
                assert len(gateway.published) == 1

    asyncio.run(main())


def test_without_its_loop_nothing_is_published() -> None:
    loop = asyncio.new_event_loop()
    ours, _theirs = pystack.nic.wire()
    gateway = Gateway(ours, nameservers=())
    loop.run_until_complete(gateway.__aenter__())
    with pytest.raises(RuntimeError, match="between entering and leaving"):
        gateway.publish("127.0.0.1:0:80")
    refused: list[BaseException] = []

    def publish() -> None:
        try:
            gateway.publish("127.0.0.1:0:80")
        except RuntimeError as error:
            refused.append(error)

    thread = threading.Thread(target=publish)
    thread.start()
    thread.join(PATIENCE_S)
    assert len(refused) == 1
    loop.run_until_complete(gateway.__aexit__(None, None, None))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_errors_come_from_the_router() -> None:
    ours, theirs = pystack.nic.wire()
    there = Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="10.0.2.100", pdst="10.0.2.2")
    with Gateway(ours, nameservers=[], subnet6=None) as gateway, FarEnd(theirs) as guest:
        assert gateway.net is not None
        assert str(gateway.net.routes.lookup("10.0.2.100").source) == "10.0.2.2"
        router = guest.sr1(there, timeout=PATIENCE_S, verbose=0)
        assert router is not None
        lost = IP(src="10.0.2.100", dst="10.0.2.77") / ICMP()
        error = guest.sr1(Ether(dst=router[ARP].hwsrc) / lost, timeout=PATIENCE_S, verbose=0)
        assert error is not None
        assert (error[IP].src, error[ICMP].type) == ("10.0.2.2", 3)


def test_an_interrupt_waits_until_all_is_given_back() -> None:
    class InterruptError(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise InterruptError

    def interrupting(name: str) -> Any:
        original = getattr(Gateway, name)

        async def step(self: Gateway) -> None:
            for _ in range(2):  # the main thread waits for this, or is about to
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                await asyncio.sleep(0)
            await original(self)

        return step

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        for name in ("_open", "_close"):
            ours, theirs = pystack.nic.wire()
            gateway = Gateway(ours, nameservers=(), subnet6=None)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Gateway, name, interrupting(name))
                with pytest.raises(InterruptError):
                    with gateway:
                        assert name == "_close"
            assert gateway.net is not None
            assert gateway.net.closed
            assert not [one for one in threading.enumerate() if one.name == "pystack-gateway"]
            theirs.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
