"""selectors, socketserver and threads: what programs without a loop wait with."""

from __future__ import annotations

import os
import selectors
import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from differential import LOCAL, Place, differential
from quiet import BOUND_S


def nonblocking_pair(p: Place) -> tuple[Any, Any]:
    near, far = p.pair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


def with_selectors(function: Callable[[Any, Any, Any], Any], p: Place) -> Any:
    kinds = (selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector)
    found = {}
    for kind in kinds:
        near, far = nonblocking_pair(p)
        with kind() as selector:
            found[kind.__name__] = function(selector, near, far)
    return found


def masks(selector: Any, timeout: float = 0.1) -> list[int]:
    return sorted(events for _key, events in selector.select(timeout))


BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE


@differential
def selector_follows(p: Place) -> Any:
    def go(selector: Any, near: Any, far: Any) -> Any:
        selector.register(near, BOTH)
        seen = [masks(selector)]
        far.send(b"x")
        p.settle()
        seen.append(masks(selector))
        near.recv(1)
        seen.append(masks(selector))
        far.close()
        p.settle()
        return [*seen, masks(selector)]

    return with_selectors(go, p)


@differential
def selector_modifies(p: Place) -> Any:
    def go(selector: Any, near: Any, far: Any) -> Any:
        selector.register(near, selectors.EVENT_WRITE, "data")
        seen = [masks(selector)]
        selector.modify(near, selectors.EVENT_READ)
        seen.append(masks(selector, 0))
        far.send(b"x")
        p.settle()
        seen.append(masks(selector))
        selector.unregister(near)
        return [*seen, masks(selector, 0), p.tried(selector.unregister, near)]

    return with_selectors(go, p)


@differential
def selector_on_many(p: Place) -> Any:
    def go(selector: Any, near: Any, far: Any) -> Any:
        listener, u = p.listener(), p.udp()
        for one in (near, listener, u):
            selector.register(one, selectors.EVENT_READ)
        far.send(b"x")
        u.sendto(b"x", u.getsockname())
        client = p.socket()
        client.connect(listener.getsockname())
        p.settle()
        return masks(selector)

    return with_selectors(go, p)


@differential
def selector_and_a_closed_socket(p: Place) -> Any:
    def go(selector: Any, near: Any, far: Any) -> Any:
        selector.register(near, selectors.EVENT_READ)
        near.close()
        return p.tried(selector.unregister, near)[0], p.tried(selector.register, near, 1)

    return with_selectors(go, p)


@differential
def selector_and_a_full_socket(p: Place) -> Any:
    def go(selector: Any, near: Any, far: Any) -> Any:
        try:
            while True:
                near.send(bytes(65536))
        except BlockingIOError:
            pass
        selector.register(near, selectors.EVENT_WRITE)
        none = masks(selector)
        far.setblocking(False)
        got, before = 0, -1
        while got != before:
            before = got
            with suppress(BlockingIOError):
                while data := far.recv(1 << 20):
                    got += len(data)
            p.settle()
        return none, masks(selector, 1)

    return with_selectors(go, p)


@differential
def selector_and_a_connect(p: Place) -> Any:
    def go(selector: Any, near: Any, far: Any) -> Any:
        listener, s, refused = p.listener(), p.socket(), p.socket()
        for one, where in ((s, listener.getsockname()), (refused, (LOCAL, 1))):
            one.setblocking(False)
            one.connect_ex(where)
        p.settle()
        selector.register(s, BOTH)
        seen = [masks(selector)]
        selector.unregister(s)
        selector.register(refused, BOTH)
        return [*seen, masks(selector)]

    return with_selectors(go, p)


# --- servers and threads ------------------------------------------------------------------------


@differential
def a_threading_server(p: Place) -> Any:
    with p.installed():

        class Upper(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    self.wfile.write(line.upper())

        with socketserver.ThreadingTCPServer((LOCAL, 0), Upper) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            answers = []
            for number in range(5):
                with socket.create_connection(server.server_address, BOUND_S) as client:
                    client.sendall(b"line %d\n" % number)
                    answers.append(client.recv(99))
            server.shutdown()
            thread.join()
        return answers


@differential
def a_datagram_server(p: Place) -> Any:
    with p.installed():

        class Upper(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                sock.sendto(data.upper(), self.client_address)

        with socketserver.UDPServer((LOCAL, 0), Upper) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            client = p.udp()
            client.settimeout(BOUND_S)
            client.sendto(b"abc", server.server_address)
            came = client.recv(9)
            server.shutdown()
            thread.join()
        return came


@differential
def many_threads_on_one_socket(p: Place) -> Any:
    near, far = p.pair()
    near.settimeout(BOUND_S)
    far.settimeout(BOUND_S)
    chunk, count = bytes(1000), 50
    threads = [
        threading.Thread(target=lambda: [near.sendall(chunk) for _ in range(count)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    got = 0
    while got < 8 * count * len(chunk):
        got += len(far.recv(1 << 20))
    for thread in threads:
        thread.join()
    return got


@differential
def a_pipe_and_a_socket_in_one_selector(p: Place) -> Any:
    near, far = p.pair()
    reading, writing = os.pipe()
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(reading, selectors.EVENT_READ, "pipe")
            selector.register(near, selectors.EVENT_READ, "socket")
            os.write(writing, b"x")
            far.send(struct.pack("i", 1))
            p.settle()
            return sorted(key.data for key, _events in selector.select(1))
    finally:
        os.close(reading)
        os.close(writing)
