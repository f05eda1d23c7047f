"""A World: a fault that only a real TCP shows, found by `explore`.

A subscriber reads what a publisher sends. When the publisher loses power, the connection doesn't
end: a reader sends nothing that the restarted machine could answer with a reset. It is half open,
for ever. Keep-alive (RFC 1122, 4.2.3.6) is the remedy: with it no seed fails.
"""

from __future__ import annotations

import contextlib
import socket
import time

from pystack.world import Faults, World, explore

FAULTS = Faults(crash=("publisher",), cut=("subscriber-publisher",), within=60, lasts=(1, 20))


def publish() -> None:
    """Sends the time each second, to one subscriber after the other."""
    with socket.create_server(("", 80)) as listener:
        while True:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                while True:
                    connection.sendall(b"%d\n" % time.time())
                    time.sleep(1)


def subscribe(heard: list[float], keep_alive: bool) -> None:
    """Notes when it has heard something, and connects again after an end."""
    while True:
        time.sleep(1)
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.connect(("publisher", 80))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keep_alive)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
            while sock.recv(100):
                heard.append(time.monotonic())


def subscription(world: World, keep_alive: bool = False) -> None:
    """Two minutes after the last fault the subscriber has to hear something again."""
    heard: list[float] = []
    subscriber, publisher = world.host("subscriber"), world.host("publisher")
    world.link(subscriber, publisher, delay="20ms")
    publisher.service(publish)
    subscriber.thread(subscribe, heard, keep_alive)
    world.sleep(200)
    silence = time.monotonic() - max(heard, default=0.0)
    assert silence < 60, f"nothing heard for {silence:.0f} s"


def repaired(world: World) -> None:
    """The same with keep-alive."""
    subscription(world, keep_alive=True)


if __name__ == "__main__":
    print(*(explore(test, seeds=40, faults=FAULTS) for test in (subscription, repaired)))
