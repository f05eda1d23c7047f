"""TLS records between OpenSSL's memory BIOs and a socket without a kernel descriptor."""

from __future__ import annotations

import ssl
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["RecordLayer", "SocketLike", "secure"]

Result = TypeVar("Result")

_HEADER = 5  # RFC 8446 5.1: type, version, length

# Pythons that took a failed SSL_read_ex or SSL_write_ex for the stream's end, whatever the socket
# said (CPython's issue 115627).
_ERROR_IS_END = sys.version_info < (3, 11, 9) or (3, 12) <= sys.version_info < (3, 12, 3)


class RecordLayer:
    """Makes OpenSSL's calls on a connection, and moves records for it meanwhile.

    It never takes more than one record off the connection ahead of OpenSSL, so that the socket's
    readiness means what it does for an `ssl.SSLSocket`. Several threads may use it.

    Args:
        receive: Up to so many bytes of the connection; BlockingIOError: none yet.
        send: Sends some bytes of it; BlockingIOError: no room yet.

    Attributes:
        incoming: The BIO that OpenSSL reads from.
        outgoing: The BIO that OpenSSL writes to.
    """

    def __init__(self, receive: Callable[[int], bytes], send: Callable[[bytes], int]) -> None:
        self._receive, self._send = receive, send
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._lock = threading.RLock()
        self._unsent = b""
        self._header = b""
        self._left = 0

    def flush(self) -> None:
        """Sends what OpenSSL has written.

        Raises:
            ssl.SSLWantWriteError: There is no room yet.
        """
        with self._lock:
            self._unsent += self.outgoing.read()
            while self._unsent:
                try:
                    sent = self._send(self._unsent)
                except BlockingIOError:
                    raise ssl.SSLWantWriteError(
                        ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)"
                    ) from None
                self._unsent = self._unsent[sent:]

    def _fetch(self) -> None:
        """Takes some bytes of the record that is due, or notes the connection's end."""
        try:
            data = self._receive(self._left or _HEADER - len(self._header))
        except BlockingIOError:
            raise ssl.SSLWantReadError(
                ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)"
            ) from None
        with self._lock:
            if not data:
                self.incoming.write_eof()
                return
            self.incoming.write(data)
            if self._left:
                self._left -= len(data)
            else:
                self._header += data
                if len(self._header) == _HEADER:
                    self._left = int.from_bytes(self._header[3:], "big")
                    self._header = b""

    def drive(self, call: Callable[[], Result]) -> Result:
        """Makes a call of OpenSSL's until it is content.

        Raises:
            ssl.SSLError: What it says; SSLWantReadError and SSLWantWriteError of a socket that
                does not wait.
        """
        while True:
            with self._lock:
                try:
                    result = call()
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError:
                    self._last_words()
                    raise
                else:
                    self.flush()
                    return result
            self.flush()
            self._fetch()

    def _last_words(self) -> None:
        """Sends the alert that OpenSSL may have left; the error that made it comes first."""
        try:
            self.flush()
        except OSError:
            return


class SocketLike:
    """What `ssl.SSLSocket` takes for OpenSSL's object on a descriptor (`_ssl._SSLSocket`).

    Args:
        inner: OpenSSL's object on the record layer's BIOs.
        records: The record layer.
        sock: What `shutdown` gives back.
    """

    def __init__(self, inner: Any, records: RecordLayer, sock: Any) -> None:
        object.__setattr__(self, "_inner", inner)
        object.__setattr__(self, "_records", records)
        object.__setattr__(self, "_sock", sock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    def do_handshake(self) -> None:
        """Shakes hands."""
        with _failure_says("The handshake operation timed out"):
            self._records.drive(self._inner.do_handshake)

    def read(self, *arguments: Any) -> Any:
        """Decrypted data."""
        with _failure_says("The read operation timed out", end=_ERROR_IS_END):
            return self._records.drive(lambda: self._inner.read(*arguments))

    def write(self, data: Any) -> Any:
        """Encrypts and sends."""
        with _failure_says("The write operation timed out", end=_ERROR_IS_END):
            return self._records.drive(lambda: self._inner.write(data))

    def shutdown(self) -> Any:
        """Ends TLS orderly."""
        with _failure_says("The read operation timed out"):
            self._records.drive(self._inner.shutdown)
        return self._sock()

    def verify_client_post_handshake(self) -> Any:
        """Asks for the client's certificate."""
        return self._records.drive(self._inner.verify_client_post_handshake)


@contextmanager
def _failure_says(timed_out: str, *, end: bool = False) -> Iterator[None]:
    """What OpenSSL's object on a descriptor makes of a socket's errors.

    Args:
        timed_out: What a timeout says.
        end: Whether any other error is the end of the stream.
    """
    try:
        yield
    except ssl.SSLError:
        raise
    except TimeoutError:
        raise TimeoutError(timed_out) from None
    except OSError as error:
        if not end:
            raise
        raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol") from error


def secure(
    context: Any,
    sock: Any,
    records: RecordLayer,
    server_side: bool,
    *arguments: Any,
    **named: Any,
) -> SocketLike:
    """Makes the state of a TLS connection; the arguments are `_ssl._SSLContext._wrap_socket`'s."""
    inner = context._wrap_bio(records.incoming, records.outgoing, server_side, *arguments, **named)
    return SocketLike(inner, records, weakref.ref(sock))
