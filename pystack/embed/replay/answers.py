"""What is answered in a replay, put beside what was answered in the capture."""

from __future__ import annotations

import time

from pystack.embed.replay.flow import CapturedFlow, End
from pystack.embed.replay.result import Exchange, exchanges_of
from pystack.stack import Stack

__all__ = ["Answers", "check_times", "resolved"]


def check_times(timeout: float, quiet: float) -> None:
    """Raises ValueError for what is no time to wait."""
    for name, value in (("timeout", timeout), ("quiet", quiet)):
        if not 0 < value < 1e9:
            raise ValueError(f"{name} must be finite and > 0 seconds, not {value}")


def resolved(net: Stack, flow: CapturedFlow, server: tuple[str, int] | None) -> End:
    """The address and port of a server that was named; None: the capture's.

    Raises:
        socket.gaierror: There is no such name.
        OSError: ENETUNREACH, no route to it.
    """
    host, port = flow.server if server is None else server
    found = net.sockets.getaddrinfo(host, port, type=net.sockets.SOCK_STREAM)
    address = str(found[0][4][0])
    net.routes.lookup(address)
    return End(address, port)


_MOST_BEYOND = 16 << 20  # bytes


class Answers:
    """What was answered so far, by exchanges; it grows."""

    def __init__(self, flow: CapturedFlow) -> None:
        self._captured = exchanges_of(flow)
        self._received: list[bytearray] = []
        self._delays: list[float | None] = []
        self._sent_at = time.monotonic()
        self._was_answer = True
        self.size = 0
        self._most = sum(len(one[1]) for one in self._captured) + _MOST_BEYOND

    @property
    def is_too_much(self) -> bool:
        """Whether so much has come beyond the capture that the rest isn't waited for."""
        return self.size > self._most

    def sent(self) -> None:
        """The client has sent data."""
        if self._was_answer or not self._received:
            self._begin()
        self._sent_at, self._was_answer = time.monotonic(), False

    def turn(self) -> None:
        """What is sent next belongs to another exchange, whether or not this one was answered."""
        self._was_answer = True

    def _begin(self) -> None:
        self._received.append(bytearray())
        self._delays.append(None)

    def add(self, data: bytes) -> None:
        """The server has answered."""
        if not data:
            return
        if not self._received:
            self._begin()
            # Unless it speaks first in the capture too, this belongs to what is sent first.
            self._was_answer = not (self._captured and self._captured[0][0])
        if self._delays[-1] is None:
            self._delays[-1] = time.monotonic() - self._sent_at
        self._received[-1] += data
        self.size += len(data)

    def exchanges(self) -> tuple[Exchange, ...]:
        """All of the capture's exchanges, and what came beyond them."""
        missing = max(0, len(self._received) - len(self._captured))
        captured = self._captured + [(b"", b"", None)] * missing
        received = self._received + [bytearray()] * (len(captured) - len(self._received))
        delays = self._delays + [None] * (len(captured) - len(self._delays))
        return tuple(
            Exchange(sent, expected, bytes(now), then_delay, delay)
            for (sent, expected, then_delay), now, delay in zip(
                captured, received, delays, strict=True
            )
        )
