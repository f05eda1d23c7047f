"""Names of addresses, by a PTR question to a Stack's name servers (RFC 1035 3.5, RFC 3596 2.5)."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable, Iterable
from typing import Any

from pystack import names
from pystack.names import LARGEST, PORT, UNREACHABLE, Server

__all__ = ["Server", "ask", "question", "read_answer"]

PTR = 12
TRIES, TIMEOUT_S = 2, 3.0  # for each server, as resolv.conf(5) has `attempts` and about `timeout`


def question(address: str, identifier: int) -> bytes:
    """The DNS message that asks for the name of an address.

    Raises:
        ValueError: It is no address.
    """
    name = ipaddress.ip_address(address.partition("%")[0]).reverse_pointer
    return names.make_question(name, PTR, identifier)


def read_answer(message: bytes, asked: bytes) -> str | None:
    """The first name in an answer, also one that a CNAME leads to (RFC 2317).

    Args:
        message: What came.
        asked: The question.

    Returns:
        The name; None: there is none.

    Raises:
        ValueError: It is no answer to this question, or malformed.
        OSError: The server says that it failed.
    """
    answer = names.read_answer(message, asked)
    if not answer.final:
        raise OSError(f"the name server failed (RCODE {answer.code})")
    found = [names.read_whole_name(message, begin, end) for begin, end in answer.data]
    return found[0] if found else None


def ask(
    make_socket: Callable[[int, int], Any],
    servers: Iterable[Server],
    address: str,
    now: Callable[[], float],
) -> str | None:
    """Asks name servers, one after the other, for the name of an address.

    Args:
        make_socket: Makes a socket of a family and a type.
        servers: The name servers' addresses.
        address: The address.
        now: The time that the sockets' calls time out by, in seconds.

    Returns:
        The name; None: it has none, or there are no servers to ask.

    Raises:
        socket.gaierror: EAI_AGAIN, no server gave an answer.
        OSError: What the sockets meet, unless it is that a server can't be reached.
    """
    known = list(servers)
    if not known:
        return None
    for server in known * TRIES:
        family = socket.AF_INET if server.version == 4 else socket.AF_INET6
        message = question(address, secrets.randbelow(1 << 16))
        try:
            with make_socket(family, socket.SOCK_DGRAM) as asker:
                asker.connect((str(server), PORT))
                asker.send(message)
                deadline = now() + TIMEOUT_S
                while (left := deadline - now()) > 0:
                    asker.settimeout(left)
                    try:
                        return read_answer(asker.recv(LARGEST), message)
                    except ValueError:
                        continue  # a forged answer; the true one may still come
        except OSError as error:
            # No answer in time, or the server failed: neither has an errno.
            if error.errno is not None and error.errno not in UNREACHABLE:
                raise
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
