"""Functions of asyncio that are run on the kernel's sockets and on a Stack's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import differential as support
from differential import Place
from quiet import BOUND_S


def differential(function: Callable[[Place], Any]) -> Callable[[Place], Any]:
    """As `differential.differential`, for coroutines too, in a block of `installed`."""

    @wraps(function)
    def within(p: Place) -> Any:
        with p.installed():
            came = function(p)
            return (
                asyncio.run(asyncio.wait_for(came, BOUND_S)) if asyncio.iscoroutine(came) else came
            )

    return support.differential(within, function.__globals__)


async def outcome(awaitable: Awaitable[Any], seconds: float = 0.3) -> Any:
    """What it comes to; a wait that goes on is one."""
    try:
        return "returns", await asyncio.wait_for(awaitable, seconds)
    except (TimeoutError, asyncio.TimeoutError):
        return "waits"
    except Exception as error:
        return support.said(error.with_traceback(None))


def nonblocking_pair(p: Place) -> tuple[Any, Any]:
    near, far = p.pair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far
