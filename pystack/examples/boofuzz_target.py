"""boofuzz against a server, by a Stack's TCP and over a wire that tampers with its frames.

`StackConnection` is all that boofuzz asks of a transport. Needs boofuzz.
"""

import contextlib
import threading
from typing import Any

from boofuzz import Request, Session, Static, String, Target
from boofuzz.connections.itarget_connection import ITargetConnection

import pystack

SERVER = ("10.0.0.2", 21)


class StackConnection(ITargetConnection):  # type: ignore[misc]
    """A TCP connection of a Stack's, anew for each case."""

    info = "a Stack's TCP"

    def __init__(self, net: pystack.Stack) -> None:
        self.net = net

    def open(self) -> None:
        """Connects."""
        self.sock = self.net.sockets.create_connection(SERVER, 10)

    def close(self) -> None:
        """Ends the connection."""
        self.sock.close()

    def recv(self, max_bytes: int) -> bytes:
        """An answer."""
        return bytes(self.sock.recv(max_bytes))

    def send(self, data: bytes) -> int:
        """Sends all of it."""
        self.sock.sendall(data)
        return len(data)


def serve(listener: Any, broken: list[int]) -> None:
    """The program under test, for which a name of more than 64 bytes is too much."""
    for _ in range(40):
        with listener.accept()[0] as sock:
            line = sock.makefile("rb").readline()
            broken += [len(line)] if len(line) > 64 else []
            with contextlib.suppress(ConnectionError):  # boofuzz may have gone
                sock.sendall(b"331 and the password?\r\n")


if __name__ == "__main__":
    left, right = pystack.nic.wire()
    number, too_long = iter(range(1 << 30)), list[int]()
    wire = pystack.nic.tamper(left, lambda frame: [frame] * (1 + (next(number) % 3 == 0)))
    with pystack.Stack() as net, pystack.Stack() as other:
        net.attach(wire, "10.0.0.1/24")
        other.attach(right, "10.0.0.2/24")
        listener = other.sockets.create_server(SERVER)
        server = threading.Thread(target=serve, args=(listener, too_long))
        server.start()
        target = Target(StackConnection(net))
        session = Session(target=target, index_end=40, web_port=None, fuzz_loggers=[])
        parts = (Static("verb", "USER "), String("name", "anonymous"), Static("end", "\r\n"))
        session.connect(Request("user", children=parts))
        session.fuzz()
        server.join()
        listener.close()
        print(f"{session.num_cases_actually_fuzzed} cases, {len(too_long)} names were too long")
