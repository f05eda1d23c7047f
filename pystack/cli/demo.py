"""``pystack demo``: the whole thing at work, without root and then against the kernel."""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

import pystack
from pystack import nic as nics
from pystack.cli.ending import end_orderly
from pystack.cli.http import HTTPConnection, HTTPServer
from pystack.cli.options import ENGINE_OPTION
from pystack.cli.values import CAPTURE
from pystack.tables import format_connections

BLOCK = 1 << 20
HTTP_PORT = 80


class Download(BaseHTTPRequestHandler):
    """Serves ``/SIZE``: that many bytes, the same for the same size, with their SHA-256 ahead."""

    protocol_version = "HTTP/1.1"
    blocks: ClassVar[bytes] = random.Random(0x13).randbytes(BLOCK)

    @classmethod
    def pieces(cls, size: int) -> Iterator[bytes]:
        """The body in pieces of at most a mebibyte."""
        while size > 0:
            yield cls.blocks[:size]
            size -= BLOCK

    def do_GET(self) -> None:
        """Answers ``GET /SIZE``."""
        size = int(self.path.lstrip("/"))
        digest = hashlib.sha256()
        for piece in self.pieces(size):
            digest.update(piece)
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.send_header("X-SHA256", digest.hexdigest())
        self.end_headers()
        for piece in self.pieces(size):
            self.wfile.write(piece)

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""


@contextmanager
def serving(net: pystack.Stack, address: str) -> Iterator[None]:
    """Runs `Download` on ``net`` for the block."""
    server = HTTPServer(net, (address, HTTP_PORT), Download)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="http.server")
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def download(
    console: Console,
    label: str,
    connection: http.client.HTTPConnection,
    size: int,
    begun: Callable[[], None] = lambda: None,
) -> float:
    """Fetches ``size`` bytes with a progress bar and checks their hash.

    Args:
        console: Where the bar is drawn.
        label: What it is called.
        connection: Where from.
        size: How many bytes.
        begun: Called once both ends have the connection, before the data is read.

    Returns:
        Mebibytes per second.

    Raises:
        click.ClickException: The data received differs from the data sent.
    """
    connection.request("GET", f"/{size}")
    response = connection.getresponse()
    begun()
    digest = hashlib.sha256()
    buffer = bytearray(BLOCK)
    view = memoryview(buffer)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    started = time.perf_counter()
    with Progress("  {task.description}", *columns, console=console) as progress:
        task = progress.add_task(label, total=size)
        while got := response.readinto(buffer):
            digest.update(view[:got])
            progress.advance(task, got)
    seconds = time.perf_counter() - started
    connection.close()
    if digest.hexdigest() != response.headers["X-SHA256"]:
        raise click.ClickException(f"{label}: the hash differs")
    console.print(f"  SHA-256 equal at both ends: {digest.hexdigest()[:16]}...")
    return size / seconds / BLOCK


def show_connections(console: Console, title: str, net: pystack.Stack) -> None:
    """Prints the stack's netstat table."""
    rows = format_connections(net.connections())
    table = Table(*rows[0], title=f"{title}: netstat", title_justify="left")
    for row in rows[1:]:
        table.add_row(*map(escape, row))  # "[fd00::1]" looks like rich's markup
    console.print(table)


def show_neighbours(console: Console, title: str, net: pystack.Stack) -> None:
    """Prints the stack's ARP and ND tables."""
    table = Table("address", "MAC", "state", title=f"{title}: neighbours", title_justify="left")
    for neighbour in net.neighbours.list():
        table.add_row(str(neighbour.address), neighbour.mac, neighbour.state.name.lower())
    console.print(table)


@contextmanager
def captured(console: Console, wire: nics.Nic, pcap: Path | None) -> Iterator[nics.Nic]:
    """The wire, captured if there is a file to capture to; says how large that became."""
    if pcap is None:
        yield wire
        return
    watched = nics.capture(wire, pcap, snap_length=128)
    yield watched
    watched.close()
    size = pcap.stat().st_size / 1e6
    console.print(f"  The first 128 bytes of each frame are in [bold]{pcap}[/], {size:.1f} MB.")


def two_stacks(console: Console, engine: str, size: int, pcap: Path | None) -> None:
    """Two stacks on an in-memory wire."""
    console.rule("Two stacks on an in-memory wire, no root")
    left, right = nics.wire()
    with (
        captured(console, left, pcap) as watched,
        pystack.Stack(engine=engine) as client,
        pystack.Stack(engine=engine) as server,
    ):
        console.print(f"  Both are {' '.join(client.engine)}.")
        client.attach(watched, "10.0.0.1/24", "fd00::1/64")
        server.attach(right, "10.0.0.2/24", "fd00::2/64")
        for address in ("10.0.0.2", "fd00::2"):
            console.print(str(client.ping(address, count=3, interval=0.1)))
        with serving(server, "10.0.0.2"):
            connection = HTTPConnection(client, "10.0.0.2", HTTP_PORT)

            def netstat() -> None:
                show_connections(console, "server", server)

            rate = download(console, "stack to stack", connection, size, netstat)
            console.print(f"  {rate:.0f} MiB/s")
        show_neighbours(console, "client", client)


def against_kernel(console: Console, engine: str, size: int, pcap: Path | None) -> None:
    """A stack on a TAP, the kernel at the other end, in an empty namespace."""
    # Slow to import, and needed here alone.
    from pyroute2 import IPRoute  # noqa: PLC0415

    devices = [name for _index, name in socket.if_nameindex() if name != "lo"]
    if devices:
        raise click.ClickException(f"this namespace isn't empty: it has {', '.join(devices)}")
    console.rule("A stack on a TAP, the kernel at the other end")
    tap = nics.Tap("pystack0")
    with IPRoute() as kernel:
        index = kernel.link_lookup(ifname=tap.name)[0]
        kernel.addr("add", index=index, address="10.0.0.1", prefixlen=24)
        kernel.link("set", index=index, state="up")
    with captured(console, tap, pcap) as watched, pystack.Stack(engine=engine) as net:
        net.attach(watched, "10.0.0.2/24")
        console.print(str(net.ping("10.0.0.1", count=3, interval=0.1)))
        with serving(net, "10.0.0.2"):
            connection = http.client.HTTPConnection("10.0.0.2", HTTP_PORT, timeout=30)

            def netstat() -> None:
                show_connections(console, "stack", net)

            rate = download(console, "stack to kernel", connection, size, netstat)
            console.print(f"  {rate:.0f} MiB/s")
        kernel_server = ThreadingHTTPServer(("10.0.0.1", HTTP_PORT), Download)
        thread = threading.Thread(target=kernel_server.serve_forever, args=(0.05,))
        thread.start()
        try:
            connection = HTTPConnection(net, "10.0.0.1", HTTP_PORT)
            rate = download(console, "kernel to stack", connection, size)
            console.print(f"  {rate:.0f} MiB/s")
        finally:
            kernel_server.shutdown()
            thread.join()
            kernel_server.server_close()
        show_neighbours(console, "stack", net)


def namespace_command() -> list[str] | None:
    """A prefix that runs a command in a new network namespace; None: not allowed here."""
    unshare = shutil.which("unshare")
    if unshare is None or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return None
    # An unprivileged user can be root in a new user namespace, where the system allows it.
    attempts = [[unshare, "--net"], [unshare, "--user", "--map-root-user", "--net"]]
    for words in attempts:
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    return None


@click.command()
@click.option(
    "--mebibytes",
    type=click.IntRange(1, 4096),
    default=100,
    show_default=True,
    help="Size of each download, MiB.",
)
@click.option(
    "--pcap",
    type=CAPTURE,
    help="Capture the first part to this file, and the second beside it; about 400 kB for each MiB "
    "downloaded.",
)
@ENGINE_OPTION
@click.option("--in-namespace", is_flag=True, hidden=True)
def demo(mebibytes: int, pcap: Path | None, engine: str, in_namespace: bool) -> None:
    """Shows a stack at work: HTTP, ping, tables and, with --pcap, a capture.

    First two stacks on an in-memory wire; then, where network namespaces are allowed, one stack
    against the kernel over a TAP. The machine's own network is not touched.
    """
    console = Console(highlight=False)
    size = mebibytes * BLOCK
    end_orderly()
    if in_namespace:
        against_kernel(console, engine, size, pcap)
        return
    two_stacks(console, engine, size, pcap)
    words = namespace_command()
    if words is None:
        console.print(
            "No network namespace and TAP for this user: the part against the kernel is left out."
        )
        return
    arguments = ["demo", "--in-namespace", "--mebibytes", str(mebibytes), "--engine", engine]
    if pcap is not None:
        arguments += ["--pcap", str(pcap.with_name(f"{pcap.stem}-kernel{pcap.suffix}"))]
    # Without the current folder, which may be a source tree that is not built.
    code = "import sys; sys.path = [*filter(None, sys.path)]; from pystack.cli import main; main()"
    program = [sys.executable, "-c", code]
    done = subprocess.run([*words, *program, *arguments], check=False)
    if done.returncode != 0:
        raise click.ClickException("the part against the kernel failed")
