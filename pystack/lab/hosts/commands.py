"""The lab's side of the line protocol: requests to an agent, and what it answers.

See PROTOCOL.md in pystack/lab/agent.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from pystack.lab.verdict import HostCrashed, Unable

__all__ = ["AgentSocket", "Commands", "words_of"]

ANSWER_S = 15.0
_CHUNK = 1 << 18
PART = 8192
_FAMILIES = {socket.AF_INET: "inet", socket.AF_INET6: "inet6"}
_KINDS = {socket.SOCK_STREAM: "stream", socket.SOCK_DGRAM: "dgram", socket.SOCK_RAW: "raw"}
_HOW = {socket.SHUT_RD: "rd", socket.SHUT_WR: "wr", socket.SHUT_RDWR: "rdwr"}


class Commands:
    """A command stream.

    Args:
        name: The Host's, for errors.
        reader: A descriptor that the answers come from. This object does not own it.
        writer: One that the requests go to; default: the same.
        answer_s: How long an answer may take.
        longest: What the stream loses characters of is longer; such requests go in parts.
    """

    def __init__(
        self,
        name: str,
        reader: int,
        writer: int | None = None,
        answer_s: float = ANSWER_S,
        longest: int | None = None,
    ) -> None:
        self.name = name
        self.reader = reader
        self.writer = reader if writer is None else writer
        self.answer_s = answer_s
        self._longest = longest
        self._rest = b""
        self._dead = ""
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)

    def ask(self, *words: object) -> list[str]:
        """Puts a request, and gives the words of the answer.

        Raises:
            HostCrashed: No answer comes.
            Unable: The agent has no such ability.
            OSError: What it says went wrong, as the class of that errno.
        """
        if self._dead:
            raise HostCrashed(self._dead)
        line = " ".join(map(str, words))
        while self._longest is not None and len(line) > self._longest:
            self._exchange(f"part {line[: self._longest]}")
            line = line[self._longest :]
        verdict, *found = self._exchange(line).split(" ")
        if verdict == "ok":
            return [word for word in found if word]
        if verdict != "err" or not found:
            raise self.lost(f"answers {line[:60]!r} with {' '.join((verdict, *found))[:60]!r}")
        code = getattr(errno, found[0], None)
        text = " ".join(found[1:])
        if code == errno.ENOSYS:
            raise Unable(f"{self.name} can't: {text}")
        if code is None:
            raise OSError(None, f"{found[0]} {text}")
        raise OSError(code, text)

    def _exchange(self, line: str) -> str:
        deadline = time.monotonic() + self.answer_s
        self._write(line.encode("ascii") + b"\n", deadline)
        return self._line(deadline)

    def lost(self, why: str) -> HostCrashed:
        """Marks the agent as gone."""
        self._dead = f"{self.name} {why}"
        return HostCrashed(self._dead)

    def check(self) -> None:
        """Makes sure, between two requests, that the agent is still there.

        Raises:
            HostCrashed: It is not.
        """
        if self._dead:
            raise HostCrashed(self._dead)
        if not self._rest and not self._more():
            raise self.lost("is gone")

    def _more(self) -> bool:
        """Reads what is there; False: the stream has ended."""
        try:
            data = os.read(self.reader, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:  # a reset; a terminal whose other end is gone
            return False
        self._rest += data
        return bool(data)

    def _wait(self, descriptor: int, events: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        poll = select.poll()
        poll.register(descriptor, events)
        if left <= 0 or not poll.poll(left * 1000):
            raise self.lost(f"has not answered for {self.answer_s:g} s")

    def _write(self, data: bytes, deadline: float) -> None:
        while data:
            try:
                data = data[os.write(self.writer, data) :]
            except BlockingIOError:
                self._wait(self.writer, select.POLLOUT, deadline)
            except OSError as error:
                raise self.lost("is gone") from error

    def _line(self, deadline: float) -> str:
        while b"\n" not in self._rest:
            self._wait(self.reader, select.POLLIN, deadline)
            if not self._more():
                raise self.lost("is gone")
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("ascii", "replace").strip()


def _hex(data: bytes) -> str:
    return bytes(data).hex() or "-"


def _bytes(word: str) -> bytes:
    return b"" if word == "-" else bytes.fromhex(word)


def _address(words: list[str]) -> tuple[Any, ...] | None:
    return (words[0], *map(int, words[1:])) if words else None


def words_of(address: tuple[Any, ...], family: int) -> list[str]:
    """A socket address as words."""
    wildcard = "0.0.0.0" if family == socket.AF_INET else "::"
    return [str(address[0] or wildcard), *map(str, address[1:])]


class AgentSocket:
    """A socket that an agent holds; see `HostSocket`.

    Args:
        ask: Puts a request.
        family: As AF_INET.
        kind: As SOCK_STREAM.
        handle: The agent's name for it.
    """

    def __init__(self, ask: Callable[..., list[str]], family: int, kind: int, handle: str) -> None:
        self._ask_agent = ask
        self.family = family
        self.kind = kind
        self._handle = handle

    def _ask(self, verb: str, *words: object) -> list[str]:
        if not self._handle:
            raise OSError(errno.EBADF, "the socket is closed")
        return self._ask_agent(verb, self._handle, *words)

    @classmethod
    def open(
        cls, ask: Callable[..., list[str]], family: int, kind: int, protocol: int
    ) -> AgentSocket:
        """Has the agent make one.

        Raises:
            Unable: The protocol can't express the request.
        """
        if family not in _FAMILIES or kind not in _KINDS:
            raise Unable(f"the line protocol has no socket({family}, {kind})")
        (handle,) = ask(
            "socket", _FAMILIES[socket.AddressFamily(family)],
            _KINDS[socket.SocketKind(kind)], protocol,
        )  # fmt: skip
        return cls(ask, family, kind, handle)

    def bind(self, address: tuple[Any, ...]) -> None:
        """See bind(2)."""
        self._ask("bind", *words_of(address, self.family))

    def listen(self, backlog: int = 128) -> None:
        """See listen(2)."""
        self._ask("listen", backlog)

    def accept(self) -> tuple[AgentSocket, Any]:
        """The next connection, and the peer's address."""
        handle, *peer = self._ask("accept")
        return AgentSocket(self._ask_agent, self.family, self.kind, handle), _address(peer)

    def connect(self, address: tuple[Any, ...]) -> None:
        """Begins to connect."""
        self._ask("connect", *words_of(address, self.family))

    def send(self, data: bytes, flags: int = 0) -> int:
        """See send(2); of a stream's data a part, as what isn't taken would come again."""
        if self.kind == socket.SOCK_STREAM:
            data = data[:PART]
        return int(self._ask("send", _hex(data), *([flags] if flags else []))[0])

    def sendto(self, data: bytes, address: tuple[Any, ...]) -> int:
        """See sendto(2)."""
        where = words_of(address, self.family)
        return int(self._ask("sendto", _hex(data), *where)[0])

    def recv(self, size: int, flags: int = 0) -> bytes:
        """See recv(2)."""
        return _bytes(self._ask("recv", size, *([flags] if flags else []))[0])

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        """See recvfrom(2)."""
        data, *peer = self._ask("recvfrom", size, *([flags] if flags else []))
        return _bytes(data), _address(peer)

    def shutdown(self, how: int) -> None:
        """See shutdown(2)."""
        self._ask("shutdown", _HOW[how])

    def close(self) -> None:
        """See close(2). May be called again."""
        handle, self._handle = self._handle, ""
        if handle:
            self._ask_agent("close", handle)

    def poll(self) -> set[str]:
        """Its readiness: "in", "out", "err", "hup"."""
        return set(self._ask("poll"))

    def setblocking(self, flag: bool) -> None:
        """An agent's socket never blocks.

        Raises:
            ValueError: It should.
        """
        if flag:
            raise ValueError("a socket of a Host never blocks")

    def getsockname(self) -> Any:
        """See getsockname(2)."""
        return _address(self._ask("getsockname"))

    def getpeername(self) -> Any:
        """See getpeername(2)."""
        return _address(self._ask("getpeername"))

    def getsockopt(self, level: int, name: int) -> int:
        """An option that is an integer."""
        return int(self._ask("getsockopt", int(level), int(name))[0])

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        """Sets an option."""
        word = f"x{bytes(value).hex()}" if not isinstance(value, int) else str(int(value))
        self._ask("setsockopt", int(level), int(name), word)
