"""The world outside of a gateway: a namespace with servers in it, run by this file as a program."""

from __future__ import annotations

import hashlib
import random
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SERVER, RESOLVER, CLIENT = "203.0.113.1", "203.0.113.53", "203.0.113.7"
SERVER6 = "2001:db8::1"
NAME = "big.example.org"
MEBIBYTE = 1 << 20
_BLOCK = random.Random(0x6A7E).randbytes(MEBIBYTE)


def digest(mebibytes: int) -> str:
    """The SHA-256 of what the server gives for so many."""
    whole = hashlib.sha256()
    for _ in range(mebibytes):
        whole.update(_BLOCK)
    return whole.hexdigest()


def lead_to_nobody(place: Any) -> None:
    """Gives an outside a default route by which nobody ever answers."""
    for words in (
        "link add out type veth peer name far", "link set out up", "link set far up",
        "address add 192.0.2.1/24 dev out", "route add default via 192.0.2.2",
        "neighbour add 192.0.2.2 lladdr 02:00:00:00:00:99 dev out",
    ):  # fmt: skip
        place.run("ip", *words.split())


@contextmanager
def outside() -> Iterator[Any]:
    """A namespace with a web server, a name server, an echo service and a client's address."""
    from namespace import namespace

    with namespace() as place:
        for address in (SERVER, RESOLVER, CLIENT):
            place.run("ip", "address", "add", f"{address}/32", "dev", "lo")
        place.run("ip", "-6", "address", "add", f"{SERVER6}/128", "dev", "lo")
        program = place.start(
            sys.executable, str(Path(__file__)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert program.stdout.readline() == b"ready\n"
            yield place
        finally:
            program.stdin.close()
            program.wait(60)
            program.stdout.close()


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        count = int(self.path.strip("/"))
        self.send_response(200)
        self.send_header("Content-Length", str(count * MEBIBYTE))
        self.end_headers()
        for _ in range(count):
            self.wfile.write(_BLOCK)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "outside", 80


def _answered(question: bytes) -> bytes:
    """Whatever is asked, the answer is the server; only big names need TCP."""
    end = question.index(b"\0", 12) + 5
    asked = question[12:end]
    four = asked[-3] == 1
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(SERVER)
    counts = b"\0\1" + (b"\0\1" if four else b"\0\0") + bytes(4)
    return question[:2] + b"\x81\x80" + counts + asked + (record if four else b"")


def _resolve() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((RESOLVER, 53))
        while True:
            question, peer = one.recvfrom(4096)
            one.sendto(_answered(question), peer)


def _resolve_streams() -> None:
    with socket.create_server((RESOLVER, 53)) as listener:
        while True:
            one, _ = listener.accept()
            with one, one.makefile("rb") as stream:
                while len(size := stream.read(2)) == 2:
                    answer = _answered(stream.read(int.from_bytes(size, "big")))
                    one.sendall(len(answer).to_bytes(2, "big") + answer)


def _echo() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((SERVER, 7))
        while True:
            data, peer = one.recvfrom(65535)
            one.sendto(data, peer)


def main() -> None:
    """Serves until the standard input ends."""
    with _Server(("::", 80), _Pages) as server:
        for target in (_resolve, _resolve_streams, _echo, server.serve_forever):
            threading.Thread(target=target, daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
