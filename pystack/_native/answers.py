"""Python's answers to a Stack's hypercalls, and the way from C to them.

A Python answer runs on the thread that is inside the engine, under the Stack's lock, and so can't
use that Stack. An exception can't propagate through C: the first one is kept in `Answers.raised`,
and the API call in progress, or the next one, raises it.
"""

from __future__ import annotations

import errno
import logging
import sys
import threading
from typing import Any

from pystack._native._host import ffi, lib
from pystack.hypercalls import ManualClock

# Returned to C when an exception waits in `raised`.
RAISED = -errno.ECANCELED

# malloc's promise, which an engine relies on.
_ALIGNMENT = 16

_LOG_LEVELS = {
    lib.PS_LOG_DEBUG: logging.DEBUG,
    lib.PS_LOG_INFO: logging.INFO,
    lib.PS_LOG_WARNING: logging.WARNING,
    lib.PS_LOG_ERROR: logging.ERROR,
}


_METHODS = {
    "clock": ("Clock", "now_us"),
    "memory": ("Memory", "allocate", "free"),
    "random": ("Random", "randbytes"),
    "frame_out": ("FrameOut", "frame_out"),
    "log": ("Log", "log"),
    "panic": ("Panic", "panic"),
}


class Answers:
    """The objects that answer one Stack's hypercalls; None: the native answer.

    Attributes:
        serving: The services in Python, if any have run.
        raised: The first exception that an answer raised and no call has raised yet.
    """

    __slots__ = (
        "__weakref__", "blocks", "clock", "frame_out", "log", "memory", "panic", "raised", "random",
        "serving",
    )  # fmt: skip

    def __init__(
        self,
        *,
        clock: Any = None,
        memory: Any = None,
        random: Any = None,
        frame_out: Any = None,
        log: Any = None,
        panic: Any = None,
    ) -> None:
        given = locals()
        for what, (protocol, *methods) in _METHODS.items():
            for method in methods:
                if given[what] is not None and not callable(getattr(given[what], method, None)):
                    raise TypeError(
                        f"{what}={given[what]!r} has no method {method}(): pass a "
                        f"pystack.hypercalls.{protocol}"
                    )
        self.clock = clock
        self.memory = memory
        self.random = random
        self.frame_out = frame_out
        self.log = log
        self.panic = panic
        self.raised: BaseException | None = None
        self.serving: Any = None  # pystack.serving.Serving, once there are services
        self.blocks: dict[int, tuple[Any, Any]] = {}

    def keep(self, error: BaseException) -> int:
        """Keeps the first exception, and gives what to return to C."""
        if self.raised is None:
            self.raised = error
        return RAISED

    def warn(self, text: str) -> None:
        """A line for the Stack's log, or standard error, as the host writes its own."""
        if self.log is not None:
            self.log.log(logging.WARNING, text)
        elif sys.stderr is not None:
            print(f"pystack: {text}", file=sys.stderr)

    def fill(self, table: Any, user: Any) -> None:
        """Fills a `struct ps_python_hypercalls`, of which `user` becomes the first argument."""
        table.python = user
        if self.clock is not None:
            table.clock = lib.ps_python_clock
            if getattr(type(self.clock), "now_us", None) is ManualClock.now_us:
                table.stalled = lib.ps_python_stalled
        if self.memory is not None:
            table.memory_allocate = lib.ps_python_memory_allocate
            table.memory_free = lib.ps_python_memory_free
        if self.random is not None:
            table.random = lib.ps_python_random
        if self.frame_out is not None:
            table.frame_out = lib.ps_python_frame_out
        if self.log is not None:
            table.log = lib.ps_python_log
        if self.panic is not None:
            table.panic = lib.ps_python_panic


# Each of these catches everything, KeyboardInterrupt included: there is no Python frame above
# them that could.


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_clock(python: Any, now_us: Any) -> int:
    answers = ffi.from_handle(python)
    try:
        now_us[0] = answers.clock.now_us()
    except BaseException as error:  # noqa: BLE001
        return int(answers.keep(error))
    return 0


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_stalled(python: Any, waiting: int) -> int:
    return int(threading.active_count() <= waiting)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_memory_allocate(python: Any, size: int, out: Any) -> int:
    answers = ffi.from_handle(python)
    out[0] = ffi.NULL
    try:
        buffer = answers.memory.allocate(size)
        if buffer is None:
            return -errno.ENOMEM
        memory = ffi.from_buffer(buffer, require_writable=True)
        if len(memory) < size:
            raise ValueError(f"allocate({size}) gave a buffer of {len(memory)} bytes")
        address = int(ffi.cast("uintptr_t", memory))
        if address % _ALIGNMENT:
            raise ValueError(f"allocate() gave a buffer that is not aligned to {_ALIGNMENT} bytes")
    except BaseException as error:  # noqa: BLE001
        answers.keep(error)
        return -errno.ENOMEM
    answers.blocks[address] = (memory, buffer)
    out[0] = ffi.cast("void *", address)
    return 0


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_memory_free(python: Any, memory: Any) -> int:
    answers = ffi.from_handle(python)
    try:
        held, buffer = answers.blocks.pop(int(ffi.cast("uintptr_t", memory)))
        ffi.release(held)
        answers.memory.free(buffer)
    except BaseException as error:  # noqa: BLE001
        return int(answers.keep(error))
    return 0


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_random(python: Any, out: Any, size: int) -> int:
    answers = ffi.from_handle(python)
    try:
        given = answers.random.randbytes(size)
        if len(given) != size:
            raise ValueError(f"randbytes({size}) gave {len(given)} bytes")
        ffi.memmove(out, given, size)
    except BaseException as error:  # noqa: BLE001
        return int(answers.keep(error))
    return 0


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_frame_out(python: Any, interface: int, frame: Any, size: int) -> int:
    answers = ffi.from_handle(python)
    try:
        return 1 if answers.frame_out.frame_out(interface, bytes(ffi.buffer(frame, size))) else 0
    except BaseException as error:  # noqa: BLE001
        return int(answers.keep(error))


def _text(text: Any) -> str:
    return bytes(ffi.string(text)).decode("utf-8", "backslashreplace")


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_log(python: Any, level: int, text: Any) -> int:
    answers = ffi.from_handle(python)
    try:
        answers.log.log(_LOG_LEVELS.get(level, logging.ERROR), _text(text))
    except BaseException as error:  # noqa: BLE001
        return int(answers.keep(error))
    return 0


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_panic(python: Any, text: Any) -> int:
    answers = ffi.from_handle(python)
    try:
        answers.panic.panic(_text(text))
    except BaseException as error:  # noqa: BLE001
        return int(answers.keep(error))
    return 0


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_serve(python: Any, now_us: int) -> int:
    answers = ffi.from_handle(python)
    try:
        return int(answers.serving.run(now_us)) if answers.serving is not None else 0
    except BaseException as error:  # noqa: BLE001
        return int(answers.keep(error))


class FrameSink:
    """Takes the frames that a Python NIC sends, and keeps the exception that raised.

    Attributes:
        transmit: Called with each frame; its exceptions are kept in `raised`.
    """

    __slots__ = ("__weakref__", "answers", "transmit")

    def __init__(self, transmit: Any) -> None:
        self.transmit = transmit
        # Of the Stack that the NIC is attached to, which raises what `transmit` raises.
        self.answers: Answers | None = None

    def listen(self, answers: Answers | None) -> None:
        """Sets the Stack; None: there is none any more."""
        self.answers = answers


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_nic_transmit(python: Any, frame: Any, size: int) -> int:
    sink = ffi.from_handle(python)
    try:
        taken = sink.transmit(bytes(ffi.buffer(frame, size)))
    except BaseException as error:  # noqa: BLE001
        if sink.answers is None:
            # Not attached: no call to raise it from. The frame counts as dropped.
            return -errno.EIO
        return int(sink.answers.keep(error))
    return -errno.ENOBUFS if taken is False else 0


class TunnelSink(FrameSink):
    """Takes what a `nic.tunnel.Tunnel` sends, in batches, and gives it its turns.

    Attributes:
        run: Called with the time; returns when it is due next, in microseconds; or a negative
            errno: the wire is gone.
        told: Called when a Stack takes the NIC, and when it leaves it.
        pad_to: See `Tunnel`.
    """

    __slots__ = ("pad_to", "run", "told")

    def __init__(self, transmit: Any, run: Any, told: Any, pad_to: int) -> None:
        super().__init__(transmit)
        self.run = run
        self.told = told
        self.pad_to = pad_to

    def listen(self, answers: Answers | None) -> None:
        """As `FrameSink` has it; the tunnel is told."""
        super().listen(answers)
        self.told(answers)


def _failed(sink: FrameSink, error: BaseException) -> int:
    return -errno.EIO if sink.answers is None else sink.answers.keep(error)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_tunnel_transmit(
    python: Any, frames: Any, sizes: Any, count: int, now_us: int, deadline_us: Any
) -> int:
    sink = ffi.from_handle(python)
    try:
        lengths = ffi.unpack(sizes, count)
        room = sum((size + 15) & ~15 for size in lengths)
        memory, at, given = memoryview(ffi.buffer(frames, room)), 0, []
        most = sink.pad_to
        for size in lengths:
            padded = (size + 15) & ~15
            given.append(memory[at : at + max(size, min(padded, most))])
            at += padded
        deadline_us[0] = sink.transmit(given, now_us)
    except BaseException as error:  # noqa: BLE001
        return _failed(sink, error)
    return 0


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_tunnel_run(python: Any, now_us: int, deadline_us: Any) -> int:
    sink = ffi.from_handle(python)
    try:
        due_us = sink.run(now_us)
        if due_us < 0:
            return int(due_us)
        deadline_us[0] = due_us
    except BaseException as error:  # noqa: BLE001
        return _failed(sink, error)
    return 0


class FrameFunction:
    """Decides what becomes of the frames that pass a NIC, and keeps the exception that it raises.

    Attributes:
        decide: Called with whether the frame is outgoing, its bytes, and the time in microseconds;
            yields the frames that it becomes, each behind its delay in microseconds.
        answers: Of the Stack that the NIC is attached to, which raises what `decide` raises.
        raised: What it raised without a Stack, and the NIC's own call is to raise.
    """

    __slots__ = ("__weakref__", "answers", "decide", "raised")

    def __init__(self, decide: Any) -> None:
        self.decide = decide
        self.answers: Answers | None = None
        self.raised: BaseException | None = None

    def listen(self, answers: Answers | None) -> None:
        """Sets the Stack that raises what `decide` raises; None: the NIC is nobody's."""
        self.answers = answers


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_nic_tamper(
    python: Any, nic: Any, outgoing: bool, frame: Any, size: int, now_us: int
) -> int:
    function = ffi.from_handle(python)
    try:
        for delay_us, data in function.decide(outgoing, bytes(ffi.buffer(frame, size)), now_us):
            lib.ps_nic_tamper_put(nic, outgoing, data, len(data), delay_us)
    except BaseException as error:  # noqa: BLE001
        if function.answers is not None:
            raised = function.answers.keep(error)
            return int(raised) if outgoing else 0  # 0: the wire is there as before
        if function.raised is None:
            function.raised = error
        return RAISED
    return 0
