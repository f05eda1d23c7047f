"""A World: one download in virtual time, in real time, and over the kernel's TAP devices.

In virtual and in real time the frames are the same. With the argument `tap` it goes over devices,
too, which tcpdump could watch: as root, or by `unshare --map-root-user --net python -m
pystack.examples.real_time tap`.
"""

from __future__ import annotations

import functools
import socket
import sys
import time
from typing import Any

from pystack.world import World

SIZE = 500_000
machines_clock = functools.partial(time.monotonic)  # which no World replaces


def serve() -> None:
    """Gives its one client so many bytes."""
    with socket.create_server(("", 80)) as listener, listener.accept()[0] as connection:
        connection.sendall(bytes(SIZE))


def download(**options: Any) -> list[str]:
    """The scenario; what its clocks say, and the frames."""
    began = machines_clock()
    with World(seed=1, trace=True, **options) as world:
        client, server = world.host("client"), world.host("server")
        world.link(client, server, delay="20ms", rate="8Mbit/s", loss=0.005)
        server.thread(serve)
        with client.sockets.create_connection(("server", 80)) as sock:
            size = sum(map(len, iter(lambda: sock.recv(65536), b"")))
        took = world.now
    print(f"{options}: {size} bytes in {took:.2f} s", end=", ")
    print(f"{machines_clock() - began:.2f} s of the machine's")
    return [str(each) for each in world.trace]


def main() -> None:
    """Changes one argument."""
    virtual = download(time="virtual")
    print("the same frames:", download(time="real") == virtual)
    if "tap" in sys.argv[1:]:
        download(wires="tap")


if __name__ == "__main__":
    main()
