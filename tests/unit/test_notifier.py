"""A notifier: the readiness of many sockets of a Stack by one descriptor."""

from __future__ import annotations

import errno
import os
import random
import resource
import select
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from children import in_child

import pystack
from pystack.errors import StackPanic
from pystack.sockets.notifier import ENDED, READ, WRITE, Notifier
from pystack.world import World

PATIENCE_S = 60.0
GATE = 1  # an epoll that the driver makes when it first sees that there are watched sockets


@contextmanager
def pairs(count: int = 1) -> Iterator[tuple[pystack.Stack, list[tuple[Any, Any]]]]:
    """A Stack, and connections over its loopback: from near ends to far ones."""
    with pystack.Stack() as net, net.sockets.create_server(("127.0.0.1", 80)) as listener:
        net.linger = 0.2
        made = []
        for _ in range(count):
            near = net.sockets.create_connection(("127.0.0.1", 80), timeout=PATIENCE_S)
            made.append((near, listener.accept()[0]))
        try:
            yield net, made
        finally:
            for pair in made:
                for one in pair:
                    one.close()


@contextmanager
def notifier(net: pystack.Stack) -> Iterator[Notifier]:
    made = Notifier(net._handle)
    try:
        yield made
    finally:
        made.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def rings(one: Notifier, seconds: float = 0) -> bool:
    return bool(select.select([one], [], [], seconds)[0])


@pytest.mark.sanitize
def test_it_tells_by_levels() -> None:
    with pairs() as (net, [(near, far)]), notifier(net) as told:
        number = told.watch(near, READ)
        assert not rings(told)
        assert told.take() == []
        far.sendall(b"word")
        assert rings(told, PATIENCE_S)
        for _ in range(3):
            assert told.take() == [(number, READ)]
            assert rings(told)
        assert near.recv(2) == b"wo"
        assert told.take() == [(number, READ)]
        assert near.recv(2) == b"rd"
        assert told.take() == []
        assert not rings(told)
        told.change(number, READ | WRITE)
        assert told.take() == [(number, WRITE)]
        told.change(number, 0)
        far.sendall(b"more")
        assert not rings(told), "nothing is wanted"
        told.change(number, READ)
        assert rings(told, PATIENCE_S)
        told.forget(number)
        assert not rings(told)
        told.forget(number)


@pytest.mark.sanitize
def test_room_to_send_is_told() -> None:
    with pairs() as (net, [(near, far)]), notifier(net) as told:
        near.setblocking(False)
        number = told.watch(near, WRITE)
        sent = 0
        with pytest.raises(BlockingIOError):
            while True:
                sent += near.send(bytes(1 << 16))
        assert not rings(told)
        while sent > 0:
            sent -= len(far.recv(1 << 20))
        assert rings(told, PATIENCE_S)
        assert told.take() == [(number, WRITE)]


@pytest.mark.sanitize
def test_ends_and_errors_count_as_either() -> None:
    with pairs(2) as (net, [(near, far), (other, its_far)]), notifier(net) as told:
        number = told.watch(near, READ)
        far.close()
        assert rings(told, PATIENCE_S)
        assert told.take() == [(number, READ)]
        near.shutdown(socket.SHUT_WR)
        told.change(number, WRITE)
        assert told.take()[0][1] & ENDED
        told.forget(number)
        number = told.watch(other, READ)
        its_far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        its_far.close()
        assert rings(told, PATIENCE_S)
        assert told.take()[0][1] & ENDED
        told.change(number, 0)
        assert not rings(told)


@pytest.mark.sanitize
def test_each_has_its_turn() -> None:
    with pairs(600) as (net, made), notifier(net) as told:
        before = descriptors()
        numbers = {told.watch(near, READ) for near, _ in made}
        assert descriptors() <= before + GATE
        for _, far in made:
            far.sendall(b"word")
        for near, _ in made:
            assert near.recv(2, socket.MSG_PEEK) == b"wo"
        looks = [[number for number, _ in told.take()] for _ in range(6)]
        assert all(len(set(one)) == len(one) == 256 for one in looks)
        assert set(looks[0]) | set(looks[1]) | set(looks[2]) == numbers
        in_turn = [number for one in looks for number in one]
        assert in_turn[:600] == in_turn[600:1200], "the queue goes round"


@pytest.mark.sanitize
def test_a_socket_that_is_closed_while_it_waits() -> None:
    with pairs(3) as (net, made), notifier(net) as told:
        for near, far in made:
            told.watch(near, READ)
            far.sendall(b"word")
            near.recv(1, socket.MSG_PEEK)
        assert len(told.take()) == 3
        made[1][0].close()
        assert len(told.take()) == 2
        made[0][0].close()
        made[2][0].close()
        assert told.take() == []
        assert not rings(told)
        with pytest.raises(OSError) as raised:
            told.watch(made[0][0], READ)
        assert raised.value.errno == errno.EBADF


@pytest.mark.sanitize
def test_copies_and_descriptors_beside_it() -> None:
    with pairs() as (net, [(near, far)]), notifier(net) as told, notifier(net) as second:
        number = told.watch(near, READ)
        copy = near.dup()
        assert second.watch(copy, READ) == number
        polls = select.poll()
        polls.register(near, select.POLLIN)
        far.sendall(b"word")
        assert rings(told, PATIENCE_S)
        assert rings(second)
        assert polls.poll(1000 * PATIENCE_S)
        polls.unregister(near)
        near.close()
        assert told.take() == [(number, READ)], "the copy holds it"
        assert copy.recv(10) == b"word"
        assert not rings(told)
        assert not rings(second)
        copy.close()
        second.close()
        second.close()
        assert second.fileno() == -1
        for call in (second.take, lambda: second.change(number, READ)):
            with pytest.raises(OSError, match="closed"):
                call()
        second.forget(number)


@pytest.mark.sanitize
@pytest.mark.parametrize("seed", range(3))
def test_what_is_told_is_what_is_so(seed: int) -> None:
    """Random calls: what a look gives is what each socket would say, and the bell as it says."""
    chance = random.Random(seed)
    with pairs(8) as (net, made), notifier(net) as told:
        wanted: dict[int, int] = {}
        unread = [0] * len(made)
        numbers = [near._ps_number for near, _ in made]
        closed: set[int] = set()
        for _ in range(600):
            place = chance.randrange(len(made))
            near, far = made[place]
            match chance.randrange(6):
                case 0 if place not in closed:
                    wanted[place] = chance.choice((0, READ, WRITE, READ | WRITE))
                    assert told.watch(near, wanted[place]) == numbers[place]
                case 1:
                    told.forget(numbers[place])
                    wanted.pop(place, None)
                case 2 if place not in closed:
                    far.sendall(b"x")
                    unread[place] += 1
                    near.recv(1, socket.MSG_PEEK)  # so that it has come
                case 3 if unread[place] and place not in closed:
                    assert near.recv(1) == b"x"
                    unread[place] -= 1
                case 4 if chance.random() < 0.03 and len(closed) < 6:
                    near.close()
                    closed.add(place)
                    wanted.pop(place, None)
            right = {}
            for each, interest in wanted.items():
                mask = interest & ((READ if unread[each] else 0) | WRITE)
                if mask:
                    right[numbers[each]] = mask
            assert rings(told) == bool(right)
            assert dict(told.take()) == right


@pytest.mark.sanitize
def test_threads_that_watch_and_close() -> None:
    with pairs(40) as (net, made), notifier(net) as told:
        over = threading.Event()

        def work(seed: int) -> None:
            chance = random.Random(seed)
            for near, far in made[seed::4]:
                for _ in range(20):
                    number = told.watch(near, chance.choice((0, READ, READ | WRITE)))
                    far.sendall(b"x")
                    near.recv(1)
                    if chance.random() < 0.3:
                        told.forget(number)
                near.close()

        def look() -> None:
            while not over.is_set():
                told.take()

        workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        looker = threading.Thread(target=look)
        looker.start()
        for one in workers:
            one.start()
        for one in workers:
            one.join()
        over.set()
        looker.join()
        assert told.take() == []
        assert not rings(told)


@pytest.mark.sanitize
def test_the_end_of_the_stack_rings() -> None:
    with pairs() as (net, [(near, _)]), notifier(net) as told:
        number = told.watch(near, READ)
        net.close()
        assert rings(told)
        for call in (told.take, lambda: told.change(number, READ)):
            with pytest.raises(OSError) as raised:
                call()
            assert raised.value.errno == errno.EBADF
        told.forget(number)


@pytest.mark.sanitize
def test_a_stack_that_fails_rings() -> None:
    with pairs() as (net, [(near, _)]), notifier(net) as told:
        told.watch(near, READ)
        with pytest.raises(StackPanic):
            net.fail("the test says so")
        assert rings(told)
        with pytest.raises(StackPanic):
            told.take()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside threads
@pytest.mark.skipif(sys.platform != "linux", reason="Linux's packets in sequence")
def test_a_child_has_none_of_it() -> None:
    with pairs() as (net, [(near, far)]), notifier(net) as told:
        number = told.watch(near, READ)

        def end_ours() -> int:
            told.forget(number)
            told.close()
            try:
                Notifier(net._handle)
            except OSError as error:
                return error.errno or 0
            return 0

        assert in_child(end_ours) == errno.EREMOTE, "it shares the Stack, which is the parent's"
        far.sendall(b"word")
        assert rings(told, PATIENCE_S), "the parent's goes on"
        assert told.take() == [(number, READ)]


def test_a_world_has_none() -> None:
    with World(seed=1) as world:
        host = world.host("a")
        with pytest.raises(OSError) as raised:
            Notifier(host._handle)
        assert raised.value.errno == errno.EOPNOTSUPP


def test_without_descriptors_there_is_none() -> None:
    with pystack.Stack() as net:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 5, before[1]))
            with pytest.raises(OSError, match="Too many"):
                while True:
                    taken.append(os.dup(0))
            with pytest.raises(OSError, match="Too many"):
                Notifier(net._handle)
        finally:
            for one in taken:
                os.close(one)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        with notifier(net) as told:
            assert not rings(told)


def test_one_that_is_forgotten_gives_its_descriptor_back() -> None:
    with pairs() as (net, [(near, _)]):
        before = descriptors()
        for _ in range(10):
            told = Notifier(net._handle)
            told.watch(near, READ)
            del told
        assert descriptors() <= before + GATE
