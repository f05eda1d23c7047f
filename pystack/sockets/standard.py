"""What the standard library must know about a Stack's sockets, wherever they are used.

`ssl.SSLContext.wrap_socket`, `os.read` and the like take a socket's descriptor for the data itself,
and would wait for ever on one that only shows readiness. From a process's first Stack on they look
whose the socket is; for all others they are the library's own.
"""

from __future__ import annotations

import ssl

from pystack.sockets.controls import introduce_controls
from pystack.sockets.files import introduce_files
from pystack.sockets.tls import begin_tls, wrap_socket

__all__ = ["introduce_stack_sockets"]


def introduce_stack_sockets() -> None:
    """Puts all in place; doing it again changes nothing."""
    ssl.SSLContext.wrap_socket = wrap_socket  # type: ignore[method-assign]
    ssl.SSLContext._wrap_socket = begin_tls  # type: ignore[attr-defined]
    introduce_controls()
    introduce_files()
