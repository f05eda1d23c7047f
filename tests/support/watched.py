"""`pystack run` in a namespace where whatever the kernel sends is seen.

A pair of devices has a default route: what goes by the kernel to anywhere is a frame on it, or
on the loopback device. The Stack's own wire is a TAP that the kernel has no address on.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from namespace import Namespace, namespace

PYSTACK = [sys.executable, "-c", "from pystack.cli import main; main()"]
ALL_PROTOCOLS = 3
OUTSIDE = "198.51.100.7"  # anywhere: by the default route


@dataclass
class Done:
    """How a program ended, and what the kernel sent meanwhile."""

    status: int
    stdout: str
    stderr: str
    frames: list[tuple[str, bytes]]


class Watched:
    """See `watched`."""

    def __init__(self, place: Namespace, sniffer: socket.socket) -> None:
        self.place = place
        self._sniffer = sniffer

    def frames(self) -> list[tuple[str, bytes]]:
        """Device and content of the frames that the kernel sent or got since it was last asked."""
        found = []
        while True:
            try:
                frame, where = self._sniffer.recvfrom(65536)
            except BlockingIOError:
                return found
            if where[0] != "tap0":
                found.append((where[0], frame))

    def run(self, program: str, *options: str, folder: Path) -> Done:
        """Has `pystack run` run a program, given by its text, to its end."""
        words = ["run", "--nic", "tap:tap0", "--address", "10.3.0.2/24", *options, "--"]
        return self._run([*PYSTACK, *words], program, folder)

    def python(self, program: str, *, folder: Path) -> Done:
        """Has Python itself run it."""
        return self._run([sys.executable], program, folder)

    def _run(self, words: list[str], program: str, folder: Path) -> Done:
        script = folder / "program.py"
        script.write_text(textwrap.dedent(program))
        self.frames()
        done = subprocess.run(
            ["nsenter", f"--net={self.place.path}", *words, str(script)],
            capture_output=True, text=True, check=False, cwd=folder, timeout=300,
            # Nobody answers here: the C library need not ask twice to be seen.
            env={**os.environ, "RES_OPTIONS": "timeout:1 attempts:1"},
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr, self.frames())


@contextmanager
def watched() -> Iterator[Watched]:
    """A namespace for `pystack run`, and an eye on all but the TAP in it."""
    with namespace() as place:
        place.run("ip", "link", "add", "out0", "type", "veth", "peer", "name", "far0")
        for name in ("out0", "far0"):
            place.run("sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{name}/disable_ipv6")
        place.device("far0")
        place.device("out0", "192.0.2.1/24")
        place.run("ip", "route", "add", "default", "via", "192.0.2.254")
        place.run("ip", "neighbour", "add", "192.0.2.254", "lladdr", "02:00:00:00:00:fe",
                  "dev", "out0")  # fmt: skip
        place.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        place.device("tap0")
        with place.call(
            socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS)
        ) as sniffer:
            sniffer.setblocking(False)
            yield Watched(place, sniffer)
