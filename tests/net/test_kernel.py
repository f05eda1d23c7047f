"""A stack on a TAP against the kernel's ordinary tools, in a network namespace of its own.

What the foundation has to hold: a gibibyte each way over both families, the same over a bad
wire, ping, and names.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from installed import needs_programs
from namespace import Namespace, namespace, needs_namespace

import pystack
from pystack.cli.http import HTTPConnection, HTTPServer
from pystack.nic import Impairment, Nic, Tap, impair

pytestmark = needs_namespace

GIBIBYTE = 1 << 30
MEBIBYTE = 1 << 20
KERNEL, STACK = "10.0.0.1", "10.0.0.2"
KERNEL6, STACK6 = "fd00::1", "fd00::2"

# The bad wire, on both directions.
BAD = Impairment(loss=0.05, reorder=0.05, duplicate=0.02)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A gibibyte that does not repeat within any window, and a small file beside it."""
    folder = tmp_path_factory.mktemp("files")
    block = bytearray(hashlib.shake_256(b"pystack").digest(MEBIBYTE))
    with (folder / "gibibyte").open("wb") as file:
        for number in range(GIBIBYTE // MEBIBYTE):
            block[:8] = number.to_bytes(8, "big")
            file.write(block)
    with (folder / "gibibyte").open("rb") as file:
        (folder / "ten").write_bytes(file.read(10 * MEBIBYTE))
    yield folder
    for path in folder.iterdir():
        path.unlink()


@functools.cache
def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(MEBIBYTE):
            digest.update(block)
    return digest.hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        pass


class World:
    """A namespace whose TAP a Stack is on."""

    def __init__(self, place: Namespace, net: pystack.Stack, interface: pystack.Interface) -> None:
        self.place, self.net, self.interface = place, net, interface

    @contextmanager
    def serving(self, folder: Path, address: str) -> Iterator[str]:
        """The standard library's web server on the Stack; its URL."""
        handler = functools.partial(Quiet, directory=str(folder))
        server = HTTPServer(self.net, (address, 80), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://[{address}]" if ":" in address else f"http://{address}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    @contextmanager
    def kernel_serving(self, folder: Path, address: str) -> Iterator[None]:
        """The same program on the kernel's sockets, in the namespace, at port 8000."""
        process = self.place.start(
            sys.executable, "-m", "http.server", "8000", "--bind", address, "--directory",
            str(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            self.place.call(wait_for_port, address, 8000)
            yield
        finally:
            process.kill()
            process.wait()


def wait_for_port(address: str, port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextmanager
def world(*, impairment: Impairment | None = None) -> Iterator[World]:
    with namespace() as place:
        wire: Nic = place.call(Tap, "tap0")
        if impairment is not None:
            wire = impair(wire, impairment, impairment, seed=7)
        place.device("tap0", f"{KERNEL}/24", f"{KERNEL6}/64")
        with wire, pystack.Stack() as net:
            interface = net.attach(wire, f"{STACK}/24", f"{STACK6}/64", gateway=KERNEL)
            yield World(place, net, interface)


def fetch_by_curl(it: World, url: str, into: Path) -> str:
    it.place.run("curl", "--globoff", "-sS", "--fail", "-o", str(into), url, timeout=280)
    found = sha256(into)
    into.unlink()
    return found


def fetch_by_stack(it: World, address: str, path: str) -> str:
    connection = HTTPConnection(it.net, address, 8000, timeout=60)
    digest = hashlib.sha256()
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == http.client.OK
        while block := response.read(MEBIBYTE):
            digest.update(block)
    finally:
        connection.close()
    return digest.hexdigest()


@needs_programs("curl")
@pytest.mark.slow
@pytest.mark.parametrize("address", [STACK, STACK6], ids=["ipv4", "ipv6"])
def test_curl_fetches_a_gibibyte_from_the_stack(files: Path, tmp_path: Path, address: str) -> None:
    with world() as it, it.serving(files, address) as url:
        assert fetch_by_curl(it, f"{url}/gibibyte", tmp_path / "got") == sha256(files / "gibibyte")


@pytest.mark.slow
@pytest.mark.parametrize("address", [KERNEL, KERNEL6], ids=["ipv4", "ipv6"])
def test_the_stack_fetches_a_gibibyte_from_the_kernel(files: Path, address: str) -> None:
    with world() as it, it.kernel_serving(files, address):
        assert fetch_by_stack(it, address, "/gibibyte") == sha256(files / "gibibyte")


@needs_programs("curl")
@pytest.mark.parametrize("address", [STACK, STACK6], ids=["ipv4", "ipv6"])
@pytest.mark.slow
def test_curl_fetches_over_a_bad_wire(files: Path, tmp_path: Path, address: str) -> None:
    with world(impairment=BAD) as it, it.serving(files, address) as url:
        assert fetch_by_curl(it, f"{url}/ten", tmp_path / "got") == sha256(files / "ten")
        assert it.interface.nic is not None
        assert it.interface.nic.statistics().dropped_frames > 20


@pytest.mark.parametrize("address", [KERNEL, KERNEL6], ids=["ipv4", "ipv6"])
@pytest.mark.slow
def test_the_stack_fetches_over_a_bad_wire(files: Path, address: str) -> None:
    with world(impairment=BAD) as it, it.kernel_serving(files, address):
        assert fetch_by_stack(it, address, "/ten") == sha256(files / "ten")


@needs_programs("ping")
@pytest.mark.parametrize(
    "words",
    [(STACK,), (STACK6, "-6"), (STACK, "-s", "8000"), (STACK6, "-6", "-s", "8000")],
    ids=["ipv4", "ipv6", "ipv4-8000", "ipv6-8000"],
)
def test_the_kernel_pings_the_stack(words: tuple[str, ...]) -> None:
    with world() as it:
        address, *options = words
        assert it.place.ping(address, 3, "-i", "0.2", *options) == [1, 2, 3]


@pytest.mark.parametrize("address", [KERNEL, KERNEL6], ids=["ipv4", "ipv6"])
def test_the_stack_pings_the_kernel(address: str) -> None:
    with world() as it:
        # A lost question for the neighbour is asked again after a second.
        small = it.net.ping(address, count=3, interval=0.05, timeout=30)
        assert small.received == 3, str(small)
        large = it.net.ping(address, count=2, interval=0.05, size=8000, timeout=30)
        assert large.received == 2
        assert all(reply.size == 8008 for reply in large.replies)
