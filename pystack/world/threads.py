"""Threads that take turns in a World, and the standard library's primitives for them.

While a World is open, `threading` and `select` are replaced for the threads that take part in it,
and for these alone: a lock that is held makes its taker wait for its turn. What the standard
library builds on them (`queue`, `concurrent.futures`, `Condition`, `Event` and others) follows.
"""

from __future__ import annotations

import _thread
import concurrent.futures
import contextlib
import importlib
import logging
import queue
import random
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType, TracebackType
from typing import Any

from pystack._native import HostLostError, WorldClock, ffi, lib, note_thread_of_world
from pystack.sockets.active import inherited
from pystack.sockets.patch import Layer, Place, extend, patched, suspended
from pystack.world import polling
from pystack.world.chance import KERNELS_URANDOM, seed_of, urandom_of
from pystack.world.times import is_any_open, taking_part, times_of_world

__all__ = [
    "WorldLock",
    "has_ended",
    "join_in_real_time",
    "start_outside",
    "threads_of",
    "time_of_world",
]

_FOREVER = -1.0


class WorldLock:
    """As `threading.Lock`; who waits for it gives others their turn.

    Args:
        clock: The World's.
    """

    def __init__(self, clock: WorldClock) -> None:
        self._clock = weakref.ref(clock)  # a lock that outlives its World doesn't keep it
        self._lock = _lock_of_c()
        self._waiting: deque[Any] = deque()

    def acquire(self, blocking: bool = True, timeout: float = _FOREVER) -> bool:
        """See `threading.Lock.acquire`; the timeout is the World's."""
        if not blocking and timeout != _FOREVER:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if timeout < 0 and timeout != _FOREVER:
            raise ValueError("timeout value must be a non-negative number")
        if self._lock.acquire(False):
            return True
        if not blocking:
            return False
        own = self._clock()
        clock = taking_part() or (None if own is None or own.closed else own)
        if clock is None:  # left over from its World: a lock as any other
            return self._lock.acquire(True, timeout)
        until_us = None if timeout == _FOREVER else clock.after_us(timeout)
        in_time = True
        while in_time and self._lock.locked():
            turn = clock.turn()
            self._waiting.append(turn)
            try:
                in_time = clock.wait(until_us)
            finally:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
        return self._lock.acquire(False)

    def release(self) -> None:
        """See `threading.Lock.release`."""
        self._lock.release()
        if self._waiting:
            lib.ps_turn_wake(self._waiting.popleft())

    def locked(self) -> bool:
        """Whether it is held."""
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self._lock = _lock_of_c()
        self._waiting.clear()

    def __repr__(self) -> str:
        return f"<{'locked' if self.locked() else 'unlocked'} WorldLock>"


def _allocate_lock() -> Any:
    clock = taking_part()
    return _lock_of_c() if clock is None else WorldLock(clock)


def _reentrant_lock(*arguments: Any, **named: Any) -> Any:
    if taking_part() is None:
        return _reentrant_lock_of_c(*arguments, **named)
    return threading._PyRLock()  # type: ignore[attr-defined]


def _simple_queue() -> Any:
    return queue._PySimpleQueue() if taking_part() else _simple_queue_of_c()  # type: ignore[attr-defined]


_simple_queue_of_c = queue.SimpleQueue
_lock_of_c, _reentrant_lock_of_c = threading.Lock, threading.RLock
_allocate_lock_of_c = _thread.allocate_lock  # not the same since Python 3.13
_start_names = ("_start_new_thread", "_start_joinable_thread")
_starters = {name: getattr(threading, name) for name in _start_names if hasattr(threading, name)}
join_in_real_time = threading.Thread.join
# In a thread that takes no part in any World. Under this module's name alone: elsewhere an open
# World replaces it.
start_outside = _thread.start_new_thread


def _is_of_an_end(error: BaseException | None) -> bool:
    """Whether a host was lost; what cleaning up raised then is no error of its own."""
    while error is not None and not isinstance(error, HostLostError):
        error = error.__context__
    return error is not None


def _silent_about_ends(report: Callable[[threading.Thread], None]) -> Any:
    """What a thread reports its exception by; that its host is gone is none."""

    def invoke(thread: threading.Thread) -> None:
        if not _is_of_an_end(sys.exc_info()[1]):
            report(thread)

    return invoke


def _starter(name: str) -> Callable[..., Any]:
    original = _starters[name]

    def start(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        clock = taking_part()
        if clock is None:
            return original(function, *arguments, **named)
        turn = lib.ps_turn_create(clock.pointer)
        if turn == ffi.NULL:
            raise MemoryError("no memory for a thread of the World")
        owner = getattr(function, "__self__", None)
        end, block = threading.Event(), inherited()
        if owner is not None:
            owner._ps_end, owner._ps_clock = end, clock
            owner._invoke_excepthook = _silent_about_ends(owner._invoke_excepthook)
            if lib.ps_turn_is_inside(clock.pointer):
                owner._started.set()  # `start` can't wait for it inside a hypercall

        def run(*given: Any) -> None:
            note_thread_of_world()
            lib.ps_turn_begin(turn)
            try:
                with block():
                    function(*given)
            finally:
                end.set()
                lib.ps_turn_end(turn)

        return original(run, *arguments, **named)

    return start


def _join_in_world(self: threading.Thread, timeout: float | None = None) -> None:
    end = getattr(self, "_ps_end", None)
    if end is not None and taking_part() is not None and self is not threading.current_thread():
        if not end.wait(None if timeout is None else max(0.0, timeout)):
            return
        timeout = None  # it has had its last turn, and ends by itself
    join_in_real_time(self, timeout)


class _InOrder(dict[Any, None]):
    """A set whose order is that of its making, where a set's depends on addresses."""

    def add(self, one: Any) -> None:
        self[one] = None


_make_pool: Any = concurrent.futures.ThreadPoolExecutor.__init__
_submit: Any = concurrent.futures.ThreadPoolExecutor.submit


def _make_pool_in_world(self: Any, *arguments: Any, **named: Any) -> None:
    _make_pool(self, *arguments, **named)
    self._ps_clock = taking_part()
    if self._ps_clock is not None:
        self._threads = _InOrder()  # at the end they are joined one after the other


def _submit_in_world(self: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:
    clock = taking_part()
    if clock is not None and getattr(self, "_ps_clock", None) is not clock:
        raise RuntimeError(
            f"{self!r} is from before the World: its threads and its queue take no part in it. "
            "Make the pool inside of `with World()`"
        )
    return _submit(self, function, *arguments, **named)


def threads_of(clock: WorldClock) -> list[threading.Thread]:
    """The threads that were started inside a World, by whomever, and live."""
    return [one for one in threading.enumerate() if getattr(one, "_ps_clock", None) is clock]


def has_ended(thread: threading.Thread) -> bool:
    """Whether a thread of a World has had its last turn."""
    end = getattr(thread, "_ps_end", None)
    if end is None or not end.is_set():
        return False
    join_in_real_time(thread)
    return True


_TYPE = "LockType"  # what programs ask about locks by; since Python 3.13 it is `threading.Lock`
_originals = {id(value): value for value in (
    _lock_of_c, _allocate_lock_of_c, _reentrant_lock_of_c, _simple_queue_of_c, KERNELS_URANDOM,
    *_starters.values(),
)}  # fmt: skip
# How many modules there were, and the names in them that are one of those.
_known: tuple[int, list[tuple[ModuleType, str, int]]] = (0, [])


def _names_in(modules: Iterable[ModuleType]) -> list[tuple[ModuleType, str, int]]:
    own = vars(sys.modules[__name__])
    return [
        (module, name, id(value))
        for module in modules
        if issubclass(type(module), ModuleType) and vars(module) is not own
        for name, value in list(vars(module).items())
        if id(value) in _originals and _originals[id(value)] is value and name != _TYPE
    ]


def _names_elsewhere() -> list[tuple[ModuleType, str, int]]:
    """Where modules have taken names from `threading`, `queue` and `os`."""
    global _known  # noqa: PLW0603 - a look through all modules takes milliseconds
    if _known[0] != len(sys.modules) and not is_any_open():
        _known = len(sys.modules), _names_in(list(sys.modules.values()))
    return _known[1]


_find_and_load: Any = vars(importlib._bootstrap)["_find_and_load"]


def _importing(layer: Layer, ours: Mapping[int, Any]) -> Callable[..., Any]:
    """What finds modules that are not there yet: they see what they would have seen before.

    What a module takes at its import is so the same as if it were imported before the World, and
    nothing of the World's outlives it. Then its names are replaced, as those of others are.
    """

    def find_and_load(name: str, *more: Any) -> Any:
        if taking_part() is None:
            return _find_and_load(name, *more)
        before = set(sys.modules)
        try:
            with suspended(layer):
                return _find_and_load(name, *more)
        finally:
            new = [module for key, module in list(sys.modules.items()) if key not in before]
            extend(layer, {(one, taken): ours[which] for one, taken, which in _names_in(new)})

    return find_and_load


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line is of an error, and not of a pool or a loop that ended with its host."""
    return not (record.exc_info and _is_of_an_end(record.exc_info[1]))


for _name in ("asyncio", "concurrent.futures"):
    logging.getLogger(_name).addFilter(_is_news)
_POLLING = polling.places(taking_part)


@contextlib.contextmanager
def time_of_world(
    clock: WorldClock, epoch: float, chance: random.Random, seeds: random.Random
) -> Iterator[None]:
    """In this block, time, threads and randomness of those that take part are the World's.

    Args:
        clock: The World's.
        epoch: What `time.time` says at 0 of the World's clock.
        chance: Where `os.urandom` takes its bytes from.
        seeds: Where a `random.Random()` takes its seed from.
    """
    worlds_urandom = urandom_of(chance)

    def urandom(size: int, /) -> bytes:
        return (worlds_urandom if taking_part() else KERNELS_URANDOM)(size)

    ours: dict[int, Any] = {
        id(_lock_of_c): _allocate_lock,
        id(_allocate_lock_of_c): _allocate_lock,
        id(_reentrant_lock_of_c): _reentrant_lock,
        id(_simple_queue_of_c): _simple_queue,
        id(KERNELS_URANDOM): urandom,
    }
    ours |= {id(original): _starter(name) for name, original in _starters.items()}
    places: dict[Place, Any] = {
        (module, name): ours[which] for module, name, which in _names_elsewhere()
    }
    places[random.Random, "seed"] = seed_of(seeds, taking_part)
    places[threading.Thread, "join"] = _join_in_world
    places[concurrent.futures.ThreadPoolExecutor, "__init__"] = _make_pool_in_world
    places[concurrent.futures.ThreadPoolExecutor, "submit"] = _submit_in_world
    places |= _POLLING
    with times_of_world(clock, epoch), patched(places) as layer:
        extend(layer, {(importlib._bootstrap, "_find_and_load"): _importing(layer, ours)})
        yield
