"""A network namespace of a test's own, with the kernel's side of a TAP in it.

Nothing of a test's leaves it: the test process itself moves into the namespace (setns is for a
thread; see `Namespace.enter`), or runs programs there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from installed import need

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def available() -> str | None:
    """Why namespaces and TAP can't be had here; None: they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun"
    if shutil.which("ip") is None:
        return "no ip(8)"
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return None if probe.returncode == 0 else "network namespaces are not allowed"


needs_namespace = pytest.mark.skipif(available() is not None, reason=str(available()))


class Namespace:
    """A network namespace, alive as long as a descriptor of it is held."""

    def __init__(self) -> None:
        self._descriptor = -1
        self.call(self._keep, fresh=True)
        self.run("ip", "link", "set", "lo", "up")

    def _keep(self) -> None:
        self._descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _enter(self, fresh: bool) -> None:
        if fresh:
            result = _libc.unshare(CLONE_NEWNET)
        else:
            result = _libc.setns(self._descriptor, CLONE_NEWNET)
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def call(self, function: Callable[..., Any], *arguments: Any, fresh: bool = False) -> Any:
        """Runs a function on a thread that is in the namespace, and gives what it returns.

        Sockets and devices that it opens belong to the namespace for ever.
        """
        outcome: dict[str, Any] = {}

        def run() -> None:
            try:
                self._enter(fresh)
                outcome["value"] = function(*arguments)
            except BaseException as error:
                outcome["error"] = error

        thread = threading.Thread(target=run, name="in-namespace")
        thread.start()
        thread.join()
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]

    @property
    def path(self) -> str:
        """A name of the namespace that ip(8) and nsenter(1) understand."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def _command(self, words: tuple[str, ...]) -> list[str]:
        need(words[0])
        return ["nsenter", f"--net={self.path}", *words]

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs a program in the namespace to its end; it has to succeed."""
        options.setdefault("timeout", 120)
        return subprocess.run(
            self._command(words), check=True, capture_output=True, text=True, **options
        )

    def start(self, *words: str, **options: Any) -> subprocess.Popen[Any]:
        """Starts a program in the namespace."""
        return subprocess.Popen(self._command(words), **options)

    def ping(self, address: str, count: int, *options: str) -> list[int]:
        """Runs ping(8) until that many answers came; the numbers that they have, as they came.

        With `-c` alone it waits for the last one for an interval, or for twice the longest round
        trip: less than a busy machine takes now and then. With `-w` it asks on instead; so an
        answer that is lost is a number that is missing, and one that came twice is there twice.
        """
        printed = self.run("ping", "-c", str(count), "-w", "60", *options, address).stdout
        return [int(one) for one in re.findall(r" bytes from .* icmp_seq=(\d+) ", printed)]

    def processes(self) -> list[int]:
        """Those in it, but for this one."""
        here = os.fstat(self._descriptor).st_ino
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):  # it has just ended
                if (entry / "ns" / "net").stat().st_ino == here:
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        """Lets the namespace go; what is in it goes with it."""
        os.close(self._descriptor)

    def device(self, name: str, *addresses: str) -> None:
        """Gives a device of the kernel's addresses, without waiting, and brings it up."""
        for address in addresses:
            extra = ("nodad",) if ":" in address else ()
            self.run("ip", "address", "add", address, "dev", name, *extra)
        self.run("ip", "link", "set", name, "up")


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A `Namespace` for the block."""
    made = Namespace()
    try:
        yield made
    finally:
        made.close()
