"""`selectors.DefaultSelector` in a block of `Stack.installed`: it asks Stacks, and tells no lie."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

import pytest
from children import in_child

import pystack
from pystack.errors import StackPanic
from pystack.sockets.selector import StackSelector

PATIENCE_S = 60.0
Pair = tuple[Any, Any]


@contextmanager
def of_the_kernel() -> Iterator[tuple[Any, Callable[[], Pair]]]:
    made: list[Any] = []

    def pair() -> Pair:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            made.append(socket.create_connection(listener.getsockname()))
            made.append(listener.accept()[0])
        return made[-2], made[-1]

    with selectors.DefaultSelector() as selector:
        yield selector, pair
    for one in made:
        one.close()


@contextmanager
def of_a_stack() -> Iterator[tuple[Any, Callable[[], Pair]]]:
    with pystack.Stack() as net:
        net.linger = 0.2
        with net.installed(), of_the_kernel() as found:
            assert type(found[0]) is StackSelector
            yield found


def asked(selector: StackSelector, fileobj: Any) -> bool:
    """Whether a Stack is asked about it, and no descriptor polled."""
    return selector._ps_fd(fileobj) is not None


def ready(selector: Any, timeout: float = 0) -> list[tuple[Any, int]]:
    return [(key.data, events) for key, events in selector.select(timeout)]


# --- as the kernel's ---------------------------------------------------------------------------


def levels(selector: Any, pair: Callable[[], Pair]) -> Any:
    near, far = pair()
    selector.register(near, EVENT_READ, "near")
    told = [ready(selector), ready(selector, -1)]
    far.sendall(b"word")
    told += [ready(selector, PATIENCE_S), ready(selector), ready(selector, PATIENCE_S)]
    near.recv(2)
    told.append(ready(selector))
    near.recv(2)
    told.append(ready(selector))
    selector.modify(near, EVENT_READ | EVENT_WRITE, "both")
    told.append(ready(selector, PATIENCE_S))
    far.close()
    near.settimeout(PATIENCE_S)
    told += [near.recv(1), ready(selector, PATIENCE_S)]
    selector.modify(near.fileno(), EVENT_READ)
    return [*told, ready(selector, PATIENCE_S), selector.unregister(near).data, ready(selector)]


def keys(selector: Any, pair: Callable[[], Pair]) -> Any:
    near, far = pair()
    reader, writer = os.pipe()
    found = selector.get_map()
    told: list[Any] = [len(found), list(found), bool(found)]
    numbers = {near.fileno(): "near", far.fileno(): "far", reader: "pipe"}
    selector.register(near, EVENT_READ, 1)
    selector.register(far.fileno(), EVENT_WRITE, 2)
    selector.register(reader, EVENT_READ, 3)
    told += [len(found), sorted(numbers[fd] for fd in found), near in found, far in found]
    told += [sorted(key.data for key in found.values()), found.get(writer), writer in found]
    told += [selector.get_key(near).data, selector.get_key(near.fileno()).data]
    told.append(selector.get_key(far).fileobj == far.fileno())
    for call in (
        lambda: selector.register(near, EVENT_READ),
        lambda: selector.register(far, EVENT_READ),
        lambda: selector.register(near.fileno(), EVENT_READ),
        lambda: selector.register(writer, 0),
        lambda: selector.register(writer, 8),
        lambda: selector.register("near", EVENT_READ),
        lambda: selector.register(None, EVENT_READ),
        lambda: selector.register(-1, EVENT_READ),
        lambda: selector.unregister(writer),
        lambda: selector.modify(writer, EVENT_READ),
        lambda: selector.get_key(writer),
        lambda: selector.get_key("near"),
        lambda: found["near"],
    ):
        try:
            told.append(call())
        except Exception as error:
            told.append(type(error))
    told += [selector.unregister(far).data, selector.unregister(reader).data, len(found)]
    os.close(reader)
    os.close(writer)
    near.close()
    told += [selector.get_key(near).data, selector.unregister(near).data, len(found), list(found)]
    selector.close()
    told.append(selector.get_map())
    for closed in (lambda: selector.get_key(1), lambda: selector.register(1, EVENT_READ)):
        try:
            told.append(closed())
        except Exception as error:
            told.append(type(error))
    return told


def many(selector: Any, pair: Callable[[], Pair]) -> Any:
    pairs = [pair() for _ in range(300)]
    for number, (near, far) in enumerate(pairs):
        selector.register(near, EVENT_READ | EVENT_WRITE, number)
        far.sendall(b"x")
    both = set()
    while len(both) < len(pairs):
        seen = ready(selector, PATIENCE_S)
        assert len(seen) == len(pairs), "each is writable"
        both |= {number for number, events in seen if events & EVENT_READ}
    return sorted(both)


def another_thread(selector: Any, pair: Callable[[], Pair]) -> Any:
    """What is registered, or happens, while a thread is in `select`, wakes it."""
    (near, far), (other, _) = pair(), pair()
    selector.register(near, EVENT_READ, "near")
    told: list[Any] = []
    for what in (lambda: far.send(b"x"), lambda: selector.register(other, EVENT_WRITE, "other")):
        waiting = threading.Thread(target=lambda: told.append(ready(selector, PATIENCE_S)))
        waiting.start()
        waiting.join(0.05)
        told.append(waiting.is_alive())
        what()
        waiting.join(PATIENCE_S)
        near.setblocking(False)
        try:
            near.recv(9)
        except BlockingIOError:
            told.append("nothing")
    return told


def copies(selector: Any, pair: Callable[[], Pair]) -> Any:
    """Two descriptors of one socket."""
    near, far = pair()
    copy = near.dup()
    selector.register(near, EVENT_READ, "near")
    selector.register(copy, EVENT_READ, "copy")
    far.sendall(b"x")
    seen: set[Any] = set()
    while len(seen) < 2:
        seen |= set(ready(selector, PATIENCE_S))
    near.recv(1)
    told = [sorted(seen), ready(selector)]
    far.sendall(b"y")
    selector.unregister(near)
    told.append(ready(selector, PATIENCE_S))
    selector.register(near, EVENT_READ, "again")
    seen = set()
    while len(seen) < 2:
        seen |= set(ready(selector, PATIENCE_S))
    copy.close()
    return [*told, sorted(seen)]


def closed(selector: Any, pair: Callable[[], Pair]) -> Any:
    """A socket that is closed while it is registered says nothing more; its key stays."""
    (near, far), (other, peer) = pair(), pair()
    selector.register(near, EVENT_READ, "near")
    selector.register(other, EVENT_READ, "other")
    far.sendall(b"x")
    peer.sendall(b"x")
    seen: set[Any] = set()
    while len(seen) < 2:
        seen |= set(ready(selector, PATIENCE_S))
    near.close()
    told = [ready(selector, PATIENCE_S), len(selector.get_map())]
    selector.unregister(near)
    return [*told, len(selector.get_map()), ready(selector, PATIENCE_S)]


def nested(selector: Any, pair: Callable[[], Pair]) -> Any:
    """A selector's own descriptor is readable, for another loop, while anything is ready."""
    near, far = pair()
    selector.register(near, EVENT_READ, "near")
    ready(selector)
    outer = select.poll()
    outer.register(selector.fileno(), select.POLLIN)
    told = [len(outer.poll(0))]
    for _ in range(3):
        far.sendall(b"x")
        told += [len(outer.poll(PATIENCE_S * 1000)), ready(selector), len(outer.poll(0))]
        near.recv(1)
        told += [ready(selector), len(outer.poll(0))]
    return told


def refused(selector: Any, pair: Callable[[], Pair]) -> Any:
    del pair
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = gone.getsockname()
    one = socket.socket()
    selector.register(one, EVENT_READ | EVENT_WRITE, "one")
    told: list[Any] = [ready(selector, PATIENCE_S)]
    one.setblocking(False)
    one.connect_ex(nobody)
    told.append(ready(selector, PATIENCE_S))
    told.append(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    told.append(ready(selector, PATIENCE_S))
    one.close()
    return told


@pytest.mark.sanitize
@pytest.mark.parametrize(
    "scenario",
    [levels, keys, many, another_thread, copies, closed, nested, refused],
)
def test_as_with_the_kernels_sockets(scenario: Callable[[Any, Any], Any]) -> None:
    with of_the_kernel() as kernel:
        wanted = scenario(*kernel)
    with of_a_stack() as stack:
        assert scenario(*stack) == wanted


# --- what is only so on a Stack ------------------------------------------------------------------


def test_in_a_block_alone() -> None:
    before = selectors.DefaultSelector
    with pystack.Stack() as net:
        with net.installed():
            assert issubclass(selectors.DefaultSelector, before)
            assert selectors.DefaultSelector is StackSelector
        with net.active():
            assert selectors.DefaultSelector is before
    assert selectors.DefaultSelector is before


@pytest.mark.sanitize
def test_a_descriptor_shows_later_what_is_not_read() -> None:
    """Whoever polls a descriptor that a selector watches as well is told, if late."""
    with of_a_stack() as (selector, pair):
        near, far = pair()
        selector.register(near, EVENT_READ)
        assert asked(selector, near)
        for _ in range(3):
            far.sendall(b"word")
            assert ready(selector, PATIENCE_S) == [(None, EVENT_READ)]
            elsewhere = select.poll()
            elsewhere.register(near, select.POLLIN)
            assert [event for _, event in elsewhere.poll(PATIENCE_S * 1000)] == [select.POLLIN]
            assert near.recv(9) == b"word"
            assert elsewhere.poll(0) == []
            assert ready(selector) == []
        far.close()
        (found,) = elsewhere.poll(PATIENCE_S * 1000)
        assert found[1] & select.POLLIN


@pytest.mark.sanitize
def test_a_descriptor_shows_at_once_what_is_passed_by() -> None:
    """A loop that was given a socket twice, and did nothing with it, leaves it to others."""
    with of_a_stack() as (selector, pair):
        near, far = pair()
        selector.register(near, EVENT_READ)
        elsewhere = select.poll()
        elsewhere.register(near, select.POLLIN)
        for _ in range(3):
            far.sendall(b"word")
            for _ in range(2):
                assert ready(selector, PATIENCE_S) == [(None, EVENT_READ)]
            assert [event for _, event in elsewhere.poll(0)] == [select.POLLIN]
            assert near.recv(9) == b"word"
            assert elsewhere.poll(0) == []


def test_a_descriptor_shows_later_that_there_is_room() -> None:
    with of_a_stack() as (selector, pair):
        near, far = pair()
        near.setblocking(False)
        selector.register(near, EVENT_WRITE)
        while True:
            try:
                near.send(bytes(1 << 16))
            except BlockingIOError:
                break
        elsewhere = select.poll()
        elsewhere.register(near, select.POLLOUT)
        assert elsewhere.poll(0) == ready(selector) == []
        far.settimeout(PATIENCE_S)
        while not ready(selector):
            far.recv(1 << 20)
        assert [event for _, event in elsewhere.poll(PATIENCE_S * 1000)] == [select.POLLOUT]


@pytest.mark.sanitize
@pytest.mark.parametrize("end", ["close", "panic"])
def test_a_stack_that_ends(end: str) -> None:
    """Its descriptors are polled from then on, and say it."""
    net = pystack.Stack()

    def fail() -> None:
        with suppress(StackPanic):
            net.fail()

    with net.installed(), of_the_kernel() as (selector, pair):
        near, far = pair()
        datagrams = socket.socket(type=socket.SOCK_DGRAM)
        for one in (near, far, datagrams):
            selector.register(one, EVENT_READ, one)
            assert asked(selector, one)
        assert ready(selector) == []
        ending = threading.Thread(target=net.close if end == "close" else fail)
        ending.start()
        seen: set[Any] = set()
        while len(seen) < 3:
            seen |= {one for one, _ in ready(selector, PATIENCE_S)}
        ending.join(PATIENCE_S)
        assert not any(asked(selector, one) for one in seen)
        assert len(selector.get_map()) == 3
        for one in seen:
            selector.unregister(one)
            one.close()
        assert not selector.get_map()
    net.close(abrupt=True)


def test_two_stacks_and_the_kernel() -> None:
    with of_the_kernel() as (_, kernel_pair):
        kernel = kernel_pair()
        with of_a_stack() as (selector, stack_pair):
            one = stack_pair()
            with of_a_stack() as (_, other_pair):
                other = other_pair()
                pairs = {"kernel": kernel, "one": one, "other": other}
                for name, (near, _) in pairs.items():
                    selector.register(near, EVENT_READ, name)
                    assert asked(selector, near) is (name != "kernel")
                for name, (near, far) in pairs.items():
                    far.sendall(b"x")
                    assert ready(selector, PATIENCE_S) == [(name, EVENT_READ)]
                    near.recv(1)
                for _, far in pairs.values():
                    far.sendall(b"x")
                seen: set[Any] = set()
                while len(seen) < 3:
                    seen |= {name for name, _ in ready(selector, PATIENCE_S)}
            assert selector.unregister(other[0]).data == "other"


def test_a_loop_that_runs_on_it() -> None:
    """A server and its clients by asyncio."""

    answers: list[Any] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers.append(asyncio.current_task())
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()
        await writer.wait_closed()

    async def ask(port: int, name: str) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        got = []
        for number in range(20):
            writer.write(f"{name} {number}\n".encode())
            got.append(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return got

    async def main() -> list[list[bytes]]:
        assert type(asyncio.get_running_loop()._selector) is StackSelector  # type: ignore[attr-defined]
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            assert asked(asyncio.get_running_loop()._selector, server.sockets[0].fileno())  # type: ignore[attr-defined]
            found = await asyncio.gather(*(ask(port, f"client{n}") for n in range(20)))
            await asyncio.gather(*answers)
        return found

    with pystack.Stack() as net, net.installed():
        found = asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    assert found == [[f"CLIENT{n} {i}\n".encode() for i in range(20)] for n in range(20)]


def test_a_child_that_is_forked() -> None:
    """It is told that the sockets are its parent's, and the parent goes on."""
    with of_a_stack() as (selector, pair):
        near, far = pair()
        selector.register(near, EVENT_READ, "near")
        assert ready(selector) == []

        def child() -> None:
            with selectors.DefaultSelector() as own:
                own.register(near, EVENT_READ, "near")
                assert not asked(own, near)

        in_child(child)
        far.sendall(b"x")
        assert ready(selector, PATIENCE_S) == [("near", EVENT_READ)]
