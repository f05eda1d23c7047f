"""multiprocessing's connections over TCP: what they carry, and how they end."""

from __future__ import annotations

import threading
from multiprocessing.connection import Client, Connection, Listener, wait
from typing import Any

from differential import LOCAL, Place, differential

SIZE = 3_000_000
LONG_S = 20


def connected(listener: Listener, **options: Any) -> tuple[Connection, Connection]:
    """Both ends of a connection, which may take both to make."""
    accepted: list[Connection] = []
    thread = threading.Thread(target=lambda: accepted.append(listener.accept()))
    thread.start()
    near = Client(listener.address, **options)
    thread.join()
    return near, accepted[0]


@differential
def messages_of_all_kinds(p: Place) -> Any:
    with p.installed(), Listener((LOCAL, 0), authkey=b"key") as listener:
        near, far = connected(listener, authkey=b"key")
        with near, far:
            early = near.poll(0)
            sender = threading.Thread(target=far.send_bytes, args=(bytes(SIZE),))
            sender.start()
            heard: list[Any] = [len(near.recv_bytes())]
            sender.join()
            far.send({"a": [1, 2]})
            far.send_bytes(b"hello", 1, 3)
            heard += [near.poll(LONG_S), near.recv(), wait([near], LONG_S) == [near]]
            buffer = bytearray(9)
            heard += [near.recv_bytes_into(buffer), bytes(buffer), near.fileno() > 0]
            return early, heard, listener.last_accepted[0]


@differential
def ends_of_messages(p: Place) -> Any:
    with p.installed(), Listener((LOCAL, 0)) as listener:
        near, far = connected(listener)
        far.send_bytes(b"longer than there is room for")
        outcomes = [p.tried(near.recv_bytes, 4)]
        far.close()
        outcomes += p.tries(lambda: near.send(1), lambda: far.send(1))
        other, other_far = connected(listener)
        other_far.close()
        outcomes += [other.poll(LONG_S), *p.tries(other.recv, other.recv_bytes)]
        other.close()
        return outcomes, other.closed, p.tried(other.fileno), near.closed


@differential
def a_wrong_key(p: Place) -> Any:
    with p.installed(), Listener((LOCAL, 0), authkey=b"key") as listener:
        out = p.thread(listener.accept)
        return p.tried(Client, listener.address, authkey=b"another")[:2], p.joined(out)[:2]


@differential
def nobody_listens_any_more(p: Place) -> Any:
    with p.installed():
        with Listener((LOCAL, 0)) as listener:
            address = listener.address
        return p.tried(Client, address)


@differential
def pipes_of_the_kernel_s(p: Place) -> Any:
    with p.installed(), Listener(family="AF_UNIX") as listener:
        near, far = connected(listener)
        with near, far:
            far.send(5)
            return near.recv(), type(listener.address).__name__
