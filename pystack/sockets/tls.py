"""TLS on a Stack's blocking sockets.

`ssl.SSLSocket` hands a kernel descriptor to OpenSSL, which a Stack's socket has not. `TLSSocket`
has its methods, and moves the records itself (`records.py`).
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pystack.sockets.address import SocketAddress
from pystack.sockets.records import RecordLayer
from pystack.sockets.socket import Socket

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["TLSSocket", "wrap_socket"]

Result = TypeVar("Result")


class TLSSocket(Socket):
    """A Stack's TCP socket that speaks TLS; see `ssl.SSLSocket` for its methods."""

    __slots__ = (
        "_options",
        "_records",
        "_tls",
        "context",
        "do_handshake_on_connect",
        "server_hostname",
        "server_side",
        "suppress_ragged_eofs",
    )

    _tls: ssl.SSLObject | None

    def _begin(
        self,
        context: ssl.SSLContext,
        server_side: bool,
        do_handshake_on_connect: bool,
        suppress_ragged_eofs: bool,
        server_hostname: str | bytes | None,
        session: ssl.SSLSession | None,
    ) -> None:
        self.context = context
        self.server_side = server_side
        self.server_hostname = context._encode_hostname(server_hostname)  # type: ignore[attr-defined]
        self.do_handshake_on_connect = do_handshake_on_connect
        self.suppress_ragged_eofs = suppress_ragged_eofs
        self._options = (server_hostname, session)
        self._tls = None
        self._records = RecordLayer(super().recv, super().send)

    def _start(self) -> None:
        """Makes the TLS connection's state, once there is a connection."""
        hostname, session = self._options
        self._tls = self.context.wrap_bio(
            self._records.incoming,
            self._records.outgoing,
            server_side=self.server_side,
            server_hostname=hostname,
            session=session,
        )
        if self.do_handshake_on_connect:
            if self._timeout == 0:
                raise ValueError(
                    "do_handshake_on_connect should not be specified for non-blocking sockets"
                )
            self.do_handshake()

    def _drive(self, call: Callable[[ssl.SSLObject], Result]) -> Result:
        tls = self._tls
        if self._number < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if tls is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self._records.drive(lambda: call(tls))

    # --- data ------------------------------------------------------------------------------

    def read(self, len: int = 1024, buffer: bytearray | memoryview | None = None) -> Any:
        """Up to `len` bytes, or how many were read into `buffer`."""
        try:
            if buffer is not None:
                return self._drive(lambda tls: tls.read(len, buffer))
            return self._drive(lambda tls: tls.read(len))
        except ssl.SSLZeroReturnError:
            return 0 if buffer is not None else b""
        except ssl.SSLEOFError:
            if not self.suppress_ragged_eofs:
                raise
            return 0 if buffer is not None else b""

    def write(self, data: Buffer) -> int:
        """Sends some of `data`. Returns how many bytes."""
        with memoryview(data) as view:
            if not view.nbytes:
                return 0
            return self._drive(lambda tls: tls.write(view))

    def _no_flags(self, flags: int, name: str) -> None:
        if flags and self._tls is not None:
            raise ValueError(f"non-zero flags not allowed in calls to {name}() on {type(self)}")

    def recv(self, size: int = 1024, flags: int = 0, /) -> bytes:
        """See `socket.recv`."""
        self._no_flags(flags, "recv")
        return super().recv(size, flags) if self._tls is None else self.read(size)

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        """See `socket.recv_into`."""
        self._no_flags(flags, "recv_into")
        if self._tls is None:
            return super().recv_into(buffer, nbytes, flags)
        with memoryview(buffer).cast("B") as view:
            return int(self.read(nbytes or view.nbytes, view))

    def send(self, data: Buffer, flags: int = 0, /) -> int:
        """See `socket.send`."""
        self._no_flags(flags, "send")
        return super().send(data, flags) if self._tls is None else self.write(data)

    def sendall(self, data: Buffer, flags: int = 0, /) -> None:
        """See `socket.sendall`."""
        self._no_flags(flags, "sendall")
        if self._tls is None:
            super().sendall(data, flags)
            return
        with memoryview(data) as whole, whole.cast("B") as view:
            sent = 0
            while sent < view.nbytes:
                sent += self.write(view[sent:])

    def _refuse(self, name: str) -> None:
        if self._tls is not None:
            raise ValueError(f"{name} not allowed on instances of {type(self)}")

    def sendto(self, data: Buffer, *arguments: Any) -> int:
        """Not allowed once TLS is spoken."""
        self._refuse("sendto")
        return super().sendto(data, *arguments)

    def recvfrom(self, size: int, flags: int = 0, /) -> tuple[bytes, SocketAddress | None]:
        """Not allowed once TLS is spoken."""
        self._refuse("recvfrom")
        return super().recvfrom(size, flags)

    def recvfrom_into(
        self, buffer: Buffer, nbytes: int = 0, flags: int = 0
    ) -> tuple[int, SocketAddress | None]:
        """Not allowed once TLS is spoken."""
        self._refuse("recvfrom_into")
        return super().recvfrom_into(buffer, nbytes, flags)

    def sendmsg(self, *_arguments: Any, **_named: Any) -> int:
        """Not supported, as by `ssl.SSLSocket`."""
        raise NotImplementedError(f"sendmsg not allowed on instances of {type(self)}")

    def recvmsg(self, *_arguments: Any, **_named: Any) -> Any:
        """Not supported, as by `ssl.SSLSocket`."""
        raise NotImplementedError(f"recvmsg not allowed on instances of {type(self)}")

    def recvmsg_into(self, *_arguments: Any, **_named: Any) -> Any:
        """Not supported, as by `ssl.SSLSocket`."""
        raise NotImplementedError(f"recvmsg_into not allowed on instances of {type(self)}")

    def dup(self) -> Any:
        """Not supported, as by `ssl.SSLSocket`."""
        raise NotImplementedError("Can't dup() TLSSocket instances")

    # --- life ------------------------------------------------------------------------------

    def do_handshake(self, block: bool = False) -> None:
        """Shakes hands; checks the certificate as the context says."""
        timeout = self._timeout
        try:
            if timeout == 0 and block:
                self.settimeout(None)
            self._drive(lambda tls: tls.do_handshake())
        finally:
            self._timeout = timeout

    def unwrap(self) -> Socket:
        """Ends TLS orderly, and gives the plain socket."""
        if self._tls is None:
            raise ValueError(f"No SSL wrapper around {self}")
        self._drive(lambda tls: tls.unwrap())
        self._tls = None
        return self

    def connect(self, address: SocketAddress, /) -> None:
        """Connects, and shakes hands if that was asked for."""
        self._refuse_connected()
        super().connect(address)
        self._start()

    def connect_ex(self, address: SocketAddress, /) -> int:
        """As `connect`, and returns the errno of connecting."""
        self._refuse_connected()
        code = super().connect_ex(address)
        if not code:
            self._start()
        return code

    def _refuse_connected(self) -> None:
        if self.server_side:
            raise ValueError("can't connect in server-side mode")
        if self._tls is not None:
            raise ValueError("attempt to connect already-connected TLSSocket!")

    def accept(self) -> tuple[Socket, SocketAddress]:
        """The next connection, with TLS on it."""
        plain, peer = super().accept()
        secured = wrap(
            plain,
            self.context,
            server_side=True,
            do_handshake_on_connect=self.do_handshake_on_connect,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
        )
        return secured, peer

    def shutdown(self, how: int, /) -> None:
        """Ends a direction of the connection, and TLS without a word to the peer."""
        self._tls = None
        super().shutdown(how)

    # --- facts -----------------------------------------------------------------------------

    def _ask(self, name: str, *arguments: Any) -> Any:
        tls = self._tls
        return None if tls is None else getattr(tls, name)(*arguments)

    def getpeercert(self, binary_form: bool = False) -> Any:
        """See `ssl.SSLSocket.getpeercert`."""
        if self._tls is None:
            raise ValueError("handshake not done yet")
        return self._tls.getpeercert(binary_form)

    def pending(self) -> int:
        """Bytes that can be read without looking at the connection."""
        return self._ask("pending") or 0

    def version(self) -> str | None:
        """The protocol's version, as "TLSv1.3"."""
        found: str | None = self._ask("version")
        return found

    def cipher(self) -> Any:
        """The cipher: its name, protocol and secret bits."""
        return self._ask("cipher")

    def shared_ciphers(self) -> Any:
        """The ciphers that both sides have."""
        return self._ask("shared_ciphers")

    def compression(self) -> Any:
        """The compression in use; None: none."""
        return self._ask("compression")

    def selected_alpn_protocol(self) -> Any:
        """What ALPN agreed on (RFC 7301)."""
        return self._ask("selected_alpn_protocol")

    def selected_npn_protocol(self) -> None:
        """None: NPN is gone."""

    def get_channel_binding(self, cb_type: str = "tls-unique") -> Any:
        """See `ssl.SSLSocket.get_channel_binding`."""
        if self._tls is not None:
            return self._tls.get_channel_binding(cb_type)
        if cb_type != "tls-unique":
            raise ValueError(f"{cb_type} channel binding type not implemented")
        return None

    def verify_client_post_handshake(self) -> None:
        """Asks for the client's certificate after the handshake (TLS 1.3)."""
        if self._tls is None:
            raise ValueError(f"No SSL wrapper around {self}")
        self._tls.verify_client_post_handshake()

    @property
    def session(self) -> Any:
        """The session, to be taken up again by another connection."""
        return None if self._tls is None else self._tls.session

    @session.setter
    def session(self, session: ssl.SSLSession) -> None:
        self._options = (self._options[0], session)
        if self._tls is not None:
            self._tls.session = session

    @property
    def session_reused(self) -> bool | None:
        """Whether a session was taken up again."""
        return None if self._tls is None else self._tls.session_reused


def wrap(
    sock: Socket,
    context: ssl.SSLContext,
    *,
    server_side: bool = False,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    server_hostname: str | bytes | None = None,
    session: ssl.SSLSession | None = None,
) -> TLSSocket:
    """TLS on a Stack's socket, which is detached; see `ssl.SSLContext.wrap_socket`.

    Raises:
        ValueError: The arguments don't fit together.
        ssl.SSLError: The handshake failed.
    """
    if sock.type != socket.SOCK_STREAM:
        raise NotImplementedError("only stream sockets are supported")
    if server_side and server_hostname:
        raise ValueError("server_hostname can only be specified in client mode")
    if server_side and session is not None:
        raise ValueError("session can only be specified in client mode")
    if context.check_hostname and not server_side and not server_hostname:
        raise ValueError("check_hostname requires server_hostname")
    made = TLSSocket.__new__(TLSSocket)
    made._io_refs = 0
    made._closed = False
    made._begin(
        context,
        server_side,
        do_handshake_on_connect,
        suppress_ragged_eofs,
        server_hostname,
        session,
    )
    opened, timeout, descriptor = sock._open, sock._timeout, sock._descriptor
    try:
        sock.getpeername()
        connected = True
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        connected = False
    # The hold goes over from one object to the other, without a descriptor in between.
    sock._number = sock._descriptor = -1
    sock._closed = True
    made._adopt(opened, timeout, descriptor)
    if connected:
        try:
            made._start()
        except BaseException:
            made.close()
            raise
    return made


_kernels_wrap_socket = ssl.SSLContext.wrap_socket


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
    if not isinstance(sock, Socket):
        return _kernels_wrap_socket(
            self,
            sock,
            server_side,
            do_handshake_on_connect,
            suppress_ragged_eofs,
            server_hostname,
            session,
        )
    return wrap(
        sock,
        self,
        server_side=server_side,
        do_handshake_on_connect=do_handshake_on_connect,
        suppress_ragged_eofs=suppress_ragged_eofs,
        server_hostname=server_hostname,
        session=session,
    )
