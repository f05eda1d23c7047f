"""A World: a fault that only a real TCP shows, found by `explore`.

A subscriber reads what a publisher sends, and connects again whenever the connection ends. When the
publisher loses power, it doesn't end: nobody is left to say so, and a reader sends nothing that a
restarted machine could answer with a reset. The connection is half open, for ever. An imitation of
a network that closes a crashed host's connections never shows it. Keep-alive (RFC 1122, 4.2.3.6)
is the remedy, and with it no seed fails.
"""

from __future__ import annotations

import contextlib
import socket
import time

from pystack.world import Exploration, Faults, World, explore

FAULTS = Faults(crash=("publisher",), cut=("subscriber-publisher",), within=60, lasts=(1, 20))


def publish() -> None:
    """Sends the time to one subscriber after the other, each second."""
    with socket.create_server(("", 80)) as listener:
        while True:
            connection, _peer = listener.accept()
            with connection, contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"%d\n" % time.time())
                    time.sleep(1)


def subscribe(heard: list[float], keep_alive: bool) -> None:
    """Notes when it has heard something."""
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("publisher", 80), timeout=5) as sock,
        ):
            sock.settimeout(None)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keep_alive)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
            while sock.recv(100):
                heard.append(time.monotonic())
        time.sleep(1)


def subscription(world: World, keep_alive: bool = False) -> None:
    """Two minutes after the last fault the subscriber has to hear something again."""
    subscriber, publisher = world.host("subscriber"), world.host("publisher")
    world.link(subscriber, publisher, delay="20ms")
    heard: list[float] = []
    publisher.service(publish)
    subscriber.thread(subscribe, heard, keep_alive)
    world.sleep(200)
    silence = time.monotonic() - max(heard, default=0.0)
    assert silence < 60, f"nothing heard for {silence:.0f} s"


def repaired(world: World) -> None:
    """The same with keep-alive."""
    subscription(world, keep_alive=True)


def main() -> tuple[Exploration, Exploration]:
    """Explores both."""
    found = tuple(explore(test, seeds=40, faults=FAULTS) for test in (subscription, repaired))
    print(*found, sep="\n\n")
    return found[0], found[1]


if __name__ == "__main__":
    main()
