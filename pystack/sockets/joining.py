"""The other side of `children`: a process that uses the Stack of the one that started it.

`pystack run` starts nothing itself, but tells every Python that its program starts which Stack to
join, by the environment: the folder `bootstrap` is first on its path, with a `sitecustomize` that
comes here before the program begins.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from pystack._native import StackHandle, ffi, lib
from pystack.services import NameServers, resolve
from pystack.sockets import descriptors
from pystack.sockets.active import in_the_process
from pystack.sockets.children import STACK_VARIABLE, known
from pystack.sockets.descriptors import OpenSocket
from pystack.sockets.module import SocketModule
from pystack.sockets.socket import Socket

__all__ = [
    "BOOTSTRAP",
    "join",
    "join_by_environment",
    "share_by_environment",
    "socket_module",
    "sockets_of",
    "take",
]

BOOTSTRAP = Path(__file__).parent / "bootstrap"
_STRICT, _PATH = "PYSTACK_STRICT", "PYTHONPATH"

_modules: dict[str, SocketModule] = {}
_blocks = ExitStack()  # never closed: they are the process's


def socket_module(handle: StackHandle) -> SocketModule:
    """`Stack.sockets` of a Stack."""

    def look_up(name: str, family: int) -> list[str]:
        return [str(one) for one in resolve(handle, module.socket, name, family)]

    module = SocketModule(handle, look_up, NameServers(handle))
    return module


def sockets_of(name: str) -> SocketModule:
    """The module `socket` on the Stack of this name, of this process or another.

    Raises:
        OSError: EPROTONOSUPPORT, it has another pystack. EOWNERDEAD, its process has ended, comes
            from what it is asked for.
    """
    module = _modules.get(name)
    if module is None:
        handle = StackHandle.named(name)
        module = _modules[name] = socket_module(handle)
    return module


def join(name: str, strict: bool) -> None:
    """Installs another process's Stack in this one, for as long as it runs.

    Where its process has ended, whatever this one asks of the network fails with EOWNERDEAD: a
    program that asks for nothing (multiprocessing's helpers, as the program ends) has no trouble.
    Anything else that prevents joining ends this process: it would use the kernel's network.
    """
    if name in _modules:
        return
    try:
        module = sockets_of(name)
    except OSError as error:
        reason = {
            errno.EPROTONOSUPPORT: "the process that owns it has another version of pystack",
        }.get(error.errno or 0, error.strerror)
        print(f"pystack: this process can't join its Stack: {reason}.", file=sys.stderr, flush=True)
        os._exit(1)
    _blocks.enter_context(in_the_process(module, strict))


def take(name: str, ticket: bytes, family: int, kind: int, proto: int) -> Socket:
    """The socket of a Stack's that another process gave away for this ticket.

    Raises:
        OSError: ENOENT, it was taken already; as `sockets_of`.
    """
    module = sockets_of(name)
    handle = module._handle
    number = handle.check(lib.ps_channel_take(handle.pointer, ffi.from_buffer(ticket)))
    opened = known(handle, number)
    if opened is None:
        made = OpenSocket(handle, number, family, kind, proto)
        fd = descriptors.show(made, blocking=True).release()
    else:
        fd = descriptors.another(opened)
    return module.socket(family, kind, proto, fileno=fd)


def share_by_environment(module: SocketModule, strict: bool) -> None:
    """Has the Pythons that this process starts from now on join a Stack."""
    os.environ[STACK_VARIABLE] = module._handle.shared_name()
    os.environ[_STRICT] = "1" if strict else ""
    paths = [str(BOOTSTRAP), *filter(None, os.environ.get(_PATH, "").split(os.pathsep))]
    os.environ[_PATH] = os.pathsep.join(dict.fromkeys(paths))


def join_by_environment() -> None:
    """What the Python that was started does first."""
    name = os.environ.get(STACK_VARIABLE)
    if name:
        join(name, bool(os.environ.get(_STRICT)))
