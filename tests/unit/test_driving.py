"""Who moves a Stack: the threads that wait for it, and its own where nobody does."""

from __future__ import annotations

import threading
import time
from typing import Any

from pair import RIGHT, Pair, pair

import pystack


def answers(both: Pair) -> None:
    """The right Stack takes frames, and its answers come back, though nobody calls it."""
    assert both.left.ping(RIGHT, timeout=30).received


def test_the_thread_takes_over_from_a_waiter() -> None:
    with pair() as both:
        client, server = both.connected()
        with client, server:
            for _ in range(50):
                client.sendall(b"question")
                assert server.recv(100) == b"question"  # this thread drove the right Stack
                answers(both)


def test_a_waiter_that_leaves_passes_it_on() -> None:
    """Threads wait on one Stack, one of them drives, and each gets what is its own."""
    with pair() as both:
        ends = [both.connected() for _ in range(8)]
        got: list[bytes] = []

        def echo(sock: Any) -> None:
            while data := sock.recv(100):
                got.append(data)
                sock.sendall(data)

        threads = [threading.Thread(target=echo, args=(server,)) for _client, server in ends]
        for thread in threads:
            thread.start()
        for turn in range(30):
            for number, (client, _server) in enumerate(ends):
                client.sendall(f"{turn} {number}".encode())
                assert client.recv(100) == f"{turn} {number}".encode()
        for client, _server in ends:
            client.close()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        for _client, server in ends:
            server.close()
        assert len(got) == 30 * len(ends)


def test_a_waiter_whose_time_is_over_passes_it_on() -> None:
    with pair() as both:
        first, second = both.connected(), both.connected()
        with first[0], first[1], second[0], second[1]:
            first[1].settimeout(0.2)
            heard = threading.Event()

            def wait() -> None:
                assert second[1].recv(10) == b"later"
                heard.set()

            def give_up() -> None:
                try:
                    first[1].recv(10)
                except TimeoutError:
                    pass

            threads = [threading.Thread(target=give_up), threading.Thread(target=wait)]
            for thread in threads:
                thread.start()
                time.sleep(0.05)
            threads[0].join(30)
            second[0].sendall(b"later")
            assert heard.wait(30)
            threads[1].join(30)


def test_closing_ends_every_wait() -> None:
    with pair() as both:
        ends = [both.connected() for _ in range(4)]
        errors: list[int | None] = []

        def wait(sock: Any) -> None:
            try:
                sock.settimeout(None)
                sock.recv(1)
            except OSError as error:
                errors.append(error.errno)

        threads = [threading.Thread(target=wait, args=(server,)) for _client, server in ends]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        both.right.close()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert len(errors) == len(ends)
        for client, server in ends:
            client.close()
            server.close()


def test_a_connect_on_the_loopback_waits_for_nothing() -> None:
    # It has ended before anybody could wait; who waits then is woken after half a second.
    def took(listener: Any) -> float:
        began = time.monotonic()
        with net.sockets.create_connection(listener.getsockname()):
            return time.monotonic() - began

    with pystack.Stack() as net, net.sockets.create_server(("127.0.0.1", 0)) as listener:
        assert any(took(listener) < 0.3 for _ in range(40))
