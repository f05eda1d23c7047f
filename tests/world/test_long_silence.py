"""What is far away, and what goes on for ever without waking anybody."""

from __future__ import annotations

import socket

import pytest

from pystack.errors import DeadlockError
from pystack.world import World

DAY = 86400


def test_a_frame_may_be_on_its_way_for_longer_than_a_month() -> None:
    with World(seed=1) as world:
        near, far = world.host("near"), world.host("far")
        world.link(near, far, delay=400 * DAY)
        end, mine = far.interfaces[-1], near.interfaces[-1]
        address = next(one.ip for one in end.addresses.list() if one.ip.version == 4)
        near.neighbours.add(address, str(end.mac), mine)  # ARP doesn't wait so long
        came: list[bytes] = []

        def receive() -> None:
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind(("", 9))
                came.append(sock.recv(100))

        thread = far.thread(receive)
        world.sleep(1)
        with near.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b"hello", ("far", 9))
        thread.join()
        assert came == [b"hello"]
        assert int(world.now) == 400 * DAY + 1


def test_keep_alives_that_wake_nobody_are_no_life() -> None:
    with World(seed=1) as world:
        near, far = world.host("near"), world.host("far")
        world.link(near, far)

        def serve() -> None:
            with socket.create_server(("", 80)) as listener, listener.accept()[0] as sock:
                sock.recv(1)

        def ask() -> None:
            with socket.create_connection(("far", 80)) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.recv(1)

        far.thread(serve)
        thread = near.thread(ask)
        with pytest.raises(DeadlockError, match="serve' waits at"):
            thread.join()
        assert world.now > 365 * DAY
