"""One function, run on the kernel's sockets and on a Stack's, which has to come to the same.

`differential` makes a test of it. What it returns is compared, or the class and errno of what it
raises; `Place.tried` does so for one call in it, and adds whether it waited. What differs and
stays so stands by name, with its reason, in `DIFFERENT` of `declared.py`, and has to go on
differing.
"""

from __future__ import annotations

import functools
import gc
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import pytest
from declared import DIFFERENT
from namespace import available, namespace
from quiet import BOUND_S, settle, waits

import pystack

LOCAL, LOCAL6 = "127.0.0.1", "::1"
MAPPED = "::ffff:127.0.0.1"
PATIENCE_S = 0.15  # of calls that wait for what never comes
# On a busy machine what does come may be later than that. So where the two differ they are asked
# again, with more patience each time: what never comes is as late as that.
MOST_PATIENCE_S = 2.4
WAITED = 0.8  # of that patience; what took less came at once
ATTEMPTS = 3
# A busy machine makes what comes at once look as if it waited, and never the reverse: of several
# attempts the quickest counts, for each call.
TIMED_ATTEMPTS = 8

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() resets


def told(value: Any) -> Any:
    """A value without what has to differ: objects' places, and the classes of sockets."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(told, value)) if type(value) in (tuple, list) else tuple(value)
    if isinstance(value, dict):
        return {key: told(one) for key, one in value.items()}
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if value is None or isinstance(value, (int, float, str, bytes)):
        return value
    return "an object"


class Took(float):
    """Seconds that a call took: of several attempts, the least counts."""


def quickest(one: Any, other: Any) -> Any:
    """The same with the lesser times; where more than times differs, the one that came later."""
    if isinstance(one, Took) and isinstance(other, Took):
        return min(one, other)
    if isinstance(one, str) and isinstance(other, str) and {one, other} == {"waited", "at once"}:
        return "at once"
    if type(one) is type(other) and isinstance(one, (tuple, list)) and len(one) == len(other):
        return type(one)(map(quickest, one, other))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {key: quickest(one[key], other[key]) for key in other}
    return other


def timeless(value: Any) -> Any:
    """A value without times."""
    if isinstance(value, Took) or (isinstance(value, str) and value in {"waited", "at once"}):
        return "a time"
    if isinstance(value, (tuple, list)):
        return [timeless(one) for one in value]
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items()}
    return value


def said(error: BaseException) -> tuple[Any, ...]:
    """What is compared of an exception."""
    if isinstance(error, OSError):
        return "raises", type(error).__name__, error.errno
    return "raises", type(error).__name__


class Place:
    """The module `socket` on one of the two, and what a function opened there.

    Attributes:
        module: The kernel's module, or `Stack.sockets`.
        name: "kernel" or "stack".
        patience_s: Seconds that calls wait for what may never come.
    """

    def __init__(self, name: str, module: Any, patience_s: float = PATIENCE_S) -> None:
        self.name, self.module, self.patience_s = name, module, patience_s
        self._open: list[Any] = []
        self._threads: list[threading.Thread] = []

    def keep(self, one: Any) -> Any:
        """Something that is closed at the end."""
        self._open.append(one)
        return one

    def close(self) -> None:
        """Closes all that is open, and waits for the threads."""
        for one in reversed(self._open):
            with suppress(OSError, ValueError):
                one.close()
        for thread in self._threads:
            thread.join(BOUND_S)
            assert not thread.is_alive(), "a thread of the function goes on"
        self._open.clear()
        self._threads.clear()

    def installed(self) -> AbstractContextManager[Any]:
        """A block in which the library's module `socket` is this place's."""
        return nullcontext() if self.module is socket else _stack().installed()

    def socket(self, *arguments: Any, **named: Any) -> Any:
        """A socket that is closed at the end."""
        return self.keep(self.module.socket(*arguments, **named))

    def udp(self, host: str = LOCAL, *, connect: Any = None) -> Any:
        """A bound UDP socket, which waits a short time only."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = self.socket(family, socket.SOCK_DGRAM)
        made.bind((host, 0))
        made.settimeout(self.patience_s)
        if connect is not None:
            made.connect(connect.getsockname())
        return made

    def listener(self, host: str = LOCAL, backlog: int = 8) -> Any:
        """A listening TCP socket."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = self.socket(family)
        made.bind((host, 0))
        made.listen(backlog)
        made.settimeout(self.patience_s)
        return made

    def pair(self, host: str = LOCAL) -> tuple[Any, Any]:
        """A TCP connection: the end that connected, and the one that accepted."""
        listener = self.listener(host)
        near = self.socket(listener.family)
        near.connect(listener.getsockname())
        listener.settimeout(BOUND_S)
        far, _ = listener.accept()
        self.keep(far)
        listener.close()
        for one in (near, far):
            one.settimeout(self.patience_s)
            # What is sent is under way, then, and doesn't wait for a delayed acknowledgement.
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return near, far

    def thread(self, call: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Makes a call on a thread, and returns when it waits or is over.

        The list gets its outcome. Such a call has waited if it was seen to.
        """
        out: list[Any] = []
        seen = threading.Event()

        def run() -> None:
            came = self.tried(call, *arguments)
            out.append((*came[:-1], "waited") if seen.is_set() else came)

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)
        if waits(thread):
            seen.set()
        return out

    def joined(self, out: list[Any]) -> Any:
        """What came of the last `thread`, which ends by itself."""
        self._threads[-1].join(BOUND_S)
        return out[0] if out else "goes on"

    def settle(self) -> None:
        """Waits until what is under way on loopback has arrived."""
        settle(self.module)

    def quiet(self) -> None:
        """Waits until all has arrived, and each thread waits (again) or has ended."""
        self.settle()
        for thread in self._threads:
            waits(thread)

    def took(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What a call came to, and how long that took, in fifths of a second."""
        started = time.monotonic()
        came = self.tried(call, *arguments)
        return came, Took(int((time.monotonic() - started + 0.01) * 5) / 5)

    def tried(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What a call came to, and whether it waited."""
        started = time.monotonic()
        try:
            value = call(*arguments, **named)
        except Exception as error:
            # What it refers to would be closed late.
            came = said(error.with_traceback(None))
        else:
            if hasattr(value, "close"):
                self.keep(value)
            came = ("returns", told(value))
        waited = time.monotonic() - started > WAITED * self.patience_s
        return *came, "waited" if waited else "at once"

    def tries(self, *calls: Callable[[], Any]) -> list[Any]:
        """`tried` of each, in turn."""
        return [self.tried(call) for call in calls]


@contextmanager
def kernel_place() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Where the kernel's part is run: in a namespace of its own, if there may be one."""
    if available() is not None:
        yield lambda call: call()
        return
    with namespace() as made:
        yield made.call


@functools.cache
def _stack() -> pystack.Stack:
    return pystack.Stack()


_kernel: Callable[[Callable[[], Any]], Any] | None = None


@contextmanager
def places() -> Iterator[None]:
    """What `come_to` needs, for a session of tests."""
    global _kernel  # noqa: PLW0603
    with kernel_place() as run, _stack():
        _kernel = run
        yield
    _kernel = None


def come_to(
    function: Callable[[Place], Any], together: bool, patience_s: float = PATIENCE_S
) -> tuple[Any, Any]:
    """What a function comes to on the kernel's sockets, and on a Stack's, perhaps at one time."""

    def on(place: Place) -> Any:
        try:
            return told(function(place))
        except (NameError, AssertionError):  # the function's own fault
            raise
        except Exception as error:
            return said(error.with_traceback(None))
        finally:
            place.close()

    def on_kernels() -> Any:
        return on(Place("kernel", socket, patience_s))

    def on_stacks() -> Any:
        return on(Place("stack", _stack().sockets, patience_s))

    assert _kernel is not None
    if together:
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(on_stacks)
            kernels = _kernel(on_kernels)
            stacks = waiting.result()
    else:
        kernels, stacks = _kernel(on_kernels), on_stacks()
    gc.collect(0)
    return kernels, stacks


def difference(
    function: Callable[[Place], Any], together: bool = False, declared: bool = False
) -> str | None:
    """What differs, each time that it is tried; None: nothing.

    Args:
        function: What is run on both.
        together: At one time, at first.
        declared: Whether it is to differ: then that is no reason for more patience.
    """
    best: tuple[Any, Any] | None = None
    for attempt in range(TIMED_ATTEMPTS):
        patience_s = PATIENCE_S if declared else min(PATIENCE_S * 4**attempt, MOST_PATIENCE_S)
        kernels, stacks = come_to(function, together and attempt == 0, patience_s)
        if best is not None:
            kernels, stacks = quickest(best[0], kernels), quickest(best[1], stacks)
        best = kernels, stacks
        if kernels == stacks:
            return None
        if attempt + 1 >= ATTEMPTS and timeless(kernels) != timeless(stacks):
            break
    if isinstance(kernels, dict) and isinstance(stacks, dict):  # only what differs of a table
        names = [name for name in kernels if kernels[name] != stacks[name]]
        kernels, stacks = ({name: one[name] for name in names} for one in (kernels, stacks))
    return f"\n  kernel {kernels}\n  stack  {stacks}"


def compare(name: str, function: Callable[[Place], Any]) -> None:
    """Both have to come to the same, or, if it is declared, not to."""
    found = difference(function, declared=name in DIFFERENT)
    if name in DIFFERENT:
        assert found is not None, f"declared as different, and as the kernel's: {name}"
    else:
        assert found is None, found


def differential(
    function: Callable[[Place], Any], names: dict[str, Any] | None = None
) -> Callable[[Place], Any]:
    """Puts a test of a function of a `Place` beside it, as ``test_`` and its name.

    Args:
        function: What is run on both.
        names: The module's; None: the function's own.
    """
    name = function.__name__

    def test() -> None:
        compare(name, function)

    test.__name__ = test.__qualname__ = f"test_{name}"
    test.__module__ = function.__module__
    test.__doc__ = function.__doc__
    test.pytestmark = getattr(function, "pytestmark", [])  # type: ignore[attr-defined]
    (function.__globals__ if names is None else names)[test.__name__] = test
    return function


def compare_table(
    state: str,
    make: Callable[[Place], Any],
    calls: dict[str, Callable[[Place, Any], Any]],
) -> None:
    """Each call in a state; those that are declared, by ``state/call``, and no others differ."""
    found = {}
    for call, function in calls.items():

        def one(place: Place, function: Any = function) -> Any:
            return place.tried(function, place, make(place))

        what = difference(one, together=True, declared=f"{state}/{call}" in DIFFERENT)
        if what is not None:
            found[f"{state}/{call}"] = what
    named = {name for name in DIFFERENT if name.startswith(f"{state}/")}
    assert not set(found) - named, "".join(
        f"\n{name}:{what}" for name, what in found.items() if name not in named
    )
    assert not named - set(found), f"declared, and as the kernel's: {sorted(named - set(found))}"


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's raw sockets need root")
