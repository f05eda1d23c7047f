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

from pystack._native import StackHandle
from pystack.services import NameServers, resolve
from pystack.sockets.active import in_the_process
from pystack.sockets.module import SocketModule

__all__ = ["BOOTSTRAP", "join", "join_by_environment", "share_by_environment", "sockets_of"]

BOOTSTRAP = Path(__file__).parent / "bootstrap"
_STACK, _STRICT, _PATH = "PYSTACK_STACK", "PYSTACK_STRICT", "PYTHONPATH"

_modules: dict[str, SocketModule] = {}
_blocks = ExitStack()  # never closed: they are the process's


def socket_module(handle: StackHandle) -> SocketModule:
    """`Stack.sockets` of a Stack."""
    return SocketModule(
        handle,
        lambda name, family: [str(one) for one in resolve(handle, name, family)],
        NameServers(handle),
    )


def sockets_of(name: str) -> SocketModule:
    """The module `socket` on the Stack of this name, of this process or another.

    Raises:
        OSError: EOWNERDEAD, its process has ended; EPROTONOSUPPORT, it has another pystack.
    """
    module = _modules.get(name)
    if module is None:
        handle = StackHandle.named(name)
        module = _modules[name] = socket_module(handle)
    return module


def join(name: str, strict: bool) -> None:
    """Installs another process's Stack in this one, for as long as it runs.

    What makes that impossible ends this process: it would go by the kernel's network.
    """
    if name in _modules:
        return
    try:
        module = sockets_of(name)
    except OSError as error:
        reason = {
            errno.EOWNERDEAD: "the process that owns it has ended, or become another by exec",
            errno.EPROTONOSUPPORT: "the process that owns it has another version of pystack",
        }.get(error.errno or 0, error.strerror)
        print(f"pystack: this process can't join its Stack: {reason}.", file=sys.stderr, flush=True)
        os._exit(1)
    _blocks.enter_context(in_the_process(module, strict))


def share_by_environment(module: SocketModule, strict: bool) -> None:
    """Has the Pythons that this process starts from now on join a Stack."""
    os.environ[_STACK] = module._handle.shared_name()
    os.environ[_STRICT] = "1" if strict else ""
    paths = [str(BOOTSTRAP), *filter(None, os.environ.get(_PATH, "").split(os.pathsep))]
    os.environ[_PATH] = os.pathsep.join(dict.fromkeys(paths))


def join_by_environment() -> None:
    """What the Python that was started does first."""
    name = os.environ.get(_STACK)
    if name:
        join(name, bool(os.environ.get(_STRICT)))
