"""How an upstream is named, on a command line for instance."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from pystack.embed.proxy.direct import Direct
from pystack.embed.proxy.http_connect import HttpConnect
from pystack.embed.proxy.socks5 import Socks5
from pystack.embed.proxy.upstream import Upstream

__all__ = ["parse_upstream"]


def parse_upstream(text: str, device: str | None = None) -> Upstream:
    """An upstream by its name.

    Args:
        text: ``direct``, ``socks5://[user:password@]host:port`` or
            ``http://[user:password@]host:port``. IPv6 addresses stand in brackets; special
            characters of user and password are percent-encoded (RFC 3986).
        device: See `Direct`.

    Raises:
        ValueError: It is none of these; the message says what is wrong.
        OSError: See `Direct`, of the device.
    """
    if not isinstance(text, str):
        raise TypeError(f"an upstream is a string, such as 'direct', not {text!r}")
    if text == "direct":
        return Direct(device)
    parts = urlsplit(text)
    kinds: dict[str, tuple[type[Socks5] | type[HttpConnect], int]] = {
        "socks5": (Socks5, 1080),
        "socks5h": (Socks5, 1080),
        "http": (HttpConnect, 8080),
    }
    if parts.scheme not in kinds or not parts.hostname:
        raise ValueError(
            f"no upstream: {text!r}; say direct, socks5://host:port or http://host:port"
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"an upstream ends with its port: {text!r}")
    kind, port = kinds[parts.scheme]
    try:
        port = parts.port or port
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return kind(parts.hostname, port, user=user, password=password, device=device)
