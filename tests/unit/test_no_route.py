"""Connects that fail at once leave the socket, and its Stack, as they were."""

from __future__ import annotations

import errno

import pytest

import pystack

NOWHERE = ("198.51.100.1", 80)


@pytest.mark.timeout(100)
@pytest.mark.parametrize("bound", [False, True])
def test_one_socket_tries_again_and_again(bound: bool) -> None:
    left, right = pystack.nic.wire()
    with right, pystack.Stack() as net:
        net.attach(left, "10.0.0.1/24")
        with net.sockets.socket() as sock, net.sockets.create_server(("10.0.0.1", 0)) as listener:
            if bound:
                sock.bind(("10.0.0.1", 0))
            for _ in range(5):
                with pytest.raises(OSError, match=r"\[Errno") as caught:
                    sock.connect(NOWHERE)
                assert caught.value.errno == errno.ENETUNREACH
            sock.connect(listener.getsockname())
            with listener.accept()[0] as server:
                sock.sendall(b"after all")
                assert server.recv(100) == b"after all"
