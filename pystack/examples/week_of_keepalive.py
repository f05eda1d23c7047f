"""A World: a week of TCP keep-alive on an idle connection, and what becomes of a dead peer."""

from __future__ import annotations

import socket

from pystack.world import World

WEEK = 7 * 86_400


def main() -> None:
    """Lets a week pass, cuts the link, and waits for the connection to notice."""
    with World(seed=1) as world:
        here, there = world.host("here"), world.host("there")
        link = world.link(here, there, delay="50ms")
        listener = there.sockets.create_server(("", 80))
        sock = here.sockets.create_connection(("there", 80))
        peer, _address = listener.accept()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # every two hours, as on Linux
        world.sleep(WEEK)
        state = sock.tcp_info().state.name
        print(f"{world.now / 86_400:g} days, {link.counts(here).sent} frames, {state}")
        link.down()
        try:
            sock.recv(1)
        except TimeoutError as error:
            print(f"{error.strerror} after {(world.now - WEEK) / 3600:.2f} hours")
        for one in (sock, peer, listener):
            one.close()


if __name__ == "__main__":
    main()
