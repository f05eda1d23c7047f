"""The end of tasks, and of what they wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, TypeVar

__all__ = ["ended", "finished", "in_time"]

T = TypeVar("T")

_AGAIN_S = 0.5


async def ended(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels tasks, and returns when all have ended.

    It cancels again whatever goes on: before Python 3.12 `asyncio.wait_for` swallows a cancellation
    that comes as its result does.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        over, left = await asyncio.wait(left, timeout=_AGAIN_S)
        for task in over:
            if not task.cancelled():
                task.exception()  # its end is all that counts


async def finished(work: Coroutine[Any, Any, None]) -> None:
    """Runs something to its end; a cancellation that comes meanwhile is raised after that.

    Raises:
        BaseException: What the work raises.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    task.result()


async def in_time(work: Awaitable[T], timeout: float | None) -> T:
    """What an awaitable comes to, if it does so in time; else it is cancelled.

    Unlike `asyncio.wait_for` before Python 3.12 it swallows no cancellation. What has come too late
    for the caller is closed, where it is something to close.

    Args:
        work: A coroutine or future.
        timeout: Seconds; None: any time.

    Raises:
        asyncio.TimeoutError: It took longer.
    """
    if timeout is None:
        return await work
    task = asyncio.ensure_future(work)
    try:
        over, _left = await asyncio.wait([task], timeout=timeout)
    except asyncio.CancelledError:
        await _give_up(task)
        raise
    if not over:
        await _give_up(task)
        raise asyncio.TimeoutError
    return task.result()


async def _give_up(task: asyncio.Future[Any]) -> None:
    task.add_done_callback(_close_result)  # also where this is cancelled once more
    await ended([task])


def _close_result(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and task.exception() is None:
        close = getattr(task.result(), "close", None)
        if close is not None:
            close()
