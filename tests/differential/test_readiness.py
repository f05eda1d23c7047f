"""What a descriptor shows in every state of a socket, on a Stack and on the kernel.

One table of ways to come to a state (readiness_states.py), one of ways to look; each pair is tried
on both, on 127.0.0.1. Then sequences of states, watched by edges, and sleepers that they wake.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from quiet import BOUND_S, waits
from readiness_place import ALL, Place, reset
from readiness_states import STATES, datagrams_bound, datagrams_connected, send_to

import pystack

BITS = {
    "IN": select.POLLIN,
    "PRI": select.POLLPRI,
    "OUT": select.POLLOUT,
    "ERR": select.POLLERR,
    "HUP": select.POLLHUP,
    "RDHUP": select.POLLRDHUP,
}


def names(mask: int) -> str:
    """A mask in words."""
    return "|".join(name for name, bit in BITS.items() if mask & bit) or "nothing"


def by_poll(sock: Any, wanted: int = ALL) -> str:
    poll = select.poll()
    poll.register(sock, wanted)
    return names(dict(poll.poll(0)).get(sock.fileno(), 0))


def by_poll_for_nothing(sock: Any) -> str:
    return by_poll(sock, 0)


def by_epoll(sock: Any, extra: int = 0) -> str:
    with select.epoll() as epoll:
        epoll.register(sock, ALL | extra)
        return names(dict(epoll.poll(0)).get(sock.fileno(), 0))


def by_epoll_edge(sock: Any) -> str:
    return by_epoll(sock, select.EPOLLET)


def by_select(sock: Any) -> str:
    found = select.select([sock], [sock], [sock], 0)
    return " ".join(
        name for name, one in zip(("read", "write", "except"), found, strict=True) if one
    )


LOOKS: dict[str, Callable[[Any], str]] = {
    "poll": by_poll,
    "poll for nothing": by_poll_for_nothing,
    "epoll": by_epoll,
    "epoll by edges": by_epoll_edge,
    "select": by_select,
}


# What stays different, and why.
DIFFERENT = {
    "urgent": "an AF_UNIX socket has urgent data only among what can be read",
    "urgent behind data that was read": "the same",
    "connecting and shut for writing": "an AF_UNIX socket has an error only at its end",
}


def looked_at(module: Any, make: Callable[[Place], Any], *, early: bool) -> dict[str, str]:
    """What each way of looking shows of a state.

    Args:
        module: The kernel's or a Stack's.
        make: Comes to the state.
        early: Whether the descriptors were there, and watched, before the state came about.
    """
    with select.epoll() as watching:
        place = Place(module, watching if early else None)
        try:
            sock = make(place)
            place.settle()
            seen = {name: how(sock) for name, how in LOOKS.items()}
            if early:
                seen["epoll from the first"] = names(dict(watching.poll(0)).get(sock.fileno(), 0))
        finally:
            place.close()
    return seen


@pytest.fixture(scope="module")
def net() -> Iterator[pystack.Stack]:
    with pystack.Stack() as made:
        yield made


@pytest.mark.parametrize("early", [False, True], ids=["shown late", "shown early"])
@pytest.mark.parametrize("name", STATES)
def test_every_state_shows_what_the_kernels_shows(
    net: pystack.Stack, name: str, early: bool
) -> None:
    make = STATES[name]
    different = name in DIFFERENT
    for attempt in range(3):  # a busy machine may not have come to the state yet
        kernels = looked_at(socket, make, early=early)
        stacks = looked_at(net.sockets, make, early=early)
        if (kernels != stacks) == different or attempt == 2:
            break
    assert (kernels != stacks) == different, (kernels, stacks)


# --- edges ------------------------------------------------------------------------------------


def edges_of_data(p: Place, edge: Callable[[Any], str]) -> None:
    near, far = p.pair()
    edge(near)
    far.send(b"data")
    edge(near)
    edge(near)
    far.send(b"more")
    edge(near)
    near.recv(1)
    edge(near)
    near.recv(100)
    edge(near)
    far.send(b"again")
    edge(near)


def edges_of_fin_behind_data(p: Place, edge: Callable[[Any], str]) -> None:
    near, far = p.pair()
    far.send(b"data")
    edge(near)
    far.shutdown(socket.SHUT_WR)
    edge(near)
    edge(near)
    near.recv(100)
    edge(near)


def edges_of_reset_behind_data(p: Place, edge: Callable[[Any], str]) -> None:
    near, far = p.pair()
    far.send(b"data")
    edge(near)
    reset(far)
    edge(near)
    edge(near)


def edges_of_reset_behind_fin(p: Place, edge: Callable[[Any], str]) -> None:
    near, far = p.pair()
    far.shutdown(socket.SHUT_WR)
    edge(near)
    reset(far)
    edge(near)


def edges_of_connections(p: Place, edge: Callable[[Any], str]) -> None:
    listener = p.listener()
    edge(listener)
    for _ in range(3):
        p.connect(listener)
        edge(listener)
    p.keep(listener.accept()[0])
    edge(listener)
    p.connect(listener)
    edge(listener)


def edges_of_a_connect(p: Place, edge: Callable[[Any], str]) -> None:
    listener = p.listener()
    sock = p.socket()
    sock.setblocking(False)
    edge(sock)
    sock.connect_ex(listener.getsockname())
    edge(sock)
    edge(sock)


def edges_of_a_refusal(p: Place, edge: Callable[[Any], str]) -> None:
    sock = p.socket()
    sock.setblocking(False)
    edge(sock)
    sock.connect_ex(p.nowhere())
    edge(sock)
    edge(sock)


def edges_of_room(p: Place, edge: Callable[[Any], str]) -> None:
    near, far = p.pair()
    edge(near)
    p.fill(near)
    edge(near)
    far.setblocking(False)
    got = 1
    while got:
        got = 0
        with suppress(BlockingIOError):
            while data := far.recv(1 << 20):
                got += len(data)
        p.settle()
    edge(near)


def edges_of_shutting(p: Place, edge: Callable[[Any], str]) -> None:
    near, _far = p.pair()
    edge(near)
    near.shutdown(socket.SHUT_RD)
    edge(near)
    near.shutdown(socket.SHUT_WR)
    edge(near)


def edges_of_data_after_shutting(p: Place, edge: Callable[[Any], str]) -> None:
    near, far = p.pair()
    near.shutdown(socket.SHUT_RD)
    edge(near)
    far.send(b"data")
    edge(near)


def edges_of_a_listener_that_is_shut(p: Place, edge: Callable[[Any], str]) -> None:
    listener = p.listener()
    edge(listener)
    listener.shutdown(socket.SHUT_RDWR)
    edge(listener)


def edges_of_urgent_data(p: Place, edge: Callable[[Any], str]) -> None:
    near, far = p.pair()
    far.send(b"data")
    edge(near)
    far.send(b"!", socket.MSG_OOB)
    edge(near)


def edges_of_datagrams(p: Place, edge: Callable[[Any], str]) -> None:
    sock = datagrams_bound(p)
    edge(sock)
    for _ in range(20):  # more than what stands for them has room for
        send_to(p, sock)
        edge(sock)
    sock.recv(100)
    edge(sock)


def edges_of_refused_datagrams(p: Place, edge: Callable[[Any], str]) -> None:
    sock = datagrams_connected(p)
    edge(sock)
    sock.send(b"data")
    edge(sock)
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    edge(sock)
    sock.send(b"data")
    edge(sock)


EDGES = [one for name, one in list(globals().items()) if name.startswith("edges_of_")]


def watched_by_edges(module: Any, steps: Callable[..., None], wanted: int) -> list[str]:
    seen: list[str] = []
    place = Place(module)
    with select.epoll() as epoll:
        registered: set[int] = set()

        def edge(sock: Any) -> str:
            if sock.fileno() not in registered:
                registered.add(sock.fileno())
                epoll.register(sock, wanted | select.EPOLLET)
            place.settle()
            seen.append(names(dict(epoll.poll(0)).get(sock.fileno(), 0)))
            return seen[-1]

        try:
            steps(place, edge)
        finally:
            place.close()
    return seen


@pytest.mark.parametrize("wanted", [ALL, select.POLLIN | select.POLLRDHUP], ids=["all", "reading"])
@pytest.mark.parametrize("steps", EDGES, ids=lambda one: one.__name__)
def test_edges_come_when_the_kernels_do(
    net: pystack.Stack, steps: Callable[..., None], wanted: int
) -> None:
    for attempt in range(3):
        kernels = watched_by_edges(socket, steps, wanted)
        stacks = watched_by_edges(net.sockets, steps, wanted)
        if kernels == stacks or attempt == 2:
            break
    assert stacks == kernels


# --- those who wait ---------------------------------------------------------------------------


def sleeper(sock: Any, wanted: int) -> threading.Thread:
    """A thread that sleeps in poll(2)."""
    poll = select.poll()
    poll.register(sock, wanted)
    thread = threading.Thread(target=poll.poll)
    thread.start()
    assert waits(thread)
    return thread


@pytest.mark.parametrize("wanted", [0, select.POLLIN, select.POLLRDHUP, select.POLLOUT])
@pytest.mark.parametrize("event", ["end", "reset", "shut", "listener shut"])
def test_a_sleeper_in_poll_wakes(net: pystack.Stack, event: str, wanted: int) -> None:
    def run(module: Any) -> list[str]:
        place = Place(module)
        try:
            if event == "listener shut":
                near = place.listener()
            else:
                near, far = place.pair()
                if wanted == select.POLLOUT:
                    place.fill(near)
            thread = sleeper(near, wanted)
            if event == "end":
                far.shutdown(socket.SHUT_WR)
            elif event == "reset":
                reset(far)
            else:
                near.shutdown(socket.SHUT_RDWR)
            place.settle()
            woke = not waits(thread)
            if not woke:
                near.shutdown(socket.SHUT_RDWR)
                reset(far)
                thread.join(BOUND_S)
                assert not thread.is_alive()
                place.settle()
            return [by_poll(near, wanted), str(woke)]
        finally:
            place.close()

    kernels, stacks = run(socket), run(net.sockets)
    assert stacks == kernels
