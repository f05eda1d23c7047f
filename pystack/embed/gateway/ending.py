"""The end of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

__all__ = ["ended", "finished"]

_AGAIN_S = 0.5


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
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
