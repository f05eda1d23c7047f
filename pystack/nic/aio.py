"""A NIC whose frames an asyncio loop carries: `Async`.

Frames wait in two bounded queues written in C. The loop is woken once for a batch, not for each
frame, and neither takes a Stack's lock nor waits for one. A full queue holds TCP back on the way
out, and the reader on the way in, so that a slow wire or Stack loses no frame.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import socket
import weakref
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from pystack._native import check, ffi, lib
from pystack._native.answers import FrameSink
from pystack.nic.base import Layer, Nic, made, member_value, valid_mtu
from pystack.nic.descriptor import Framing

__all__ = ["Async"]


class _Readable(Protocol):
    def read(self, n: int = ..., /) -> Awaitable[bytes]: ...


class _Writable(Protocol):
    def write(self, data: bytes, /) -> Any: ...


Reader: TypeAlias = "Callable[[], Awaitable[bytes | None]] | _Readable | AsyncIterable[bytes]"
Writer: TypeAlias = "Callable[[bytes], Awaitable[Any] | None] | _Writable"

_Read: TypeAlias = "Callable[[], Awaitable[bytes | None]]"

_CHUNK = 1 << 18  # bytes to read of a stream at a time
_BATCH_FRAMES = 128
_BATCH_BYTES = 1 << 17  # filled as far as a frame of any size still fits
_TURN = 64  # reads, none of which had to wait, before other tasks have theirs
_LAST_S = 1.0  # without progress, for what is still in the queue when the NIC is closed


def _read_of(reader: Any, framed: bool) -> _Read:
    """What gives the next frame, or the next bytes of a stream.

    Raises:
        TypeError: It can't be read.
    """
    if callable(reader):
        return reader  # type: ignore[no-any-return]
    if callable(getattr(reader, "read", None)):
        return reader.read if framed else lambda: reader.read(_CHUNK)
    if hasattr(reader, "__aiter__"):
        return reader.__aiter__().__anext__  # type: ignore[no-any-return]
    raise TypeError(
        "frames are read by a function to await, a StreamReader or an async iterator, "
        f"not {reader!r}"
    )


def _write_of(writer: Any) -> tuple[Callable[[bytes], Any], Callable[[], Awaitable[None]] | None]:
    """What sends a frame or bytes of a stream, and what waits until there is room for more.

    Raises:
        TypeError: It can't be written to.
    """
    if callable(writer):
        return writer, None
    if callable(getattr(writer, "write", None)):
        return writer.write, getattr(writer, "drain", None)
    raise TypeError(f"frames are written by a function or a StreamWriter, not {writer!r}")


def _default_framing(reader: Any, layer: Layer) -> Framing:
    """Streams have to delimit frames; whatever is read by a function gives one at a time."""
    if not isinstance(reader, asyncio.StreamReader):
        return Framing.DATAGRAM
    return Framing.IP if layer is Layer.IP else Framing.LENGTH16


class _Bell:
    """A descriptor by which C wakes the loop."""

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self.reader = self.writer = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self.reader, self.writer = os.pipe()
            os.set_blocking(self.reader, False)
            os.set_blocking(self.writer, False)

    def hush(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.reader, 4096)

    def close(self) -> None:
        for fd in {self.reader, self.writer}:
            os.close(fd)


class _Carrier:
    """What carries the frames of one `Async`, which it doesn't keep alive."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, held: Any, bell: _Bell, way: Framing
    ) -> None:
        self.loop = loop
        self.held = held
        self.way = way
        self.ended: asyncio.Future[None] = loop.create_future()
        self.waiting = 0  # tasks, for the end
        self._bell = bell
        self._waiters: list[asyncio.Future[None]] = []
        self._is_stopping = self._is_abandoned = self._is_delivering = False
        self._written = 0  # batches and frames
        self._room = _BATCH_BYTES + 65536 + 128
        self._frames = ffi.new("uint8_t[]", self._room)
        self._sizes = ffi.new("uint32_t[]", _BATCH_FRAMES)
        self._total = ffi.new("size_t *")
        self._full = ffi.new("_Bool *")

    def start(self, read: _Read, writer: Any) -> None:
        """Carries frames from now on."""
        lib.ps_nic_carried_here(self.held)
        self.loop.add_reader(self._bell.reader, self._rung)
        self._task = self.loop.create_task(self._run(read, writer), name="pystack-nic")

    def abandon(self) -> None:
        """The NIC is closed: ends when no Stack holds it, which rings the bell."""
        self._is_abandoned = True
        held = self.held
        if held is not None and not lib.ps_nic_carried_is_held(held):
            self.finish()

    # --- the bell ---

    def _rung(self) -> None:
        self._bell.hush()
        lib.ps_nic_carried_here(self.held)  # a loop may go on in another thread
        if self._is_abandoned and not lib.ps_nic_carried_is_held(self.held):
            self._finish()
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self) -> None:
        waiter = self.loop.create_future()
        self._waiters.append(waiter)
        await waiter

    # --- the two ways ---

    def _take(self) -> tuple[int, int]:
        """A batch of frames that go out: how many, and their bytes."""
        count = lib.ps_nic_carried_take(
            self.held,
            self.way.value,
            self._frames,
            self._room,
            self._sizes,
            _BATCH_FRAMES,
            self._total,
        )
        return int(count), int(self._total[0])

    async def _send(self, writer: Any) -> None:
        write, drain = _write_of(writer)
        whole = self.way is not Framing.DATAGRAM
        while True:
            count, size = self._take()
            if count == 0:
                if self._is_stopping:
                    return
                await self._wait()
                continue
            data = bytes(ffi.buffer(self._frames, size))
            if whole:
                await _done(write(data))
            else:
                begin = 0
                for length in self._sizes[0:count]:
                    end = begin + length
                    await _done(write(data[begin:end]))
                    self._written += 1
                    begin = end
            if drain is not None:
                await drain()
            self._written += 1
            await asyncio.sleep(0)

    async def _receive(self, read: _Read) -> None:
        rest, turn = bytearray(), 0  # of a stream: less than a frame
        while True:
            try:
                data = await read()
            except StopAsyncIteration:
                data = None
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise
                data = None
            if not data:
                if rest:
                    raise OSError(
                        errno.EPROTO, f"the wire ended within a frame: {len(rest)} bytes of it came"
                    )
                return
            if self.way is Framing.DATAGRAM:
                await self._put(data)
            else:
                rest += data
                del rest[: await self._put(rest)]
            turn += 1
            if turn % _TURN == 0:
                await asyncio.sleep(0)

    async def _put(self, data: bytes | bytearray) -> int:
        """Gives frames to the Stack, waiting for room; how many bytes whole ones had."""
        done = 0
        while True:
            with ffi.from_buffer("uint8_t[]", data) as frames:
                size = len(data) - done
                result = lib.ps_nic_carried_put(
                    self.held, self.way.value, frames + done, size, self._full
                )
            if result == -errno.EPROTO:
                shown = bytes(data[done : done + 8]).hex()
                text = f"no frame begins as what came does ({shown}...): the ends are out of step"
                raise OSError(errno.EPROTO, text)
            if result == -errno.EMSGSIZE:  # longer than any frame: lost, as on any wire
                return len(data)
            done += check(result)
            if not self._full[0]:
                self._deliver_soon()
                return done
            self._deliver()
            await self._wait()

    def _deliver_soon(self) -> None:
        """Has the Stack receive what this turn of the loop brings, and acknowledge it together."""
        if not self._is_delivering:
            self._is_delivering = True
            self.loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._is_delivering = False
        if self.held is not None:
            lib.ps_nic_carried_wake(self.held)

    # --- life ---

    async def _run(self, read: _Read, writer: Any) -> None:
        sending = self.loop.create_task(self._send(writer), name="pystack-nic-send")
        self._sending, self._writer = sending, writer
        receiving = self.loop.create_task(self._receive(read), name="pystack-nic-receive")
        both = {sending, receiving}
        error: Exception | None = None
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            lib.ps_nic_carried_end(self.held, errno.ENETDOWN)
            if not sending.done():  # the other way may still be open
                self._stop()
                await asyncio.wait({sending}, timeout=_LAST_S)
            elif not sending.cancelled() and _is_end(
                sending.exception(), writer
            ):  # the reader knows how it ended
                await asyncio.wait({receiving}, timeout=_LAST_S)
        finally:
            # Without waiting, for the loop may be about to end, and cancel this once more.
            lib.ps_nic_carried_end(self.held, errno.ENETDOWN)
            self.loop.remove_reader(self._bell.reader)
            self._bell.close()
            for task in both:
                task.cancel()
            closing = self.loop.create_task(_close(writer), name="pystack-nic-close")
            try:
                for one in await asyncio.gather(receiving, sending, return_exceptions=True):
                    if isinstance(one, Exception) and not _is_end(one, writer):
                        error = error or one
                await closing
            finally:
                self.held = None
                self._tell(error)

    def _tell(self, error: Exception | None) -> None:
        """Says how it ended; an error that nobody waits for goes to the loop's handler."""
        if error is None:
            self.ended.set_result(None)
            return
        self.ended.set_exception(error)
        self.ended.exception()  # or it would be told twice
        if self.waiting == 0:
            text = "the wire of a pystack.nic.Async has failed, and its link is down"
            self.loop.call_exception_handler({"message": text, "exception": error})

    def _stop(self) -> None:
        """Has the sender end when it has sent what waits."""
        self._is_stopping = True
        self._wake()

    def _finish(self) -> None:
        if not self._task.done():
            lib.ps_nic_carried_end(self.held, errno.ENETDOWN)
            self._stop()
            self.loop.call_later(_LAST_S, self._look, self._progress())

    def _progress(self) -> tuple[int, int]:
        return self._written, _unsent(self._writer)

    def _look(self, before: tuple[int, int]) -> None:
        """Gives a wire up that takes nothing."""
        if self._sending.done():
            return
        if self._progress() == before:
            self._sending.cancel()
        else:
            self.loop.call_later(_LAST_S, self._look, self._progress())

    def finish(self) -> None:
        """Sends what waits, and ends; from any thread."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._finish)


async def _done(result: Any) -> None:
    if result is not None and inspect.isawaitable(result):
        await result


def _unsent(writer: Any) -> int:
    """Bytes that a stream has taken and not sent; 0 of another writer."""
    size = getattr(getattr(writer, "transport", None), "get_write_buffer_size", None)
    return 0 if size is None else int(size())


def _is_end(error: BaseException | None, writer: Any) -> bool:
    """Whether an error says no more than that the peer has closed the wire."""
    if isinstance(error, BrokenPipeError):
        return True
    if not isinstance(error, ConnectionResetError):
        return False
    if error.errno is None:  # asyncio's, of what is written behind the end
        return True
    # A UNIX socket with frames unread is reset when it is closed.
    tells = getattr(writer, "get_extra_info", None)
    family = getattr(tells("socket"), "family", None) if tells is not None else None
    return family is not None and family == getattr(socket, "AF_UNIX", None)


async def _close(writer: Any) -> None:
    """Closes what can be closed; its wire has ended, and with what error is known."""
    with suppress(Exception):
        if hasattr(writer, "close"):
            await _done(writer.close())
        if hasattr(writer, "wait_closed"):
            closing = asyncio.ensure_future(writer.wait_closed())
            before, unsent = -1, _unsent(writer)
            while not closing.done() and unsent != before:
                await asyncio.wait({closing}, timeout=_LAST_S)
                before, unsent = unsent, _unsent(writer)
            if not closing.done() and hasattr(writer, "transport"):
                writer.transport.abort()  # its peer doesn't read
                await asyncio.wait({closing}, timeout=_LAST_S)
            closing.cancel()  # else its error is known
            await asyncio.gather(closing, return_exceptions=True)


class Async(Nic):
    """A NIC over whatever an asyncio loop reads and writes: a stream, a WebSocket, an SSH channel.

    Made in the loop's thread; the loop carries its frames until `close`, the wire's end or the
    loop's. Nothing is lost on a slow wire: while `queue_bytes` wait to be written, the Stack's TCP
    waits (datagrams are refused, ENOBUFS), and nothing is read while as many wait for the Stack.

    The Stack can be used at once, by the loop's tasks through `Stack.aio`, and by other threads.
    A call that would wait for frames in the loop's own thread raises `DeadlockError`.

    When `read` says that the wire has ended, or `write` raises `BrokenPipeError`, as its peer has
    closed it, the link goes down. When either function raises another error, it does too, and
    `wait_closed` raises that; if nothing awaits it, the loop's exception handler gets it. As
    `Descriptor` it takes the pair over: a writer with a method `close` is closed.

    Args:
        read: A function to await for the next frame (a `bytes`; b"" or None: the wire has ended);
            an `asyncio.StreamReader`, or another object with `read`; or an async iterator.
        write: A function that takes a frame, and may return something to await; an
            `asyncio.StreamWriter`, or another object with `write` and perhaps `drain`.
        mtu: Bytes of IP packet.
        layer: The header frames start with.
        framing: How they stand in a stream. None: of an `asyncio.StreamReader` IP packets end
            where their headers say, Ethernet frames stand behind 16-bit lengths; what another
            reader gives is one frame.
        queue_bytes: How much may wait for the wire, and as much for the Stack.

    Raises:
        RuntimeError: Not called in a running loop.
        ValueError: The MTU, the queue's length, or a framing that fits no stream.
        TypeError: They can't be read or written.
    """

    def __init__(
        self,
        read: Reader,
        write: Writer,
        mtu: int = 1500,
        *,
        layer: Layer = Layer.IP,
        framing: Framing | None = None,
        queue_bytes: int = 1 << 18,
    ) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            text = "nic.Async is made by a task of the event loop that will carry its frames"
            raise RuntimeError(text) from None
        kind = member_value(Layer, "the layer", layer)
        way = _default_framing(read, layer) if framing is None else framing
        member_value(Framing, "the framing", way)
        if way is Framing.VIRTIO or (way is Framing.IP and layer is not Layer.IP):
            raise ValueError(f"{way} delimits no frames of {layer} here: use Framing.LENGTH16")
        if queue_bytes < valid_mtu(mtu):
            raise ValueError(f"a queue holds at least one packet of {mtu} bytes, not {queue_bytes}")
        reading = _read_of(read, way is Framing.DATAGRAM)
        _write_of(write)
        bell, error = _Bell(), ffi.new("int *")
        pointer = lib.ps_nic_carried(
            kind, mtu, max(1, queue_bytes // 64), queue_bytes, bell.writer, error
        )
        try:
            super().__init__(made(pointer, error))
        except BaseException:
            bell.close()
            raise
        self._sink = FrameSink(None)
        self._carrier = _Carrier(loop, self._held, bell, way)
        self._carrier.start(reading, write)
        weakref.finalize(self, self._carrier.finish).atexit = False

    def _sinks(self) -> Iterator[FrameSink]:
        yield self._sink

    def _ends(self) -> Iterator[Callable[[], Awaitable[None]]]:
        carrier, alive = self._carrier, weakref.ref(self)

        async def end() -> None:
            kept = alive()
            is_used = kept is not None and kept._held is not None
            if not is_used and carrier.loop is asyncio.get_running_loop():
                await asyncio.wait([carrier.ended])

        yield end

    async def wait_closed(self) -> None:
        """Waits until the wire has ended, by itself or by `close`.

        Raises:
            Exception: What `read` or `write` raised; OSError, EPROTO: what came is no frame.
        """
        self._carrier.waiting += 1
        try:
            await asyncio.shield(self._carrier.ended)
        finally:
            self._carrier.waiting -= 1

    def close(self) -> None:
        """Closes it: what waits is sent, and the wire ends, when no Stack holds it any more."""
        held, self._held = self._held, None  # the loop may still need it: it is freed with that
        if held is not None:
            self._carrier.abandon()
