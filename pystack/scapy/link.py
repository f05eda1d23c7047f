"""A connection of a Stack's TCP that carries scapy's layers."""

from __future__ import annotations

import ssl
from typing import Any

from scapy.packet import Packet
from scapy.supersocket import StreamSocket, StreamSocketPeekless, SuperSocket

from pystack.scapy.ready import ready
from pystack.stack import Stack

__all__ = ["tcp_link"]


class _Link(StreamSocket):
    select = staticmethod(ready)


class _TlsLink(StreamSocketPeekless):
    @staticmethod
    def select(sockets: list[SuperSocket], remain: float | None = None) -> list[SuperSocket]:
        queued: list[SuperSocket] = [
            one for one in sockets if isinstance(one, _TlsLink) and one.sess.data
        ]
        return queued or ready(sockets, remain)


def tcp_link(
    net: Stack,
    layer: type[Packet],
    host: str,
    port: int,
    *,
    timeout: float | None = None,
    source: tuple[str, int] | None = None,
    tls: ssl.SSLContext | None = None,
) -> StreamSocket:
    """Connects, as ``TCP_client.tcplink(layer, host, port)`` does, with the Stack's TCP below.

    Loss, reordering, windows and keepalives are the Stack's. The result takes and gives packets of
    `layer`; it has `sr1` and `sniff`, and is what an automaton takes as ``sock=``.

    Args:
        net: The Stack.
        layer: What the stream carries, such as `scapy.layers.http.HTTP`.
        host: A name or an address.
        port: A port.
        timeout: Seconds for the handshake, and for each later wait; None: as long as it takes.
        source: The address and port to connect from.
        tls: TLS inside it, with `host` as the server's name.

    Raises:
        socket.gaierror: There is no such name.
        OSError: As from connect(2); TimeoutError.
        ssl.SSLError: The handshake has failed.
    """
    connected: Any = net.sockets.create_connection((host, port), timeout, source)
    try:
        if tls is not None:
            return _TlsLink(tls.wrap_socket(connected, server_hostname=host), layer)
        return _Link(connected, layer)
    except BaseException:
        connected.close()
        raise
