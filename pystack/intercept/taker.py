"""`Intercept`: an open request for flows to any address, to be iterated over."""

from __future__ import annotations

import errno
import os
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pystack._native import StackHandle, ffi, lib
from pystack._native.closing import Closing
from pystack._native.values import number, whole
from pystack.intercept.flow import EchoFlow, TcpFlow, UdpFlow, flow_of
from pystack.sockets import descriptors
from pystack.sockets.descriptors import Descriptor, OpenSocket
from pystack.sockets.waiting import until_something

if TYPE_CHECKING:
    import asyncio

__all__ = ["Intercept", "InterceptStatistics"]

Self = TypeVar("Self", bound="Intercept")

_LARGEST = 65536  # bytes of a datagram
_new = ffi.new_allocator(should_clear_after_alloc=False)
_IN_A_ROW = 64  # flows that an asynchronous iteration gives before others have a turn
_MOST = 2**32 - 1
_WORDS = {
    errno.EADDRINUSE: "another Intercept of this Stack is open: close it first",
    errno.EREMOTE: "flows are taken by the process that made the Stack",
}


@dataclass(frozen=True)
class InterceptStatistics:
    """What an Intercept has at the moment.

    Attributes:
        undecided: Flows that wait for a decision.
        silent: Flows that were dropped and are remembered.
        open: Sockets of accepted flows.
        held_bytes: Memory of packets that wait with their flows.
    """

    undecided: int
    silent: int
    open: int
    held_bytes: int


class Intercept(Closing):
    """The flows that come for addresses that are not the Stack's; made by `Stack.intercept`.

    Iterate over it, with `for` or `async for`; both end when it is closed, or the Stack. Several
    threads and tasks may share the flows. Also a context manager, and something to `select` on:
    readable while a flow waits.
    """

    def __init__(
        self,
        handle: StackHandle,
        *,
        tcp: bool,
        udp: bool,
        icmp: bool,
        undecided: int,
        open: int,
        decide: float,
    ) -> None:
        for name, count in (("undecided", undecided), ("open", open)):
            whole(count, name, 1, _MOST)
        number(decide, "decide", 0.001, _MOST // 1000, "seconds")
        for name, takes in (("tcp", tcp), ("udp", udp), ("icmp", icmp)):
            if not isinstance(takes, int):
                raise TypeError(f"{name} is whether to take it, True or False, not {takes!r}")
        if not (tcp or udp or icmp):
            raise ValueError("name a protocol to take: tcp, udp or icmp")
        spec = ffi.new("struct ps_intercept *")
        spec.tcp, spec.udp, spec.icmp = tcp, udp, icmp
        spec.most_undecided, spec.most_open = undecided, open
        spec.decide_ms = int(decide * 1000)
        made = handle.made(lib.ps_intercept_open(handle.pointer, spec))
        if made == -errno.ENOSYS:
            raise OSError(
                errno.EOPNOTSUPP,
                f"{os.strerror(errno.EOPNOTSUPP)}: of the engines lwip alone takes flows to other"
                " hosts; make the Stack with engine='lwip'",
            )
        self._handle = handle
        self._number = handle.check(made, _WORDS)
        self._opened: OpenSocket | None = OpenSocket(
            handle, self._number, int(socket.AF_INET), int(socket.SOCK_RAW), 0
        )
        self._descriptor: Descriptor | None = None
        self._lock = threading.Lock()
        self._waiters: dict[asyncio.AbstractEventLoop, set[asyncio.Future[None]]] = {}
        self._in_a_row = 0

    # --- flows -----------------------------------------------------------------------------

    def get(self, timeout: float | None = None) -> TcpFlow | UdpFlow | EchoFlow:
        """The oldest flow that was not given out yet.

        Args:
            timeout: Seconds to wait for one, by the Stack's clock; None: for ever; 0: not at all.

        Raises:
            ValueError: The timeout is negative.
            TimeoutError: None came in time.
            BlockingIOError: None is there, and the timeout is 0.
            OSError: EBADF, it is closed, or the Stack.
        """
        handle, number = self._handle, self._number
        if timeout is not None and timeout < 0:
            raise ValueError(f"a timeout is in seconds, from 0 on, not {timeout!r}")
        if self._opened is None:
            raise OSError(errno.EBADF, "the Intercept is closed")
        raw, data = ffi.new("struct ps_intercepted *"), _new("uint8_t[]", _LARGEST)
        result = until_something(
            lambda timeout_us: lib.ps_intercept_next(
                handle.pointer, number, raw, data, len(data), timeout_us
            ),
            timeout,
            now=handle.monotonic,
        )
        if result == -errno.EBADF and not handle.closed:
            raise OSError(errno.EBADF, "the Intercept is closed")
        handle.check(result, _WORDS)
        return flow_of(handle, number, raw, data)

    def __iter__(self: Self) -> Self:
        return self

    def __next__(self) -> TcpFlow | UdpFlow | EchoFlow:
        try:
            return self.get()
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            raise StopIteration from None

    def __aiter__(self: Self) -> Self:
        return self

    async def __anext__(self) -> TcpFlow | UdpFlow | EchoFlow:
        import asyncio  # noqa: PLC0415 - `import pystack` stays light

        self._in_a_row += 1
        if self._in_a_row >= _IN_A_ROW:  # a flood of flows starves nobody
            self._in_a_row = 0
            await asyncio.sleep(0)
        while True:
            try:
                return self.get(0)
            except BlockingIOError:
                await self._readable(asyncio.get_running_loop())
                self._in_a_row = 0
            except OSError as error:
                if error.errno != errno.EBADF:
                    raise
                raise StopAsyncIteration from None

    async def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waits until a flow may be there, or it is closed."""
        future = loop.create_future()
        with self._lock:
            if self._opened is None:
                return
            waiters = self._waiters.setdefault(loop, set())
            waiters.add(future)
            if len(waiters) == 1:
                loop.add_reader(self._show(), self._wake, loop)
        try:
            await future
        finally:
            with self._lock:
                waiters.discard(future)
                shown = self._descriptor
                if not waiters and shown is not None and self._waiters.get(loop) is waiters:
                    del self._waiters[loop]
                    loop.remove_reader(shown.fd)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        for future in self._waiters.get(loop, ()):
            if not future.done():
                future.set_result(None)

    # --- its own life ----------------------------------------------------------------------

    def _show(self) -> int:
        if self._opened is None:
            raise OSError(errno.EBADF, "the Intercept is closed")
        if self._descriptor is None:
            self._descriptor = descriptors.show(self._opened, blocking=False)
        return self._descriptor.fd

    def fileno(self) -> int:
        """A descriptor that is readable while a flow waits.

        Raises:
            OSError: EBADF, it is closed; EMFILE.
        """
        with self._lock:
            return self._show()

    def statistics(self) -> InterceptStatistics:
        """A snapshot; what happened so far is in `Stack.counters`, as "intercept.flows".

        Raises:
            OSError: EBADF, it is closed, or the Stack.
        """
        raw = ffi.new("struct ps_intercept_figures *")
        self._handle.check(
            lib.ps_intercept_figures(self._handle.pointer, self._number, raw), _WORDS
        )
        return InterceptStatistics(
            int(raw.undecided), int(raw.dropped), int(raw.open), int(raw.held_bytes)
        )

    @property
    def closed(self) -> bool:
        """Whether it is closed, or the Stack."""
        return self._opened is None or self._handle.closed

    def close(self) -> None:
        """Ends it: flows that wait are dropped, accepted ones go on. May be called again.

        Where tasks of a loop in another thread wait for flows, that loop ends it in its next turn.
        """
        with self._lock:
            opened, self._opened = self._opened, None
            descriptor, self._descriptor = self._descriptor, None
            waiters, self._waiters = self._waiters, {}
        if opened is None:
            return
        elsewhere = []
        for loop, futures in waiters.items():
            if loop.is_closed():
                continue
            if _runs_here(loop):
                _end_waiting(loop, descriptor, futures)
            else:
                elsewhere.append((loop, futures))
        self._end(opened, descriptor, elsewhere)

    def _end(
        self,
        opened: OpenSocket,
        descriptor: Descriptor | None,
        elsewhere: list[tuple[asyncio.AbstractEventLoop, set[asyncio.Future[None]]]],
    ) -> None:
        """Closes it once no loop polls its descriptor: the number may be another's at once."""
        if elsewhere:
            loop, futures = elsewhere.pop()

            def go_on() -> None:
                _end_waiting(loop, descriptor, futures)
                self._end(opened, descriptor, elsewhere)

            try:
                loop.call_soon_threadsafe(go_on)
            except RuntimeError:  # closed meanwhile
                self._end(opened, descriptor, elsewhere)
            return
        if descriptor is None:
            opened.forget()
        elif not descriptor.let_go():
            return  # a copy of the number is still open somewhere
        result = lib.ps_close(self._handle.pointer, self._number)
        if result < 0 and result not in descriptors.STACK_ERRORS:
            self._handle.fail(result)

    def __repr__(self) -> str:
        return f"<Intercept{' closed' if self.closed else ''} of {self._handle!r}>"


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    import asyncio  # noqa: PLC0415

    return asyncio._get_running_loop() is loop


def _end_waiting(
    loop: asyncio.AbstractEventLoop,
    descriptor: Descriptor | None,
    futures: set[asyncio.Future[None]],
) -> None:
    if descriptor is not None:
        loop.remove_reader(descriptor.fd)
    for future in futures:
        if not future.done():
            future.set_result(None)
