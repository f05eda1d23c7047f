"""A download through asyncssh's tunnel channel from openssh-server, by a Stack behind nic.Async.

    sudo .venv/bin/python tests/bench/ssh_tunnel.py [--rounds 3]

Beside it, by turns: what the same channel gives a loop that only reads packets (UDP, which the
kernel sends as fast as the channel takes it). Everything is in a network namespace.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import asyncssh

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from ssh_server import SshServer, ssh_server

import pystack
from pystack.nic import Async, Layer

SERVER, CLIENT, MAC = "10.9.0.1", "10.9.0.2", "02:00:00:00:00:09"
SIZE, SECONDS = 50 << 20, 3.0
SENDER = f"""
import socket, time
sock, part = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), bytes(1472)
while True:
    for _ in range(16):
        sock.sendto(part, ("{CLIENT}", 9))
    time.sleep(0.0005)
"""


async def bare(place: Any, reader: Any, layer: Layer) -> float:
    """Mbit/s of packets that a loop reads."""
    if layer is Layer.ETHERNET:
        place.run("ip", "neigh", "add", CLIENT, "lladdr", MAC, "dev", "tap0")
    sender = place.start(sys.executable, "-c", SENDER)
    try:
        await reader.read()
        began, size = time.perf_counter(), 0
        while time.perf_counter() < began + SECONDS:
            size += len(await reader.read())
        return size * 8e-6 / (time.perf_counter() - began)
    finally:
        sender.kill()
        sender.wait()


async def download(place: Any, reader: Any, writer: Any, layer: Layer) -> float:
    """Mbit/s of a stream, which is compared by its hash."""
    data = os.urandom(SIZE)
    listener = place.call(socket.create_server, (SERVER, 80))

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            peer.sendall(data)

    server = threading.Thread(target=serve)
    server.start()
    async with pystack.Stack() as net:
        net.attach(Async(reader, writer, layer=layer), f"{CLIENT}/24")
        stream, closing = await net.open_connection(SERVER, 80)
        digest, began = hashlib.sha256(), time.perf_counter()
        while part := await stream.read(1 << 18):
            digest.update(part)
        took = time.perf_counter() - began
        closing.close()
    server.join()
    assert digest.digest() == hashlib.sha256(data).digest()
    return SIZE * 8e-6 / took


async def turn(server: SshServer, layer: Layer, is_bare: bool) -> float:
    async with asyncssh.connect(sock=server.connected_socket(), **server.options()) as ssh:
        is_tun = layer is Layer.IP
        reader, writer = await (ssh.open_tun() if is_tun else ssh.open_tap())
        server.place.device("tun0" if is_tun else "tap0", f"{SERVER}/24")
        if is_bare:
            return await bare(server.place, reader, layer)
        return await download(server.place, reader, writer, layer)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, ssh_server(Path(folder)) as server:
        for layer in Layer:
            found: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(rounds):
                for is_bare, rates in found.items():
                    rates.append(asyncio.run(turn(server, layer, is_bare)))
            without, through = (statistics.median(rates) for rates in found.values())
            print(
                f"{layer.name:9} bare {without:6.1f} Mbit/s, through a Stack {through:6.1f}"
                f"  x {through / without:.2f}"
            )


if __name__ == "__main__":
    main()
