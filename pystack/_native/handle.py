"""One `ps_stack`: its ownership, and its calls' results as exceptions."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from pystack._native import ending
from pystack._native._host import ffi, lib
from pystack._native.answers import Answers
from pystack._native.engines import engine_path
from pystack._native.fork import share_with_children
from pystack._native.values import seed_bits, whole
from pystack._native.world import WorldClock, end_thread_of_world
from pystack.errors import DeadlockError, StackPanic

_NO_WORDS: Mapping[int, str] = {}
_MESSAGES = {
    errno.EOWNERDEAD: "this Stack is another process's, which has ended, become another program by "
    "exec, or does not share it",
    errno.EREMOTE: "this Stack is another process's, which alone may change it",
    errno.EDEADLK: "a hypercall or NIC can't use the Stack that called it, nor one that "
    "waits for it",
}

_STALLED = (
    "this call waits for ever: every thread waits for a Stack whose ManualClock none of them can "
    "advance. Advance it in another thread, which steps only Stacks that no call waits in, or use "
    "a pystack.World, whose clock moves by itself"
)

_CARRIED = (
    "this call would wait for ever: its thread runs the event loop that carries the Stack's frames "
    "(nic.Async). Await that of net.aio, as `await net.aio.ping(...)`, or `async with net` for "
    "`with net`; or call it in another thread, as by asyncio.to_thread"
)


def check(result: int) -> int:
    """Gives back a result that is no error, and raises `OSError` for a negative errno."""
    if result < 0:
        raise OSError(-result, _MESSAGES.get(-result) or os.strerror(-result))
    return result


def reap(call: Callable[..., int], *arguments: Any) -> None:
    """Makes a closing call from a finalizer, which may run anywhere.

    Garbage collection can run inside a hypercall; there the Stack can't be entered, so that
    another thread must do it.
    """
    if call(*arguments) == -errno.EDEADLK:
        threading.Thread(target=call, args=arguments, name="pystack-reaper", daemon=True).start()


class StackHandle:
    """Owns one `ps_stack`; closes it at the latest when it is collected or Python exits.

    Attributes:
        pointer: The `ps_stack *`, good for as long as this object lives, closed or not.
        answers: Python's hypercalls.
        address: The pointer as a number, for what is written in C.
        kept: What must live for as long as the Stack uses it: the NICs by interface index.
        socket_class: The sockets' class, made when first asked for (pystack.sockets).
        opened: A weak reference to each open socket (pystack.sockets.descriptors) by its number.
        remote: Whether the Stack is another process's.
        world: The clock of the World that it is in; None: it is in none.
        name: By which other processes find the Stack; None: none has asked yet.
        trouble: Why a child has no channel to it; None: it has one, or needs none.
        remains: What is left when nothing refers to it any more.
    """

    def __init__(
        self,
        answers: Answers,
        *,
        engine: str,
        memory_limit: int,
        seed: int | None,
        threaded: bool,
        world: WorldClock | None = None,
    ) -> None:
        whole(memory_limit, "memory_limit", 0, 1 << 62, "bytes")
        bits = 0 if seed is None else seed_bits(seed)
        self.answers = answers
        self.kept: dict[int, Any] = {}
        self._begin(world)
        self._user = ffi.new_handle(answers)
        path = ffi.new("char[]", os.fsencode(engine_path(engine)))
        options = ffi.new("struct ps_stack_options *")
        options.engine_path = path
        options.memory_limit_bytes = memory_limit
        options.seeded = seed is not None
        options.seed = bits
        options.threaded = threaded
        options.world = ffi.NULL if world is None else world.pointer
        answers.fill(options.python, self._user)
        out = ffi.new("ps_stack **")
        text = ffi.new("char[]", 512)
        result = lib.ps_stack_open(options, out, text, len(text))
        if answers.raised is not None:
            if result == 0:
                lib.ps_stack_close(out[0], True)
                lib.ps_stack_destroy(out[0])
            raise answers.raised
        if result < 0:
            said = f"{path_name(path)}: {ffi.string(text).decode()}"
            if result == -errno.ENOMEM:
                said += f"; memory_limit is {memory_limit} bytes"
            raise OSError(-result, said)
        self._own(out[0], engine)

    def _begin(self, world: WorldClock | None) -> None:
        self.socket_class: Any = None
        self.closed = False
        self.world = world
        self.opened: dict[int, Callable[[], Any]] = {}
        self.remote = False
        self.trouble: str | None = None
        self.name: str | None = None
        self._takes_any_option: bool | None = None

    def takes_any_option(self, number: int) -> bool:
        """Whether the engine takes all options by Linux's numbers: ps_option_set_raw.

        Args:
            number: Any open socket.
        """
        if self._takes_any_option is None:
            out = ffi.new("int *")
            asked = socket.SOL_SOCKET, socket.SO_TYPE
            result = lib.ps_option_get_raw(self.pointer, number, *asked, out, ffi.sizeof("int"))
            if result < 0 and result != -errno.ENOSYS:
                return False  # it can't be asked now: another call says why
            self._takes_any_option = result >= 0
        return self._takes_any_option

    def _own(self, pointer: Any, engine: str) -> None:
        self.pointer = pointer
        self.address = int(ffi.cast("uintptr_t", pointer))
        self.remains = ending.Remains(self.pointer, self._user, engine)
        self._finalizer = weakref.finalize(self, self.remains.collect)
        self._finalizer.atexit = False  # ending.py does it: others may still be inside
        share_with_children(ending.opened(self))

    @classmethod
    def _of_another_process(cls, name: str) -> StackHandle:
        out = ffi.new("ps_stack **")
        check(lib.ps_channel_open(ffi.new("char[]", name.encode()), out))
        made = cls.__new__(cls)
        made.answers = Answers()
        made.kept = {}
        made._begin(None)
        made.remote = True
        made._user = None
        made._own(out[0], "another process's")
        made.name = name
        _named[name] = made
        return made

    def shared_name(self) -> str:
        """The name by which other processes of this user find the Stack.

        Raises:
            OSError: EOPNOTSUPP, a Stack without a thread can't be shared.
        """
        if self.name is None:
            text = ffi.new("char[]", 108)
            result = lib.ps_channel_listen(self.pointer, text, len(text))
            if result == -errno.EOPNOTSUPP:
                raise OSError(errno.EOPNOTSUPP, "a Stack without a thread can't be shared")
            self.check(result)
            self.name = ffi.string(text).decode()
            _named[self.name] = self
        return self.name

    @classmethod
    def named(cls, name: str) -> StackHandle:
        """The Stack of a name, of this process or another.

        Raises:
            OSError: EPROTONOSUPPORT, that process has another version.
        """
        return _named.get(name) or cls._of_another_process(name)

    @property
    def linger(self) -> float:
        """Seconds without progress after which an orderly end gives up."""
        return self.remains.linger

    @linger.setter
    def linger(self, seconds: float) -> None:
        if not isinstance(seconds, Real):
            raise TypeError(f"linger is a number of seconds, not {seconds!r}")
        if not seconds >= 0:
            raise ValueError(f"seconds to linger are at least 0, not {seconds}")
        self.remains.set_linger(float(seconds))

    def close(self, *, abrupt: bool) -> None:
        """Closes the Stack; what waits on it fails with EBADF. May be called again.

        Raises:
            BaseException: What a Python hypercall of this Stack raised meanwhile.
        """
        raised, was_closed, error = self.answers.raised, self.closed, 0
        self.closed = True
        try:
            if not abrupt:
                error = ending.finish([self])
        finally:
            result = lib.ps_stack_close(self.pointer, abrupt)
            self.closed = was_closed or result >= 0
        check(result)
        self.kept.clear()
        ending.closed(self)
        if error == -errno.ECANCELED and self.answers.raised is not raised:
            self.fail(error)

    def check(self, result: int, words: Mapping[int, str] = _NO_WORDS) -> int:
        """Gives back a result that is no error.

        Args:
            result: What the call returned.
            words: What errno values mean here, with the value that was refused and the remedy;
                they follow the system's own.

        Raises:
            BaseException: What a Python hypercall of this Stack raised.
            StackPanic: The engine's assertion failed.
            OSError: For a negative errno.
        """
        if result < 0 or self.answers.raised is not None:
            if -result in words and self.answers.raised is None:
                raise OSError(-result, f"{os.strerror(-result)}: {words[-result]}")
            self.fail(result)
        return result

    def monotonic(self) -> float:
        """The time that this Stack's calls time out by, in seconds."""
        if self.answers.clock is not None:
            return float(self.answers.clock.now_us() / 1e6)
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleeps by the Stack's clock; if no thread drives the Stack, this one does meanwhile."""
        if self.answers.clock is None:
            time.sleep(seconds)
            return
        until, seen = self.monotonic() + seconds, ffi.new("uint64_t *")
        while (left := until - self.monotonic()) > 0:
            before = seen[0]
            result = lib.ps_stack_changes(self.pointer, before, round(left * 1e6), seen)
            if result not in (-errno.EAGAIN, -errno.EINTR):
                self.check(result)

    def made(self, number: int) -> int:
        """The number of a new socket; closes it first if a hypercall raised meanwhile.

        The call's exception leaves nobody who could close it.
        """
        if number >= 0 and self.answers.raised is not None:
            lib.ps_close(self.pointer, number)
            return -errno.ECANCELED
        return number

    def fail(self, result: int) -> None:
        """Raises what a result stands for; see `check`."""
        if result == -errno.EBADF:
            ending.stay_if_over()
        error, self.answers.raised = self.answers.raised, None
        if error is not None:
            raise error
        if self.world is not None:
            self.world.fail(result)
        if result == -lib.PS_STALLED:
            raise DeadlockError(_STALLED)
        if result == -lib.PS_CARRIED:
            raise DeadlockError(_CARRIED)
        if result == -errno.ENOTRECOVERABLE:
            raise StackPanic(self.panic_text() or "unknown")
        if result == -errno.ECANCELED:
            raise OSError(errno.ECANCELED, "a hypercall raised; another thread got the exception")
        if result == -errno.EBADF:
            self.end_thread_if_lost()
            self.need_open()
        if result == -errno.EOWNERDEAD and self.trouble is not None:
            raise OSError(errno.EOWNERDEAD, f"no channel to the Stack's process: {self.trouble}")
        check(result)

    def end_thread_if_lost(self) -> None:
        """Ends a thread of a World whose host has crashed, or with the World: see SystemExit."""
        if self.world is not None and (self.closed or self.world.closed):
            end_thread_of_world(waits=False)

    def need_open(self) -> None:
        """Raises OSError (EBADF) for a Stack that is closed."""
        if self.closed:
            raise OSError(errno.EBADF, "the Stack is closed")

    def need_another_thread(self) -> None:
        """Raises DeadlockError where this thread carries the Stack's frames, and can't wait."""
        if not self.closed and lib.ps_stack_is_carried_here(self.pointer):
            raise DeadlockError(_CARRIED)

    def panic_text(self) -> str | None:
        """The engine's last words; None: it has not failed."""
        text = ffi.new("char[]", 256)
        if lib.ps_stack_panic_text(self.pointer, text, len(text)) < 0:
            return None
        return str(ffi.string(text).decode("utf-8", "backslashreplace"))

    def listing(self, kind: str, call: Callable[[Any, int], int], guess: int = 32) -> Iterator[Any]:
        """The entries of one of the host's listings, all read under one hold of the lock.

        Args:
            kind: The entries' C type.
            call: The listing: takes an array and its length, returns how many there are.
            guess: For how many to make room at first.

        Yields:
            Each entry, good for as long as the iterator is.
        """
        while True:
            out = ffi.new(f"{kind}[]", guess)
            count = self.check(call(out, guess))
            if count <= guess:
                break
            guess = count + 16
        for position in range(count):
            yield out[position]


def path_name(path: Any) -> str:
    """The last part of a C path."""
    return Path(os.fsdecode(ffi.string(path))).name


_named: weakref.WeakValueDictionary[str, StackHandle] = weakref.WeakValueDictionary()
