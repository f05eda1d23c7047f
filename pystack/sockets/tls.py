"""TLS on a Stack's sockets: the library's own `ssl.SSLSocket`, on another socket.

`ssl.SSLSocket` is Python code on top of a socket and of OpenSSL's object. `TLSSocket` is that very
code, of whichever Python it runs on, on top of `Socket`; below it OpenSSL reads and writes memory,
and `records.py` moves the records, since no descriptor carries the data.
"""

from __future__ import annotations

import errno
import socket
import ssl
import weakref
from types import CellType, FunctionType
from typing import Any

from pystack.sockets.records import RecordLayer, secure
from pystack.sockets.socket import Socket

__all__ = ["TLSSocket", "begin_tls", "wrap_socket"]

# Of ssl.SSLSocket: what belongs to the class itself, and what makes one of a descriptor.
_NOT_TAKEN = frozenset({"__dict__", "__weakref__", "__module__", "__doc__", "_create"})


def _rebound(member: Any, class_cell: CellType) -> Any:
    """A member of `ssl.SSLSocket`, or of a class on it, whose `super()` is that of another."""
    if isinstance(member, property):
        parts = (member.fget, member.fset, member.fdel)
        return property(*(_rebound(part, class_cell) for part in parts))
    if isinstance(member, (classmethod, staticmethod)):
        return type(member)(_rebound(member.__func__, class_cell))
    if isinstance(member, FunctionType) and "__class__" in member.__code__.co_freevars:
        cells = tuple(
            class_cell if name == "__class__" else cell
            for name, cell in zip(
                member.__code__.co_freevars, member.__closure__ or (), strict=True
            )
        )
        made = FunctionType(
            member.__code__, member.__globals__, member.__name__, member.__defaults__, cells
        )
        made.__kwdefaults__ = member.__kwdefaults__
        made.__doc__ = member.__doc__
        return made
    return member


def _moved(library: type[Any], base: type[Any], name: str, **more: Any) -> Any:
    """The library's class, or one on it, with another base."""
    class_cell = CellType()
    members: dict[str, Any] = {
        name: _rebound(member, class_cell)
        for name, member in vars(library).items()
        if name not in _NOT_TAKEN
    }
    # So isinstance() says yes to ssl.SSLSocket and socket.socket, which ftplib and others ask.
    members.update(__class__=property(lambda _self: library), **more)
    made = type(name, (base,), members)
    class_cell.cell_contents = made
    return made


TLSSocket: Any = _moved(
    ssl.SSLSocket,
    Socket,
    "TLSSocket",
    __module__=__name__,
    __doc__="A Stack's TCP socket that speaks TLS; see `ssl.SSLSocket`.",
    _ps_resolve=property(lambda self: self._ps_handle.socket_class._ps_resolve),
)
_moved_classes: weakref.WeakKeyDictionary[type[Any], Any] = weakref.WeakKeyDictionary(
    {ssl.SSLSocket: TLSSocket}
)


def _class_for(library: type[Any]) -> Any:
    """What stands for an `ssl.SSLContext.sslsocket_class`."""
    made = _moved_classes.get(library)
    if made is None:
        made = TLSSocket
        order = library.__mro__
        for one in reversed(order[: order.index(ssl.SSLSocket)]):
            made = _moved(one, made, one.__name__)
        _moved_classes[library] = made
    return made


def _is_connected(sock: Socket) -> bool:
    """Whether there is a connection to speak TLS on.

    Raises:
        ssl.SSLError: There was one; the rest of it can't be told apart from TLS data.
    """
    try:
        sock.getpeername()
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
    else:
        return True
    timeout = sock.gettimeout()
    sock.setblocking(False)
    try:
        left = sock.recv(1)
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.EINVAL, errno.EAGAIN):
            raise
        left = b""
    finally:
        sock.settimeout(timeout)
    if left:
        reason = "Closed before TLS handshake with data in recv buffer."
        early = ssl.SSLError(errno.ENOTCONN, reason)
        early.reason = reason
        early.library = None  # type: ignore[assignment]  # as _ssl has it
        raise early
    return False


def _wrap(
    sock: Socket,
    context: ssl.SSLContext,
    server_side: bool,
    do_handshake_on_connect: bool,
    suppress_ragged_eofs: bool,
    server_hostname: str | bytes | None,
    session: ssl.SSLSession | None,
) -> Any:
    """As `ssl.SSLSocket._create`; `sock` is detached."""
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_STREAM:
        raise NotImplementedError("only stream sockets are supported")
    if server_side and server_hostname:
        raise ValueError("server_hostname can only be specified in client mode")
    if server_side and session is not None:
        raise ValueError("session can only be specified in client mode")
    if context.check_hostname and not server_hostname:
        raise ValueError("check_hostname requires server_hostname")
    cls = _class_for(context.sslsocket_class)
    made = cls.__new__(cls)
    made._io_refs = 0
    made._closed = False
    opened, timeout, descriptor = sock._ps_open, sock._ps_timeout, sock._ps_descriptor
    # The hold goes over from one object to the other, without a descriptor in between.
    sock._ps_number, sock._ps_descriptor, sock._ps_open = -1, None, opened.husk()
    sock._closed = True
    made._ps_adopt(opened, timeout, descriptor)
    made._context = context
    made._session = session
    made._sslobj = None
    made._connected = False
    made.server_side = server_side
    made.do_handshake_on_connect = do_handshake_on_connect
    made.suppress_ragged_eofs = suppress_ragged_eofs
    try:
        made.server_hostname = context._encode_hostname(server_hostname)  # type: ignore[attr-defined]
        made._connected = _is_connected(made)
        if made._connected:
            made._sslobj = begin_tls(
                context, made, server_side, made.server_hostname, owner=made, session=session
            )
            if do_handshake_on_connect:
                if timeout == 0:
                    raise ValueError(
                        "do_handshake_on_connect should not be specified for non-blocking sockets"
                    )
                made.do_handshake()
    except BaseException:
        made.close()
        raise
    return made


_librarys_begin_tls: Any = ssl.SSLContext._wrap_socket  # type: ignore[attr-defined]
_librarys_wrap_socket = ssl.SSLContext.wrap_socket


def begin_tls(
    self: ssl.SSLContext, sock: Any, server_side: bool, *arguments: Any, **named: Any
) -> Any:
    """`ssl.SSLContext._wrap_socket`, OpenSSL's part, for sockets of a Stack as for the kernel's."""
    if not isinstance(sock, Socket):
        return _librarys_begin_tls(self, sock, server_side, *arguments, **named)
    # As OpenSSL's object on a descriptor it doesn't keep the socket, which holds it in turn: one
    # that nobody has any more is closed at once.
    there = weakref.ref(sock)

    def socket_there() -> Socket:
        found = there()
        if found is None:
            raise ssl.SSLError("Underlying socket connection gone")
        return found

    records = RecordLayer(
        lambda size: Socket.recv(socket_there(), size),
        lambda data: Socket.send(socket_there(), data),
    )
    return secure(self, sock, records, server_side, *arguments, **named)


def wrap_socket(
    self: ssl.SSLContext,
    sock: Any,
    server_side: bool = False,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    server_hostname: str | bytes | None = None,
    session: ssl.SSLSession | None = None,
) -> Any:
    """`ssl.SSLContext.wrap_socket` for sockets of a Stack as for the kernel's."""
    arguments = (
        server_side, do_handshake_on_connect, suppress_ragged_eofs, server_hostname, session,
    )  # fmt: skip
    if isinstance(sock, Socket):
        return _wrap(sock, self, *arguments)
    return _librarys_wrap_socket(self, sock, *arguments)
