"""asyncssh's tunnel channels to Debian's openssh-server: a Stack reaches the server's network."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from ssh_server import SshServer, needs_sshd, ssh_server

import pystack
from pystack.nic import Async, Layer

asyncssh = pytest.importorskip("asyncssh")
pytestmark = needs_sshd

SERVER, CLIENT = "10.9.0.1", "10.9.0.2"


def serving(server: SshServer, data: bytes) -> threading.Thread:
    """The kernel of the server's namespace sends this to one client."""
    listener = server.place.call(socket.create_server, (SERVER, 80))

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            peer.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


async def download(server: SshServer, layer: Layer, size: int) -> None:
    is_tun, data = layer is Layer.IP, os.urandom(size)
    async with asyncssh.connect(sock=server.connected_socket(), **server.options()) as ssh:
        reader, writer = await (ssh.open_tun() if is_tun else ssh.open_tap())
        server.place.device("tun0" if is_tun else "tap0", f"{SERVER}/24")
        thread = serving(server, data)
        wire: Any = Async(reader, writer, layer=layer)
        async with pystack.Stack() as net:
            net.attach(wire, f"{CLIENT}/24")
            assert (await net.aio.ping(SERVER, timeout=30)).received == 1
            stream, closing = await net.open_connection(SERVER, 80)
            digest = hashlib.sha256()
            while part := await stream.read(1 << 18):
                digest.update(part)
            closing.close()
            assert digest.digest() == hashlib.sha256(data).digest()
            # Each costs asyncssh two sealed packets: what came at once is acknowledged at once.
            figures = wire.statistics()
            assert figures.sent_frames < figures.received_frames / 5
        wire.close()
        await wire.wait_closed()
        thread.join()


@pytest.mark.parametrize("layer", list(Layer))
def test_a_download(layer: Layer, tmp_path: Path) -> None:
    with ssh_server(tmp_path) as server:
        asyncio.run(download(server, layer, 4 << 20))


@pytest.mark.slow
@pytest.mark.parametrize("layer", list(Layer))
def test_fifty_megabytes(layer: Layer, tmp_path: Path) -> None:
    with ssh_server(tmp_path) as server:
        asyncio.run(download(server, layer, 50 << 20))


def test_the_server_hangs_up(tmp_path: Path) -> None:
    async def work(server: SshServer) -> None:
        async with asyncssh.connect(sock=server.connected_socket(), **server.options()) as ssh:
            reader, writer = await ssh.open_tun()
            wire = Async(reader, writer)
            net = pystack.Stack()
            net.attach(wire, f"{CLIENT}/24")
            ssh.abort()
            await wire.wait_closed()
            while net.interfaces[1].link:
                await asyncio.sleep(0)
            net.close()
            wire.close()

    with ssh_server(tmp_path) as server:
        asyncio.run(work(server))
