"""The end of tasks: no cancellation is lost, and nothing that came with it."""

from __future__ import annotations

import asyncio

import pytest

from pystack.embed.ending import ended, in_time


class Closable:
    closed = False

    def close(self) -> None:
        self.closed = True


def test_who_swallows_a_cancellation_gets_another() -> None:
    async def stubborn() -> None:
        forever = asyncio.get_running_loop().create_future()
        try:
            await asyncio.shield(forever)
        except asyncio.CancelledError:
            await forever

    async def main() -> None:
        task = asyncio.ensure_future(stubborn())
        await asyncio.sleep(0)
        await asyncio.wait_for(ended([task]), 30)
        assert task.cancelled()

    asyncio.run(main())


def test_a_cancellation_that_comes_with_the_result_counts() -> None:
    async def main() -> None:
        came, thing = asyncio.get_running_loop().create_future(), Closable()
        task = asyncio.ensure_future(in_time(came, 10))
        await asyncio.sleep(0)
        came.set_result(thing)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert thing.closed

    asyncio.run(main())


def test_what_comes_too_late_is_closed() -> None:
    thing = Closable()

    async def late() -> Closable:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return thing
        raise AssertionError

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await in_time(late(), 0.01)
        assert thing.closed

    asyncio.run(main())


def test_in_time_is_what_it_came_to() -> None:
    async def main() -> None:
        assert await in_time(asyncio.sleep(0, "slept"), None) == "slept"
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(OSError("refused"))
        with pytest.raises(OSError, match="refused"):
            await in_time(failed, 10)

    asyncio.run(main())
