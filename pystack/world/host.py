"""Hosts: Stacks in a World, with what runs on them."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import functools
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from pystack._native import WorldClock, lib
from pystack._native.address import Interface as AddressWithNetwork
from pystack._native.values import keywords
from pystack.nic import Nic
from pystack.stack import Stack
from pystack.world.dns import serve_datagrams, serve_streams
from pystack.world.names import NamesFile

__all__ = ["OF_STACKS", "Host"]

_T = TypeVar("_T")
_MOST_SERVERS = 3  # as the C library (MAXNS)
_FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


def _in_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


class HostsWorld(Protocol):
    """What a host asks of its World."""

    clock: WorldClock
    names_file: NamesFile

    @property
    def closed(self) -> bool:
        """Whether it has ended, or is about to."""
        ...

    def start(self, thread: threading.Thread) -> None:
        """Starts a thread that takes part in it."""
        ...

    def call_soon(self, function: Callable[[], object]) -> bool:
        """Calls it in the World's loop; False: none runs."""
        ...

    def note_failure(self, error: BaseException) -> None:
        """Keeps what a thread has ended with."""
        ...

    def note(self, text: str) -> None:
        """Puts words on the trace."""
        ...

    def note_start(self, host: Host) -> None:
        """Notes that a host's Stack is new."""
        ...


# What a host's Stack can be made with.
OF_STACKS = tuple(one for one in keywords(Stack.__init__) if one not in ("clock", "threaded"))


class Host(Stack):
    """A Stack in a World; made by `World.host`. Everything of `Stack` is here, too.

    What runs on it, tasks and threads, has its sockets in the place of the module `socket`.

    Attributes:
        name: By which the others find it.
        world: Where it is.
    """

    _own_attributes = Stack._own_attributes | {"name", "world"}

    def __init__(
        self, world: HostsWorld, name: str, *, forwards: bool = False, **options: Any
    ) -> None:
        self.name = name
        self.world = world
        self._forwards = forwards
        self._options = options
        self._wires: list[tuple[Nic, list[str], str]] = []
        self._ends: list[Nic] = []
        self._tasks: set[Any] = set()  # what has `cancel`: asyncio's tasks, trio's scopes
        self._starts = 0
        self._services: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._name_server: Host | None = None
        self._asked: list[str] = []  # its addresses
        self._begin()

    def _begin(self) -> None:
        """Starts its Stack; another start has other random numbers."""
        seed = self._options["seed"] + self._starts
        self._starts += 1
        options = {**self._options, "seed": seed}
        super().__init__(clock=self.world.clock, threaded=False, **options)
        self.world.note_start(self)
        self._choose_names()
        for setting in _FORWARDING if self._forwards else ():
            self.sysctl[setting] = 1

    @property
    def place(self) -> int:
        """Which its Stack is of all that the World has had; another after each restart."""
        return int(lib.ps_stack_place(self._handle.pointer))

    @property
    def machine(self) -> Host:
        """Itself."""
        return self

    @property
    def segment(self) -> None:
        """None: it is no switch."""
        return None

    def accept(self, addresses: list[str]) -> None:
        """Whatever they are: `plug` says what is wrong with them."""

    def plug(self, end: Nic, nic: Nic, addresses: list[str]) -> None:
        """Attaches an end of a link, now and after each restart; `World.link` does it.

        Args:
            end: The link's own.
            nic: What is attached: the end, or what is around it.
            addresses: Its addresses.
        """
        interface = self._plugged = self.attach(nic, *addresses)
        self._ends.append(end)
        self._wires.append((nic, addresses, str(interface.mac)))

    def unplug(self) -> None:
        """Takes the last link off again, whose other end could not be plugged in."""
        del self._ends[-1], self._wires[-1]
        self._plugged.detach()

    def crash(self) -> None:
        """Stops as a machine that loses power: its peers hear nothing.

        Its tasks are cancelled, and its threads end (`SystemExit`) at their next call of a socket.
        """
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            self.world.call_soon(int)  # the loop may wait while a thread calls this
        if not self.closed:
            self.world.note(f"{self.name} loses power")
        self.close(abrupt=True)
        for end in self._ends:
            lib.ps_link_forget(end._pointer)  # what has arrived, and nobody will take

    def restart(self) -> None:
        """Starts again with the same links, addresses and MACs, and nothing else that it had.

        Sockets of before are closed; what is to run on it is started anew, as each `service` is.
        """
        self.crash()
        self._begin()
        for nic, addresses, mac in self._wires:
            self.attach(nic, *addresses, mac=mac)
        self.world.note(f"{self.name} starts again")
        for function, arguments in self._services:
            self._serve(function, arguments)

    def service(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Runs a program on this host, now and after each restart.

        Args:
            function: A function, which gets a thread; or a coroutine function, which gets a task
                of `World.run`.
            arguments: With what it is called.

        Raises:
            RuntimeError: A coroutine function outside of `World.run`.
        """
        self._serve(function, arguments)
        self._services.append((function, arguments))

    def _serve(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if not asyncio.iscoroutinefunction(function):
            self.thread(function, *arguments)
        elif not self.world.call_soon(lambda: self.spawn(function(*arguments))):
            raise RuntimeError(f"{function.__qualname__} is asyncio's: start it inside World.run")

    def serve_names(self) -> None:
        """Answers DNS (RFC 1035) for the names of all hosts, now and after each restart.

        On port 53, over UDP and TCP, of both families; addresses have names, too (PTR), and any
        other name doesn't exist. Threads of this host do it. Who asks it, `name_server` says.

        Raises:
            OSError: EADDRINUSE, something has the port, in those threads: see `World.failures`.
        """
        for function in (serve_datagrams, serve_streams):
            self.service(function, self, self.world.names_file)

    @property
    def name_server(self) -> Host | None:
        """The host that is asked for names, by DNS over the network; also after a restart.

        None: nobody, names are in the World's own hosts file, which costs no time. A host whose
        `serve_names` was called answers. Its addresses are taken when this is set: those on a link
        of this host's first.
        """
        return self._name_server

    @name_server.setter
    def name_server(self, server: Host | None) -> None:
        near = [one.network for one in self._addresses()]
        found = [] if server is None else [one.ip for one in server._addresses()]
        if server is not None and not found:
            raise ValueError(f"{server.name} has no address yet: link it before it is asked")
        found.sort(key=lambda ip: not any(ip in network for network in near))
        self._name_server = server
        self._asked = [str(ip) for ip in found[:_MOST_SERVERS]]
        self._choose_names()

    def _choose_names(self) -> None:
        self.sockets.hosts = self.world.names_file if self._name_server is None else None
        self.nameservers = self._asked

    def _addresses(self) -> list[AddressWithNetwork]:
        """Those that others can have a route to."""
        found = [one.address for each in self.interfaces for one in each.addresses]
        return [one for one in found if not (one.ip.is_link_local or one.ip.is_loopback)]

    def spawn(
        self, coroutine: Coroutine[Any, Any, _T], *, name: str | None = None
    ) -> asyncio.Task[_T]:
        """Starts a task on this host; inside `World.run`.

        Args:
            coroutine: What it runs: `asyncio.open_connection` and all else in it use this host.
            name: The task's.

        Raises:
            RuntimeError: No loop is running.
            TypeError: It is no coroutine.
        """
        loop = asyncio.get_running_loop()
        if not asyncio.iscoroutine(coroutine):
            raise TypeError(f"a coroutine is spawned, as `main()`, not {coroutine!r}")
        context = contextvars.copy_context()
        block = self.active()
        context.run(block.__enter__)
        named = f"{self.name}: {name or getattr(coroutine, '__qualname__', 'task')}"
        task: asyncio.Task[_T] = context.run(
            functools.partial(loop.create_task, coroutine, name=named)
        )
        self._tasks.add(task)

        def leave(done: asyncio.Task[_T]) -> None:
            self._tasks.discard(done)
            context.run(block.__exit__, None, None, None)

        task.add_done_callback(leave)
        return task

    async def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Runs a coroutine on this host to its end; from a task, or by `World.run`.

        Raises:
            CancelledError: The host has crashed; under trio `ConnectionAbortedError`.
        """
        if not _in_trio():
            return await self.spawn(coroutine)
        outcome = await self._until_crash(coroutine)
        if not outcome:
            raise ConnectionAbortedError(errno.ECONNABORTED, f"{self.name} has crashed")
        return outcome[0]

    async def _until_crash(self, coroutine: Coroutine[Any, Any, _T]) -> list[_T]:
        """A coroutine's result, under trio; none: the host has crashed."""
        import trio  # noqa: PLC0415 - it need not be there

        outcome: list[_T] = []
        scope = trio.CancelScope()
        self._tasks.add(scope)
        try:
            with scope, self.active():
                outcome.append(await coroutine)
        finally:
            self._tasks.discard(scope)
        return outcome

    def start_soon(
        self,
        nursery: Any,
        function: Callable[..., Coroutine[Any, Any, Any]],
        *arguments: Any,
        name: str | None = None,
    ) -> None:
        """Starts a trio task on this host; inside `World.run_trio`.

        Args:
            nursery: Whose task it is. A crash of the host ends the task, and not the nursery.
            function: What it runs: `trio.open_tcp_stream` and all else in it use this host.
            arguments: With what.
            name: The task's.
        """

        async def on_this_host() -> None:
            await self._until_crash(function(*arguments))

        named = name or getattr(function, "__qualname__", repr(function))
        nursery.start_soon(on_this_host, name=f"{self.name}: {named}")

    def thread(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        name: str | None = None,
        daemon: bool = True,
    ) -> threading.Thread:
        """Starts a thread on this host, for code that blocks.

        Threads of a World take turns: one runs until it waits.

        Args:
            function: What it calls.
            arguments: With what.
            name: The thread's.
            daemon: As `threading.Thread` has it.

        Raises:
            RuntimeError: Outside of `with World()`.
            TypeError: A coroutine function, which only a loop runs.
        """
        called = getattr(function, "__qualname__", repr(function))
        if asyncio.iscoroutinefunction(function):
            raise TypeError(f"{called} is a coroutine function: use host.spawn in World.run")

        def on_this_host() -> None:
            try:
                with self.active():
                    function(*arguments)
            except Exception as error:
                self.world.note_failure(error)
                raise

        made = threading.Thread(
            target=on_this_host, name=name or f"{self.name}: {called}", daemon=daemon
        )
        self.world.start(made)
        return made

    def __repr__(self) -> str:
        return f"<Host {self.name}>"
