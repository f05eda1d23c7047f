"""A Stack's sockets for one task or thread: `Stack.active`.

While any block is open, the names in the module `socket` choose by a context variable: in the
block (and in the tasks that it starts) the Stack's, everywhere else the kernel's.
"""

from __future__ import annotations

import socket as kernel
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pystack.sockets.patch import Place, patched
from pystack.sockets.socket import Socket

if TYPE_CHECKING:
    from pystack.sockets.module import SocketModule

_current: ContextVar[SocketModule | None] = ContextVar("pystack_active", default=None)

# The kernel's, also while another stands in its place.
kernel_socket = kernel.socket


class _Chooser(type):
    """Makes a call of `ActiveSocket` itself a call of the class that the context says."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        if cls is not ActiveSocket:
            return super().__call__(*arguments, **named)
        current = _current.get()
        chosen: Any = kernel_socket if current is None else current.socket
        return chosen(*arguments, **named)

    def __instancecheck__(cls, one: Any) -> bool:
        if cls is ActiveSocket:
            return isinstance(one, (kernel_socket, Socket))
        return super().__instancecheck__(one)


class ActiveSocket(kernel_socket, metaclass=_Chooser):
    """`socket.socket` while a block of `Stack.active` is open. Subclasses are the kernel's."""

    __slots__ = ()


def _function(name: str) -> Callable[..., Any]:
    original = getattr(kernel, name)

    def choose(*arguments: Any, **named: Any) -> Any:
        current = _current.get()
        return (original if current is None else getattr(current, name))(*arguments, **named)

    choose.__name__ = name
    choose.__doc__ = original.__doc__
    return choose


FUNCTIONS = (
    "create_connection",
    "create_server",
    "fromfd",
    "dup",
    "close",
    "has_dualstack_ipv6",
    "getaddrinfo",
    "getnameinfo",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "if_nameindex",
    "if_nametoindex",
    "if_indextoname",
)
_CHOOSERS = {name: _function(name) for name in FUNCTIONS}


def standard_places(replacements: dict[str, Any]) -> dict[Place, Any]:
    """What a Stack replaces in the standard library, with these names of the module `socket`."""
    return {(kernel, name): value for name, value in replacements.items()}


@contextmanager
def active(module: SocketModule) -> Iterator[None]:
    """See `Stack.active`."""
    replacements = {**_CHOOSERS, "socket": ActiveSocket, "SocketType": ActiveSocket}
    with patched(standard_places(replacements)):
        token = _current.set(module)
        try:
            yield
        finally:
            _current.reset(token)
