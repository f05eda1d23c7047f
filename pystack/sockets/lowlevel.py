"""A stand-in for the module `_socket`, on which the library's own `socket.py` runs.

Put it into `sys.modules` before `socket` is imported, and everything above is the standard
library's unchanged code: its `socket.socket` is then a subclass of a class that is a Stack's
socket for the Internet's families, and holds a socket of the kernel's for all others.
"""

from __future__ import annotations

import _socket
import _ssl
from operator import index
from types import ModuleType
from typing import Any

from pystack.sockets import descriptors
from pystack.sockets.address import FAMILIES
from pystack.sockets.message import MessageSocket
from pystack.sockets.module import SocketModule
from pystack.sockets.records import RecordLayer, secure

# Of the C class, which typeshed doesn't show.
_kernels_wrap_socket: Any = vars(_ssl._SSLContext)["_wrap_socket"]

_METHODS = (
    "_accept",
    "bind",
    "close",
    "connect",
    "connect_ex",
    "detach",
    "fileno",
    "getblocking",
    "getpeername",
    "getsockname",
    "getsockopt",
    "gettimeout",
    "listen",
    "recv",
    "recv_into",
    "recvfrom",
    "recvfrom_into",
    "recvmsg",
    "recvmsg_into",
    "send",
    "sendall",
    "sendmsg",
    "sendto",
    "setblocking",
    "setsockopt",
    "settimeout",
    "shutdown",
)
_ATTRIBUTES = ("family", "type", "proto", "timeout")


class _KernelSocket(_socket.socket):
    """The kernel's; OpenSSL's object refers to it weakly."""

    __slots__ = ("__weakref__",)


class _StackSocket(MessageSocket):
    """`MessageSocket` that shows itself as `_socket.socket` does."""

    __slots__ = ()

    def __repr__(self) -> str:
        return (
            f"<socket object, fd={self.fileno()}, family={self.family}, type={self.type}, "
            f"proto={self.proto}>"
        )


def _either_class(sockets: SocketModule) -> type:
    def __init__(  # noqa: N807
        self: Any, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        self._ps_number = -1
        self._ps_kernel = None
        if fileno is not None:
            if isinstance(fileno, float):
                raise TypeError("integer argument expected, got float")
            number = index(fileno)
            if number < 0:
                raise ValueError("negative file descriptor")
            ours = descriptors.find(number) is not None
        else:
            ours = family == -1 or index(family) in FAMILIES
        if ours:
            _StackSocket.__init__(self, family, type, proto, fileno)
            self.fileno()  # every socket of that module has a descriptor from the first
        else:
            self._ps_kernel = _KernelSocket(family, type, proto, fileno)

    def method(name: str) -> Any:
        ours = getattr(_StackSocket, name)

        def call(self: Any, *arguments: Any, **named: Any) -> Any:
            kernel = self._ps_kernel
            if kernel is not None:
                return getattr(kernel, name)(*arguments, **named)
            return ours(self, *arguments, **named)

        call.__name__ = name
        return call

    def attribute(name: str) -> property:
        ours = getattr(_StackSocket, name).fget

        def get(self: Any) -> Any:
            return ours(self) if self._ps_kernel is None else getattr(self._ps_kernel, name)

        return property(get)

    members: dict[str, Any] = {
        "__slots__": ("_ps_kernel",),
        "__module__": "_socket",
        "__init__": __init__,
        "_ps_stack_handle": sockets._handle,
        "_ps_resolve": staticmethod(sockets._resolver.one),
    }
    members.update({name: method(name) for name in _METHODS})
    members.update({name: attribute(name) for name in _ATTRIBUTES})
    return type("socket", (_StackSocket,), members)


def wrap_socket(context: Any, sock: Any, server_side: bool, *arguments: Any, **named: Any) -> Any:
    """Stands for `_ssl._SSLContext._wrap_socket`, which wants a descriptor with data behind it."""
    kernel = getattr(sock, "_ps_kernel", None)
    if kernel is not None:
        return _kernels_wrap_socket(context, kernel, server_side, *arguments, **named)
    records = RecordLayer(
        lambda size: _StackSocket.recv(sock, size), lambda data: _StackSocket.send(sock, data)
    )
    return secure(context, sock, records, server_side, *arguments, **named)


def lowlevel(sockets: SocketModule) -> ModuleType:
    """A module to stand for `_socket`, on one Stack.

    Args:
        sockets: The Stack's `Stack.sockets`.
    """
    module = ModuleType("_socket", __doc__)
    module.__dict__.update(
        {name: value for name, value in vars(_socket).items() if not name.startswith("__")}
    )

    either = _either_class(sockets)
    module.__dict__.update(
        socket=either,
        SocketType=either,
        dup=sockets.dup,
        close=sockets.close,
        getaddrinfo=sockets.getaddrinfo,
        gethostbyaddr=sockets.gethostbyaddr,
        gethostbyname=sockets.gethostbyname,
        gethostbyname_ex=sockets.gethostbyname_ex,
        if_nameindex=sockets.if_nameindex,
        if_nametoindex=sockets.if_nametoindex,
        if_indextoname=sockets.if_indextoname,
    )
    return module
