"""The reference agent: the sockets and tables of the Linux that it runs on, over a line protocol.

It needs the standard library alone, so that it can be the first process of a system that has
nothing else. See PROTOCOL.md beside this file; what is Linux's own is in tables.py.

    python agent.py [--interfaces eth0,eth1] [--listen WHERE | --connect WHERE | --fd N]

WHERE is `unix:PATH` or `HOST:PORT`. Without one of the three it talks over its standard input and
output. One that listens serves one lab after the other.
"""

from __future__ import annotations

import argparse
import errno
import os
import select
import socket
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from pystack.lab.agent.tables import Tables
else:  # run as a program, with this folder first on the path and no package
    from tables import Tables

VERSION = "1"
PING_IDENTIFIER = 0x5053


def _hex(data: bytes) -> str:
    return data.hex() or "-"


def _bytes(word: str) -> bytes:
    return b"" if word == "-" else bytes.fromhex(word)


def _number(word: str) -> int:
    """A number, or the name that the module `socket` has for one, as SO_REUSEADDR."""
    return int(vars(socket)[word]) if word[0].isalpha() else int(word, 0)


def _address(words: tuple[str, ...]) -> tuple[str | int, ...]:
    return (words[0], *map(int, words[1:]))


def _words(address: object) -> list[str]:
    return [str(one) for one in address] if isinstance(address, tuple) else []


def checksum(data: bytes) -> int:
    """The Internet's checksum (RFC 1071), of an even number of bytes."""
    total = int(sum(struct.unpack(f"!{len(data) // 2}H", data)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


class SocketAgent:
    """Carries out requests about sockets. Each verb is a method `do_...` that gives its words."""

    def __init__(self) -> None:
        self._sockets: dict[str, Any] = {}
        self._made = 0

    def serve(self, reader: BinaryIO, writer: BinaryIO) -> None:
        """Answers until the stream ends or `quit` comes."""
        begun = ""  # of a request that comes in parts, as some streams lose what is long
        for raw in reader:
            line = raw.decode("ascii", "replace").rstrip("\r\n")
            if line.startswith("part "):
                begun += line.removeprefix("part ")
                answer = "ok"
            else:
                answer = self.answer(begun + line)
                begun = ""
            writer.write(answer.encode("ascii", "replace") + b"\n")
            writer.flush()
            if line == "quit":
                return

    def answer(self, line: str) -> str:
        """The response to a request, both without the line's end."""
        verb, *words = line.split() or [""]
        call: Callable[..., list[str] | None] | None = getattr(self, f"do_{verb}", None)
        try:
            if call is None:
                raise OSError(errno.ENOSYS, f"no verb {verb}")
            return " ".join(["ok", *(call(*words) or [])])
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "EINVAL")
            return f"err {name} {error.strerror or error}"
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            return f"err EINVAL {type(error).__name__}: {error}".replace("\n", " ")

    # --- the agent itself ---------------------------------------------------------------------

    def do_hello(self, *_version: str) -> list[str]:
        """Which protocol, whose clock, which stack."""
        return [VERSION, "real", os.uname().sysname, os.uname().release]

    def do_quit(self) -> None:
        """The end."""
        self.close_sockets()

    def close_sockets(self) -> None:
        """Closes all sockets, connections by a reset."""
        for one in self._sockets.values():
            if one.type == socket.SOCK_STREAM:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        self._sockets.clear()

    # --- sockets ------------------------------------------------------------------------------

    def make(self, family: int, kind: int, protocol: int) -> Any:
        """A socket, with the methods of the module `socket`'s that never wait."""
        return socket.socket(family, kind, protocol)

    def _keep(self, made: Any) -> str:
        made.setblocking(False)
        self._made += 1
        self._sockets[str(self._made)] = made
        return str(self._made)

    def do_socket(self, family: str, kind: str, protocol: str = "0") -> list[str]:  # noqa: D102
        domain = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}[family]
        number = {"stream": 1, "dgram": 2, "raw": 3}[kind]
        return [self._keep(self.make(domain, number, int(protocol)))]

    def do_bind(self, handle: str, *address: str) -> None:  # noqa: D102
        self._sockets[handle].bind(_address(address))

    def do_listen(self, handle: str, backlog: str) -> None:  # noqa: D102
        self._sockets[handle].listen(int(backlog))

    def do_accept(self, handle: str) -> list[str]:  # noqa: D102
        made, address = self._sockets[handle].accept()
        return [self._keep(made), *_words(address)]

    def do_connect(self, handle: str, *address: str) -> None:  # noqa: D102
        self._sockets[handle].connect(_address(address))

    def do_send(self, handle: str, data: str, flags: str = "0") -> list[str]:  # noqa: D102
        return [str(self._sockets[handle].send(_bytes(data), int(flags)))]

    def do_sendto(self, handle: str, data: str, *address: str) -> list[str]:  # noqa: D102
        return [str(self._sockets[handle].sendto(_bytes(data), _address(address)))]

    def do_recv(self, handle: str, size: str, flags: str = "0") -> list[str]:  # noqa: D102
        return [_hex(self._sockets[handle].recv(int(size), int(flags)))]

    def do_recvfrom(self, handle: str, size: str, flags: str = "0") -> list[str]:  # noqa: D102
        data, address = self._sockets[handle].recvfrom(int(size), int(flags))
        return [_hex(data), *_words(address)]

    def do_shutdown(self, handle: str, how: str) -> None:  # noqa: D102
        self._sockets[handle].shutdown({"rd": 0, "wr": 1, "rdwr": 2}[how])

    def do_close(self, handle: str) -> None:  # noqa: D102
        self._sockets.pop(handle).close()

    def do_poll(self, handle: str) -> list[str]:  # noqa: D102
        poll = select.poll()
        poll.register(self._sockets[handle])
        names = {select.POLLIN: "in", select.POLLOUT: "out", select.POLLERR: "err"}
        names[select.POLLHUP] = "hup"
        found = dict(poll.poll(0)).get(self._sockets[handle].fileno(), 0)
        return [name for bit, name in names.items() if found & bit]

    def do_nonblock(self, handle: str) -> None:  # noqa: D102
        self._sockets[handle].setblocking(False)

    def do_getsockname(self, handle: str) -> list[str]:  # noqa: D102
        return _words(self._sockets[handle].getsockname())

    def do_getpeername(self, handle: str) -> list[str]:  # noqa: D102
        return _words(self._sockets[handle].getpeername())

    def do_getsockopt(self, handle: str, level: str, name: str, size: str = "") -> list[str]:  # noqa: D102
        if size:
            return [
                _hex(self._sockets[handle].getsockopt(_number(level), _number(name), int(size)))
            ]
        return [str(self._sockets[handle].getsockopt(_number(level), _number(name)))]

    def do_setsockopt(self, handle: str, level: str, name: str, value: str) -> None:  # noqa: D102
        given = bytes.fromhex(value[1:]) if value[0] == "x" else int(value)
        self._sockets[handle].setsockopt(_number(level), _number(name), given)

    def do_ping(self, destination: str, size: str = "56") -> None:
        """Sends one echo request."""
        v6 = ":" in destination
        family = socket.AF_INET6 if v6 else socket.AF_INET
        header = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, PING_IDENTIFIER, 1)
        message = bytearray(header + bytes(int(size)))
        if not v6:  # ICMPv6's, which covers the addresses, is the stack's work
            message[2:4] = checksum(bytes(message) + bytes(len(message) % 2)).to_bytes(2, "big")
        protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
        sender = self.make(family, socket.SOCK_RAW, protocol)
        try:
            sender.setblocking(False)
            sender.sendto(bytes(message), (destination, 0))
        finally:
            sender.close()


class Agent(Tables, SocketAgent):
    """An agent of the Linux that it runs on.

    Args:
        interfaces: Their names, in the order of the lab's ports.
    """

    def __init__(self, interfaces: list[str]) -> None:
        SocketAgent.__init__(self)
        Tables.__init__(self, interfaces)

    def do_reset(self, ports: str = "1") -> None:
        """Nothing is left of what was: sockets, addresses, routes, neighbours."""
        self.close_sockets()
        Tables.do_reset(self, ports)


def stream_to(where: str) -> socket.socket:
    """Connects to "unix:PATH" or "HOST:PORT"."""
    if where.startswith("unix:"):
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(where.removeprefix("unix:"))
        return stream
    host, _, port = where.rpartition(":")
    return socket.create_connection((host, int(port)))


def listener_at(where: str) -> socket.socket:
    """Listens at "unix:PATH" or "HOST:PORT"."""
    if where.startswith("unix:"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(where.removeprefix("unix:"))
        listener.listen(1)
        return listener
    host, _, port = where.rpartition(":")
    return socket.create_server((host, int(port)))


def main() -> None:
    """Serves one stream, or each that connects."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--interfaces", default="eth0", help="names, by port, with commas")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--listen", metavar="WHERE")
    where.add_argument("--connect", metavar="WHERE")
    where.add_argument("--fd", type=int, metavar="N", help="a stream that was inherited")
    given = parser.parse_args()
    agent = Agent(given.interfaces.split(","))

    def serve(stream: socket.socket) -> None:
        with stream:
            agent.serve(stream.makefile("rb"), stream.makefile("wb"))

    if given.listen is not None:
        with listener_at(given.listen) as listener:
            while True:
                serve(listener.accept()[0])
    elif given.connect is not None:
        serve(stream_to(given.connect))
    elif given.fd is not None:
        serve(socket.socket(fileno=given.fd))
    else:
        agent.serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
