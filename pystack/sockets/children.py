"""Processes that Python starts, rather than forks, use the same Stack.

multiprocessing's "spawn" and "forkserver" make new Pythons, which learn from the first message of
their parent what to be. While a Stack is installed that message has them join it; and its sockets
can be given to another process as the kernel's can, by `multiprocessing`'s pickles.
"""

from __future__ import annotations

import copyreg
import errno
import functools
import os
import pkgutil
import stat
import subprocess
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from pystack._native import StackHandle, ffi, lib
from pystack.sockets import descriptors
from pystack.sockets.address import FAMILIES
from pystack.sockets.arguments import TYPES
from pystack.sockets.descriptors import OpenSocket
from pystack.sockets.early import Choose, StackSockets
from pystack.sockets.patch import Layer

__all__ = [
    "SPAWNS",
    "STACK_VARIABLE",
    "Joining",
    "check_stream",
    "identify",
    "introduce_programs",
    "known",
    "pickled",
    "spawn_places",
]

# What another process calls; only its name is known here, in a lower layer.
_JOIN = "pystack.sockets.joining:join"
_TAKE = "pystack.sockets.joining:take"


def _call(function: str, *arguments: Any) -> Any:
    return pkgutil.resolve_name(function)(*arguments)


class Joining:
    """What has the process that unpickles it join a Stack."""

    def __init__(self, module: StackSockets, strict: bool) -> None:
        self._arguments = (module._handle.shared_name(), strict)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _call, (_JOIN, *self._arguments)


def spawn_places(module: ModuleType, choose: Choose, strict: bool) -> Layer:
    """multiprocessing.spawn's preparation data for a new process."""
    original = module.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = original(name)
        current = choose()
        # It is unpickled before anything else happens; the key itself is never read.
        return data if current is None else {"pystack": Joining(current, strict), **data}

    return {(module, "get_preparation_data"): get_preparation_data}


# --- sockets that go to another process ---------------------------------------------------------

_handles: weakref.WeakSet[StackHandle] = weakref.WeakSet()


class _Reducers(dict[type[Any], Any]):
    """How multiprocessing pickles what others don't: also the sockets of each Stack's own class.

    Which is not kept here: it would keep the Stack.
    """

    def copy(self) -> _Reducers:
        # For each pickler, from what is registered by then.
        return _Reducers(copyreg.dispatch_table)

    def __missing__(self, kind: type[Any]) -> Callable[..., Any]:
        if vars(kind).get("_ps_stack_handle") is None:
            raise KeyError(kind)
        return _reduce


def pickled(handle: StackHandle) -> None:
    """Lets multiprocessing pickle a Stack's sockets, as it pickles those of `socket.socket`."""
    from multiprocessing.reduction import ForkingPickler  # noqa: PLC0415 - it takes a while

    pickler: Any = ForkingPickler
    if not isinstance(pickler._copyreg_dispatch_table, _Reducers):
        pickler._copyreg_dispatch_table = _Reducers()
    _handles.add(handle)


def _reduce(sock: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    handle = sock._ps_handle
    if sock.fileno() < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    ticket = ffi.new("uint8_t[16]")
    name = handle.shared_name()
    handle.check(lib.ps_channel_give(handle.pointer, sock._ps_number, ticket))
    return _call, (
        _TAKE, name, bytes(ffi.buffer(ticket)), int(sock.family), int(sock.type), sock.proto,
    )  # fmt: skip


def known(handle: StackHandle, number: int) -> OpenSocket | None:
    """The open socket of a number that this process was given once more; None: it has none yet."""
    reference = handle.opened.get(number)
    there: OpenSocket | None = None if reference is None else reference()
    if there is not None:
        lib.ps_close(handle.pointer, number)  # it was counted for each time that it was given
    return there


# --- descriptors that came from another process ---------------------------------------------------


def identify(fd: int) -> OpenSocket | None:
    """Finds out whether a descriptor that came from elsewhere shows a socket of a Stack.

    It came by fork and exec, or by `socket.recv_fds`.
    """
    handles = [one for one in list(_handles) if not one.closed]
    if not handles or not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return None
    for handle in handles:
        number = lib.ps_channel_identify(handle.pointer, fd)
        if number >= 0:
            family, kind, proto = (
                _option(handle, number, option)
                for option in (lib.PS_OPT_FAMILY, lib.PS_OPT_TYPE, lib.PS_OPT_PROTOCOL)
            )
            python_family = next(one for one, c in FAMILIES.items() if c == family)
            python_kind = next(one for one, c in TYPES.items() if c == kind)
            return known(handle, number) or OpenSocket(
                handle, number, python_family, python_kind, proto
            )
    return None


# --- programs that are started with a socket for a stream -----------------------------------------

_NAMES = ("input", "output", "error output")
_get_handles: Any = getattr(subprocess.Popen, "_get_handles", None)
_execute_child: Any = getattr(subprocess.Popen, "_execute_child", None)
# Names the Stack that a Python is to join (pystack.sockets.joining).
STACK_VARIABLE = "PYSTACK_STACK"


def check_stream(fd: Any, stream: int) -> None:
    """Refuses a connection for a standard stream: who uses that reads and writes it in C.

    Args:
        fd: The descriptor that it is to be.
        stream: Which: 0 to 2; others may be anything.

    Raises:
        OSError: EOPNOTSUPP.
    """
    if not isinstance(fd, int) or fd < 0 or not 0 <= stream < len(_NAMES):
        return
    opened = descriptors.find(fd)
    if opened is None or _option(opened.handle, opened.number, lib.PS_OPT_LISTENING):
        return  # a Python that inherits a listener can make a socket of it
    raise OSError(
        errno.EOPNOTSUPP,
        f"a Stack's connection can't be a program's standard {_NAMES[stream]}: its data is not in "
        "the descriptor. Give it a pipe, and move the data",
    )


def _check_streams(self: Any, *streams: Any) -> Any:
    """`Popen._get_handles`, which is given what the three streams are to be."""
    for number, stream in enumerate(streams):
        check_stream(
            stream if isinstance(stream, int) or stream is None else stream.fileno(), number
        )
    return _get_handles(self, *streams)


def _check_inherited(given: Iterable[int], env: Any) -> None:
    """Refuses a socket that a new program inherits and can't know for one.

    A Python that joins the Stack does.

    Args:
        given: The descriptors that it is given.
        env: Its environment; None: this process's.
    """
    if STACK_VARIABLE in map(os.fsdecode, os.environ if env is None else env):
        return
    for fd in given:
        if fd >= len(_NAMES) and descriptors.find(fd) is not None:
            raise OSError(
                errno.EOPNOTSUPP,
                f"a program can't inherit a Stack's socket (descriptor {fd}): its data is not in "
                "the descriptor. multiprocessing passes it on, and pystack run to any Python",
            )


def _inheritable() -> Iterator[int]:
    return (fd for fd in descriptors.numbers() if os.get_inheritable(fd))


def _check_passed(
    self: Any, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any,
    cwd: Any, env: Any, *more: Any,
) -> Any:  # fmt: skip
    """`Popen._execute_child`, which is given what is inherited."""
    _check_inherited(pass_fds if close_fds else _inheritable(), env)
    return _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more)


def _spawning(original: Any) -> Any:
    """`os.posix_spawn` or `os.posix_spawnp`."""

    def spawn(path: Any, argv: Any, env: Any, /, *, file_actions: Any = (), **named: Any) -> Any:
        actions = list(file_actions or ())
        copies = [one for one in actions if len(one) == 3 and one[0] == os.POSIX_SPAWN_DUP2]
        for _action, fd, stream in copies:
            check_stream(fd, stream)
        _check_inherited((fd for _action, fd, number in copies if number >= len(_NAMES)), env)
        _check_inherited(_inheritable(), env)
        return original(path, argv, env, file_actions=actions, **named)

    return functools.update_wrapper(spawn, original)


# What stands for each; a strict block goes on from there.
SPAWNS: dict[str, Any] = {
    name: _spawning(getattr(os, name))
    for name in ("posix_spawn", "posix_spawnp")
    if hasattr(os, name)
}


def introduce_programs() -> None:
    """Makes `subprocess` refuse what would silently lose a connection's data."""
    if os.name == "posix":
        starting: Any = subprocess.Popen
        starting._get_handles, starting._execute_child = _check_streams, _check_passed
        for name, spawn in SPAWNS.items():
            if getattr(os, name) is spawn.__wrapped__:
                setattr(os, name, spawn)


def _option(handle: StackHandle, number: int, option: int) -> int:
    value = ffi.new("int64_t *")
    handle.check(lib.ps_option_get(handle.pointer, number, option, value))
    return int(value[0])
