"""`select` and `selectors` in a World: who would sleep there moves it on instead."""

from __future__ import annotations

import asyncio.selector_events
import select
import selectors
from collections.abc import Callable
from typing import Any

from pystack._native import TurnBell, WorldClock
from pystack.sockets.patch import Place

__all__ = ["places"]

_TakingPart = Callable[[], "WorldClock | None"]

# The threads that wait in a selector, by its id: what wakes them where a descriptor of the kernel's
# shows something, of which a World hears nothing.
_waiting: dict[int, tuple[WorldClock, TurnBell]] = {}


def _repeat(clock: WorldClock, look: Callable[[], Any], seconds: float | None) -> Any:
    """Looks until there is something, or the time of the World's clock is over."""
    until_us = None if seconds is None else clock.after_us(seconds)
    found = look()
    while not found and clock.wait(until_us, shows=look):
        found = look()
    return found or look()


def _selector_method(original: Any, taking_part: _TakingPart) -> Any:
    def choose(self: Any, timeout: float | None = None) -> Any:
        clock = taking_part()
        if clock is None or (timeout is not None and timeout <= 0):
            return original(self, timeout)
        bell = TurnBell(clock.turn())
        _waiting[id(self)] = clock, bell
        try:
            return _repeat(clock, lambda: original(self, 0), timeout)
        finally:
            del _waiting[id(self)]
            bell.silence()

    choose.__name__ = "select"
    choose.__doc__ = original.__doc__
    return choose


def _write_to_self(taking_part: _TakingPart) -> Any:
    """What wakes a loop of asyncio's own, in a thread of a World, from another."""
    original: Any = vars(asyncio.selector_events.BaseSelectorEventLoop)["_write_to_self"]

    def write(self: Any) -> None:
        original(self)
        clock, bell = _waiting.get(id(self._selector), (None, None))
        # In virtual time a thread from outside doesn't wake it: when would that be?
        if bell is not None and clock is not None and (clock.is_real or taking_part() is clock):
            bell.ring()

    return write


def _select(taking_part: _TakingPart) -> Any:
    original: Any = select.select

    def choose(rlist: Any, wlist: Any, xlist: Any, timeout: float | None = None, /) -> Any:
        clock = taking_part()
        if clock is None or (timeout is not None and timeout <= 0):
            return original(rlist, wlist, xlist, timeout)
        wanted = [list(one) for one in (rlist, wlist, xlist)]

        def look() -> Any:
            found = original(*wanted, 0)
            return found if any(found) else ()

        return _repeat(clock, look, timeout) or ([], [], [])

    choose.__name__ = "select"
    choose.__doc__ = original.__doc__
    return choose


class _Poller:
    """As `select.poll()` or `select.epoll()`, which it has inside."""

    def __init__(self, inner: Any, clock: WorldClock, unit: float) -> None:
        self._inner = inner
        self._clock = clock
        self._unit = unit

    def poll(self, timeout: float | None = None, *more: Any) -> Any:
        seconds = None if timeout is None or timeout < 0 else timeout * self._unit
        if seconds == 0:
            return self._inner.poll(0, *more)
        return _repeat(self._clock, lambda: self._inner.poll(0, *more), seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> _Poller:
        return self

    def __exit__(self, *_error: object) -> None:
        self._inner.close()


def _factory(original: Any, taking_part: _TakingPart, unit: float) -> Any:
    def make(*arguments: Any, **named: Any) -> Any:
        clock = taking_part()
        inner = original(*arguments, **named)
        return inner if clock is None else _Poller(inner, clock, unit)

    make.__name__ = original.__name__
    make.__doc__ = original.__doc__
    return make


def places(taking_part: _TakingPart) -> dict[Place, Any]:
    """What stands for `select` and `selectors` while a World is open.

    Args:
        taking_part: The clock of the World that the calling thread takes part in.
    """
    found: dict[Place, Any] = {(select, "select"): _select(taking_part)}
    found[asyncio.selector_events.BaseSelectorEventLoop, "_write_to_self"] = _write_to_self(
        taking_part
    )
    for name, unit in (("poll", 1e-3), ("epoll", 1.0)):
        if hasattr(select, name):
            found[select, name] = _factory(getattr(select, name), taking_part, unit)
    for name in ("SelectSelector", "PollSelector", "EpollSelector", "DevpollSelector"):
        kind = getattr(selectors, name, None)
        if kind is not None:
            found[kind, "select"] = _selector_method(kind.select, taking_part)
    return found
