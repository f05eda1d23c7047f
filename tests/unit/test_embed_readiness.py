"""How the forwarding engine waits for sockets of either kind."""

from __future__ import annotations

import asyncio
import contextvars
import socket
from pathlib import Path
from typing import Any

import pytest
from pair import LEFT, pair

from pystack.embed import readiness
from pystack.embed.proxy import Pump
from pystack.embed.readiness import connect, side_of
from pystack.world import World

WORD = b"word"


def descriptors() -> int:
    """How many there are, but for those of epoll: each Stack's driver has one from some time on."""
    listing = Path("/proc/self/fd")
    kinds = [str(one.readlink()) for one in listing.iterdir() if one.is_symlink()]
    return sum("eventpoll" not in kind for kind in kinds)


class Stage:
    """Connections between two Stacks: near ends on the right, far ends on the left."""

    def __init__(self, both: Any, count: int) -> None:
        self.nears, self.fars = [], []
        with both.left.sockets.create_server((LEFT, 0)) as listener:
            for _ in range(count):
                self.nears.append(both.right.sockets.create_connection(listener.getsockname()))
                self.fars.append(listener.accept()[0])
                self.nears[-1].setblocking(False)

    def close(self) -> None:
        for one in (*self.nears, *self.fars):
            one.close()


def test_sockets_of_a_stack_share_a_descriptor() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as both:
            stage = Stage(both, 20)
            before = descriptors()
            sides = [side_of(one, loop) for one in stage.nears]
            got: asyncio.Queue[int] = asyncio.Queue()
            for place, side in enumerate(sides):
                side.on_readable(lambda place=place: take(place))

            def take(place: int) -> None:
                assert stage.nears[place].recv(100) == WORD
                got.put_nowait(place)

            assert descriptors() == before + 1
            for far in stage.fars:
                far.sendall(WORD)
            found = {await asyncio.wait_for(got.get(), 30) for _ in stage.fars}
            assert found == set(range(20))
            for side in sides:
                side.stop()
                side.stop()
                side.on_readable(pytest.fail)
                side.on_writable(pytest.fail)
            stage.fars[0].sendall(WORD)
            assert descriptors() == before, "the last gives it back"
            assert not readiness._all
            again = side_of(stage.nears[0], loop)
            heard = asyncio.Event()
            again.on_readable(heard.set)
            with pytest.raises(RuntimeError, match="already"):
                side_of(stage.nears[0], loop)
            await asyncio.wait_for(heard.wait(), 30)
            again.stop()
            stage.close()

    asyncio.run(main())


def test_a_callback_that_raises_is_told_and_keeps_nobody_from_its_turn() -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _loop, what: told.append(what["exception"]))
        with pair() as both:
            stage = Stage(both, 5)
            over: asyncio.Future[None] = loop.create_future()
            left = set(range(5))

            def take(place: int) -> None:
                stage.nears[place].recv(100)
                left.discard(place)
                if not left:
                    over.set_result(None)
                raise ValueError(place)

            for place, one in enumerate(stage.nears):
                side_of(one, loop).on_readable(lambda place=place: take(place))
            for far in stage.fars:
                far.sendall(WORD)
            await asyncio.wait_for(over, 30)
            await asyncio.sleep(0)
            assert sorted(error.args[0] for error in told) == list(range(5))
            stage.close()

    asyncio.run(main())


def test_the_end_of_the_stack_is_told_to_each() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as both:
            stage = Stage(both, 3)
            pumps = []
            for near in stage.nears:
                ours, theirs = socket.socketpair()
                pumps.append((Pump(near, ours), theirs))
            await asyncio.to_thread(both.right.close)
            for carrying, theirs in pumps:
                await asyncio.wait_for(carrying.done, 30)
                assert isinstance(carrying.error, OSError)
                with theirs:
                    assert theirs.recv(1) == b""
            assert not readiness._all
            stage.close()
            with pytest.raises(OSError, match="closed"):
                side_of(stage.nears[0], loop)

    asyncio.run(main())


def test_a_connect_ends_as_it_ends() -> None:
    async def main() -> None:
        with pair() as both, both.left.sockets.create_server((LEFT, 0)) as listener:
            before = descriptors()
            with both.right.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
                await connect(one, listener.getsockname())
                assert one.getpeername() == listener.getsockname()
            with both.right.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
                with pytest.raises(ConnectionRefusedError, match=f"{LEFT} port 1"):
                    await connect(one, (LEFT, 1))
            with both.right.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
                going = asyncio.ensure_future(connect(one, ("10.0.0.99", 1)))
                await asyncio.sleep(0)
                going.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await going
            assert descriptors() == before

    asyncio.run(main())


def test_no_flow_is_kept_alive_by_its_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as both:
            stage = Stage(both, 1)
            variable.set("the first flow's")
            got: asyncio.Future[str] = loop.create_future()
            side = side_of(stage.nears[0], loop)

            def take() -> None:
                side.stop()
                got.set_result(variable.get())

            side.on_readable(take)
            stage.fars[0].sendall(WORD)
            assert await asyncio.wait_for(got, 30) == "none"
            stage.close()

    asyncio.run(main())


def test_in_a_world_a_descriptor_does() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with World(seed=1) as world, world.host("a").socket(2, socket.SOCK_DGRAM) as one:
            side = side_of(one, loop)
            assert isinstance(side, readiness._LoopSide)
            side.on_readable(pytest.fail)
            side.stop()
            side.stop()

    asyncio.run(main())
