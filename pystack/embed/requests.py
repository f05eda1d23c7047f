"""An adapter for requests: a session's requests leave through its own Stack.

``session = pystack.embed.requests.session(net)``, or mount an `Adapter` on a session of yours.
Nothing is put in the place of the module `socket`; names are asked of the Stack's name servers, and
https is verified as usual.
"""

from __future__ import annotations

import socket
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.timeout import Timeout

from pystack.stack import Stack

__all__ = ["Adapter", "session"]


def _pools(net: Stack) -> dict[str, Any]:
    """urllib3's pools of connections, on a Stack."""

    def new_connection(self: Any) -> Any:
        try:
            sock = net.sockets.create_connection(
                (self._dns_host, self.port),
                Timeout.resolve_default_timeout(self.timeout),
                source_address=self.source_address,
            )
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
            except BaseException:
                sock.close()
                raise
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            text = f"Connection to {self.host} timed out. (connect timeout={self.timeout})"
            raise ConnectTimeoutError(self, text) from error
        except OSError as error:
            text = f"Failed to establish a new connection: {error}"
            raise NewConnectionError(self, text) from error
        return sock

    made: dict[str, Any] = {}
    for scheme, pool in (("http", HTTPConnectionPool), ("https", HTTPSConnectionPool)):
        members = {"_new_conn": new_connection}
        connection = type(pool.ConnectionCls.__name__, (pool.ConnectionCls,), members)
        made[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": connection})
    return made


class Adapter(HTTPAdapter):
    """`requests.adapters.HTTPAdapter` on a Stack, which stays the caller's to close.

    Args:
        net: The Stack.
        options: As `requests.adapters.HTTPAdapter`: pool_connections, pool_maxsize, max_retries,
            pool_block.
    """

    def __init__(self, net: Stack, **options: Any) -> None:
        self._pools = _pools(net)
        super().__init__(**options)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """As `requests.adapters.HTTPAdapter`, on the Stack."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        """As `requests.adapters.HTTPAdapter`, to a proxy that the Stack reaches.

        Raises:
            requests.exceptions.InvalidSchema: A SOCKS proxy, whose sockets PySocks makes.
        """
        if not str(proxy).lower().startswith(("http://", "https://")):
            raise requests.exceptions.InvalidSchema(
                f"a Stack reaches no proxy but those of HTTP, and {proxy!r} is none"
            )
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager


def session(net: Stack, **options: Any) -> requests.Session:
    """A session whose requests leave through a Stack, by no proxy that the environment names.

    Args:
        net: The Stack.
        options: As `Adapter`.
    """
    made = requests.Session()
    made.trust_env = False
    for scheme in ("http://", "https://"):
        made.mount(scheme, Adapter(net, **options))
    return made
