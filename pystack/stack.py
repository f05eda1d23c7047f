"""`Stack`: a running engine with its interfaces, sockets, tables and settings."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random as SeededRandom
from random import SystemRandom
from typing import Any

from pystack import nic as nics
from pystack._native import OUTSIDE_WORDS, StackHandle, WorldClock, ffi, lib
from pystack._native.address import Address, own_mac_to_bytes
from pystack._native.address import Interface as AddressWithNetwork
from pystack._native.answers import Answers
from pystack._native.attributes import KnownAttributes
from pystack._native.closing import Closing
from pystack._native.ending import LINGER, deliver_before
from pystack._native.engines import default_engine
from pystack._native.shown import shown
from pystack._native.values import hinted, number
from pystack._native.values import text as needed_text
from pystack.dial import StackDialing
from pystack.hypercalls import Clock, FrameOut, Log, Memory, Panic, Random
from pystack.intercept.mixin import StackIntercept
from pystack.interface import Interface, gateways, mtu_to_c, mtu_words
from pystack.probe import StackProbes
from pystack.services import StackServices
from pystack.serving import serving_of
from pystack.snapshot import Snapshot
from pystack.sockets import Socket
from pystack.sockets.joining import socket_module
from pystack.sysctl import Sysctl
from pystack.tables import (
    Connection,
    NeighbourTable,
    RouteTable,
    list_connections,
    list_counters,
)

__all__ = ["LINGER", "Arena", "Stack", "deliver_before"]


MEMORY_LIMIT = 256 << 20
LOOPBACK_INDEX = 1


@dataclass(frozen=True)
class ArenaStatistics:
    """How a Stack uses its memory.

    Attributes:
        limit_bytes: The most it may use.
        used_bytes: In use, including the arena's headers.
        peak_bytes: The most used so far.
        allocations: Blocks allocated so far.
        frees: Blocks freed so far.
        failures: Failed allocations: at the limit, injected, or for want of system memory.
        live_blocks: Blocks in use.
    """

    limit_bytes: int
    used_bytes: int
    peak_bytes: int
    allocations: int
    frees: int
    failures: int
    live_blocks: int


class Arena:
    """The memory of one Stack: its limit, its use, injected failures."""

    def __init__(self, handle: StackHandle) -> None:
        self._handle = handle

    def statistics(self) -> ArenaStatistics:
        """A snapshot; works on a closed Stack, too."""
        raw = ffi.new("struct ps_arena_statistics *")
        self._handle.check(lib.ps_stack_arena(self._handle.pointer, raw))
        return ArenaStatistics(
            *(int(getattr(raw, name)) for name in ArenaStatistics.__dataclass_fields__)
        )

    def __getattr__(self, name: str) -> int:
        if name not in ArenaStatistics.__dataclass_fields__:
            names = ", ".join(ArenaStatistics.__dataclass_fields__)
            raise AttributeError(f"an Arena has no {name!r}, but {names}")
        return int(getattr(self.statistics(), name))

    def set_limit(self, limit_bytes: int) -> None:
        """Changes how much memory the Stack may use; memory already in use is kept."""
        self._handle.check(lib.ps_stack_arena_limit(self._handle.pointer, limit_bytes))

    def __repr__(self) -> str:
        return shown(self, self._told)

    def _told(self) -> str:
        now = self.statistics()
        return f"<Arena {now.used_bytes} of {now.limit_bytes} bytes in {now.live_blocks} blocks>"

    def fail_allocations(self, *, after: int, count: int = 1) -> None:
        """Makes allocations fail on purpose.

        Args:
            after: How many succeed first.
            count: How many fail then; 0 cancels.
        """
        self._handle.check(lib.ps_stack_arena_fail(self._handle.pointer, after, count))


class Stack(StackServices, StackProbes, StackDialing, StackIntercept, KnownAttributes, Closing):
    """A complete TCP/IP stack in this process.

    It starts with a loopback interface (127.0.0.1, ::1); `attach` adds others. Any number of
    threads may use it. A child after `os.fork` inherits its sockets, as it would the kernel's, and
    may open more. It can't change the Stack itself (`OSError`, EREMOTE), and loses it when this
    process ends (EOWNERDEAD).

    Args:
        engine: "lwip"; or, once they have been built on this machine (`pystack engine build NAME`),
            "gvisor", gVisor's netstack, and "linux". None: what the environment variable
            PYSTACK_ENGINE names, else "lwip". A child process can't create a Stack of a Go engine
            that its parent has used.
        memory_limit: Bytes that it may use. A Go engine allocates from Go's heap, which this
            doesn't limit.
        seed: Makes its random numbers repeatable. None: the operating system's; use these wherever
            you don't control everything on the wire.
        threaded: Whether a thread drives it. Without one it moves only in `step` and while
            a call waits.
        clock: Answers the hypercall for the time; see `pystack.hypercalls` for this and the
            following. None: the native answer.
        memory: Supplies the arena's blocks.
        random: Supplies random numbers; `seed` is ignored then.
        frame_out: Sees each outgoing frame, and may drop it.
        log: Takes lines of text. None: warnings and errors go to stderr.
        panic: Called when the engine fails.

    Attributes:
        arena: Its memory.
        sockets: The module `socket` on this Stack.
        neighbours: The ARP and neighbour discovery table.
        routes: The routing table of both families.
        sysctl: Its settings, by name.

    Raises:
        ValueError: No such engine.
        TypeError: An object without the methods of its protocol; a seed that is no int.
        OSError: The engine can't be loaded or started; the message says why. ENOENT: build it
            first.
    """

    _own_attributes = frozenset({"arena", "neighbours", "routes", "sockets", "sysctl"})

    @hinted
    def __init__(
        self,
        *,
        engine: str | None = None,
        memory_limit: int = MEMORY_LIMIT,
        seed: int | None = None,
        threaded: bool = True,
        clock: Clock | None = None,
        memory: Memory | None = None,
        random: Random | None = None,
        frame_out: FrameOut | None = None,
        log: Log | None = None,
        panic: Panic | None = None,
    ) -> None:
        world = clock if isinstance(clock, WorldClock) else None
        answers = Answers(
            clock=None if world is not None else clock,
            memory=memory,
            random=random,
            frame_out=frame_out,
            log=log,
            panic=panic,
        )
        handle = StackHandle(
            answers,
            engine=default_engine() if engine is None else engine,
            memory_limit=memory_limit,
            seed=seed,
            threaded=threaded and world is None,
            world=world,
        )
        self._handle = handle
        # For MACs; repeatable where the Stack is.
        self._chance: Random = random or (SystemRandom() if seed is None else SeededRandom(seed))
        self.arena = Arena(handle)
        self.neighbours = NeighbourTable(handle)
        self.routes = RouteTable(handle)
        self.sysctl = Sysctl(handle)
        self.sockets = socket_module(handle)

    # --- life ------------------------------------------------------------------------------

    def close(self, *, linger: float | None = None, abrupt: bool = False) -> None:
        """Closes all sockets, delivers what they had accepted, and frees everything.

        Sockets end as at the end of a process: data accepted for sending is sent, followed by a
        FIN; a socket with unread data, or with SO_LINGER of 0 s, is reset. Calls waiting on the
        Stack fail with EBADF, as do later ones. Returns when peers have acknowledged everything,
        or stopped doing so. May be called again.

        Args:
            linger: Seconds without progress after which the rest is given up: peers get a reset,
                and the log says how much was lost. 0: at once. Default: the attribute. Under a
                clock you turn by hand it waits for nothing: step the Stack first.
            abrupt: Send nothing at all.

        Raises:
            ValueError: `linger` is negative.
            OSError: EDEADLK, from inside one of its own hypercalls.
            DeadlockError: This thread's event loop carries its frames (`nic.Async`): await
                `aio.close`, or write ``async with`` for ``with``.
            KeyboardInterrupt: Ctrl-C; the Stack is closed all the same, undelivered data is lost.
        """
        if linger is not None:
            self.linger = linger
        nics_kept = list(self._handle.kept.values())
        if not abrupt and self.linger > 0:
            self._handle.need_another_thread()
        serving = serving_of(self._handle)
        if serving is not None:
            serving.close(abrupt=abrupt)
        self._handle.close(abrupt=abrupt)
        for nic in nics_kept:
            nic._listen_to(None)

    @property
    def closed(self) -> bool:
        """Whether it is closed or closing."""
        return self._handle.closed

    @property
    def linger(self) -> float:
        """Seconds without progress after which `close`, or the interpreter's exit, gives up.

        Initially 60. Exit closes all open Stacks this way, after exit handlers (atexit), threads
        and pools.

        Raises:
            ValueError: Set to less than 0.
        """
        return self._handle.linger

    @linger.setter
    def linger(self, seconds: float) -> None:
        self._handle.linger = seconds

    @property
    def engine(self) -> tuple[str, str]:
        """The engine's name and release, as ("lwip", "2.2.1")."""
        name, release = ffi.new("char const **"), ffi.new("char const **")
        self._handle.need_open()
        lib.ps_stack_engine(self._handle.pointer, name, release)
        return ffi.string(name[0]).decode(), ffi.string(release[0]).decode()

    def step(self, timeout: float = 0.0) -> float | None:
        """Moves a Stack that no thread drives: handles arrived frames and due timers.

        Args:
            timeout: Seconds of real time to wait for something to do.

        Returns:
            Seconds of the Stack's clock until its next timer; None: there is none.

        Raises:
            OSError: EBUSY, its thread or another call drives it.
        """
        until = ffi.new("uint64_t *")
        left = number(timeout, "timeout", unit="seconds")
        deadline = time.monotonic() + left
        while True:
            result = lib.ps_stack_run(self._handle.pointer, round(left * 1e6), until)
            left = deadline - time.monotonic()
            if result != -errno.EINTR or left <= 0:
                break
        if result == -errno.EBUSY:
            raise OSError(errno.EBUSY, "another call, or its own thread, drives this Stack")
        if result != -errno.EINTR:
            self._handle.check(result)
        return None if until[0] == 0xFFFFFFFFFFFFFFFF else until[0] / 1e6

    def snapshot(self) -> Snapshot:
        """Copies the engine's state, to come back to by `restore`; see the page "hypercalls".

        Raises:
            OSError: EOPNOTSUPP, the engine is one that serves many Stacks (gvisor); EBUSY, other
                processes use the Stack; EBADF, it is closed.
            StackPanic: The engine has failed.
        """
        return Snapshot(self._handle)

    def restore(self, snapshot: Snapshot) -> None:
        """Makes the engine what it was when the snapshot was taken; may be done many times.

        Sockets that were open then go on from there; a `ManualClock` is turned back. Under any
        other clock no time is undone: timers that were due meanwhile run at once. Frames in NICs,
        Python's hypercalls and your own objects stay as they are.

        Raises:
            OSError: ESTALE, a socket that was open then has been closed; EBUSY, another has been
                opened since and is open, a thread waits in a call, or other processes use the
                Stack; ENODEV, other NICs are attached; EXDEV, another Stack's snapshot; EBADF, the
                Stack is closed.
            StackPanic: The engine has failed.
        """
        if not isinstance(snapshot, Snapshot):
            raise TypeError(f"a snapshot is what Stack.snapshot() gives, not {snapshot!r}")
        snapshot.restore(self._handle)

    def fail(self, text: str = "failed on purpose") -> None:
        """Fails an assertion inside the engine, to test how a program copes.

        Raises:
            StackPanic: Always; the Stack is lost.
        """
        encoded = ffi.new("char[]", needed_text(text, "text", "failed").encode())
        self._handle.check(lib.ps_stack_fail(self._handle.pointer, encoded))

    # --- interfaces ------------------------------------------------------------------------

    @hinted
    def attach(
        self,
        nic: nics.Nic | nics.NicProtocol,
        *addresses: AddressWithNetwork | str,
        gateway: Address | str | Iterable[Address | str] | None = None,
        name: str | None = None,
        mtu: int | None = None,
        mac: str | bytes | None = None,
        up: bool = True,
        detect: bool = False,
    ) -> Interface:
        """Attaches a NIC to the Stack.

        Args:
            nic: A `nic.Nic`, or any object with the protocol `nic.NicProtocol`.
            addresses: With their networks, as "10.0.0.2/24" or "fd00::2/64".
            gateway: The default router; one per family.
            name: Default: "eth0" or "tun0", and so on.
            mtu: Bytes of IP packet; default: the NIC's.
            mac: Default: the NIC's (Stacks that share a device share its MAC), or a random, locally
                administered one.
            up: Whether it comes up at once.
            detect: See `AddressList.add`.

        Raises:
            ValueError: Not an address, MAC or name; more than one gateway of a family.
            OSError: EBUSY, the NIC is in use; ENOSPC, too many interfaces or addresses; EEXIST,
                the name is taken; EINVAL, the MTU.
        """
        wire = nics.adapt(nic)
        hops = gateways(gateway)
        if len({hop.version for hop in hops}) != len(hops):
            shown = ", ".join(map(str, hops))
            raise ValueError(f"one gateway a family, not {shown}: give others to `routes.add`")
        spec = self._interface_spec(wire, name, mtu, mac, up)
        index = lib.ps_attach(self._handle.pointer, wire._pointer, spec)
        if index == -errno.EBUSY:
            raise OSError(errno.EBUSY, "the NIC is in use: by a Stack, or inside another NIC")
        name = str(ffi.string(spec.name).decode())
        words = {
            errno.EEXIST: f"another interface of this Stack has the name {name!r}",
            errno.ENOSPC: "a Stack has 255 interfaces at most",
            **OUTSIDE_WORDS,
            **mtu_words(spec.mtu, wire.mtu),
        }
        try:
            self._handle.check(index, words)
        except BaseException:
            if index >= 0:  # a hypercall raised: attached though it is, nobody could detach it
                lib.ps_detach(self._handle.pointer, index)
            raise
        self._handle.kept[index] = wire
        wire._listen_to(self._handle.answers)
        self._handle.remains.waits &= not any(wire._sinks())
        interface = Interface(self._handle, index, wire)
        try:
            self._share_ports(*wire.queue)
            for address in addresses:
                interface.addresses.add(address, detect=detect)
            for hop in hops:
                self._add_default(hop, interface)
        except BaseException:
            interface.detach()
            raise
        return interface

    def _add_default(self, hop: Address, interface: Interface) -> None:
        if any(hop == entry.ip for entry in interface.addresses):
            raise OSError(errno.EINVAL, f"the gateway {hop} is the interface's own address")
        self.routes.add("default", gateway=hop, interface=interface)

    def _share_ports(self, place: int, count: int) -> None:
        """Takes one of `count` parts of the range of ports that the Stack chooses from.

        Otherwise Stacks that share an address could choose the same port for the same peer.
        """
        if count == 1:
            return
        both, first, last = (f"net.ipv4.ip_local_port_{end}" for end in ("range", "first", "last"))
        together = both in self.sysctl  # as Linux has it
        text = str(self.sysctl[both]) if together else f"{self.sysctl[first]} {self.sysctl[last]}"
        begin, end = map(int, text.split())
        each = (end + 1 - begin) // count
        if each <= 0:
            return
        begin, end = begin + place * each, begin + (place + 1) * each - 1
        if together:
            self.sysctl[both] = f"{begin} {end}"
        else:
            self.sysctl[last] = end
            self.sysctl[first] = begin

    def _interface_spec(
        self, wire: nics.Nic, name: str | None, mtu: int | None, mac: str | bytes | None, up: bool
    ) -> Any:
        spec = ffi.new("struct ps_interface *")
        spec.layer = wire.layer.value
        spec.mtu = wire.mtu if mtu is None else mtu_to_c(mtu, wire.mtu)
        spec.flags = lib.PS_IF_UP if up else 0
        if name is None:
            prefix = "eth" if wire.layer is nics.Layer.ETHERNET else "tun"
            taken = {found for _index, found in self.sockets.if_nameindex()}
            name = next(
                f"{prefix}{n}" for n in range(len(taken) + 1) if f"{prefix}{n}" not in taken
            )
        encoded = name.encode()
        if not encoded or len(encoded) >= lib.PS_NAME_SIZE or b"\0" in encoded:
            raise ValueError(f"an interface's name has 1 to {lib.PS_NAME_SIZE - 1} bytes: {name!r}")
        spec.name = encoded
        if mac is None:
            mac = wire.mac
        if mac is None:  # locally administered, not a group
            mac = b"\x02" + self._chance.randbytes(5)
        ffi.memmove(spec.mac, own_mac_to_bytes(mac), 6)
        return spec

    @property
    def interfaces(self) -> list[Interface]:
        """All interfaces, the loopback interface first."""
        return [
            Interface(self._handle, index, self._handle.kept.get(index))
            for index, _name in self.sockets.if_nameindex()
        ]

    @property
    def loopback(self) -> Interface:
        """The interface of 127.0.0.1 and ::1."""
        return Interface(self._handle, LOOPBACK_INDEX, None)

    # --- tables ----------------------------------------------------------------------------

    def connections(self) -> list[Connection]:
        """All sockets and connections, as `netstat -a` shows them; a snapshot."""
        return list_connections(self._handle)

    def counters(self) -> dict[str, int]:
        """The protocols' counters by name (RFC 4293, 4022, 4113), as "tcp.in_segments".

        They are the engine's; lwIP's have 32 bits and wrap. Beyond the MIBs' there are
        "assertions" (input that reached a state lwIP's authors thought impossible, and was dropped:
        see `StackPanic`), "tcp.syncookies_sent", "_received" and "_failed", "tcp.listen_overflows"
        (handshakes that found the backlog full), "tcp.listen_drops" (dropped SYNs and final ACKs)
        and "tcp.answers_skipped" (not sent because of the limits of RFC 5961 7). What became of
        flows to other hosts is in "intercept.flows", "intercept.accepted" and so on.

        The engine linux adds all of Linux's, as nstat(8) names them: "TcpExtTCPTimeouts".
        """
        return list_counters(self._handle)

    # --- sockets ---------------------------------------------------------------------------

    def socket(
        self,
        family: int = socket.AF_INET,
        type: int = socket.SOCK_STREAM,
        proto: int = 0,
    ) -> Socket:
        """A socket of this Stack; see socket(2).

        Raises:
            OSError: EAFNOSUPPORT, ESOCKTNOSUPPORT, EPROTONOSUPPORT; ENOMEM.
        """
        return self.sockets.socket(family, type, proto)

    @hinted
    def installed(self, *, strict: bool = False) -> AbstractContextManager[None]:
        """Puts this Stack's sockets into the module `socket`, for the whole process, in a block.

        ``with stack.installed(): requests.get(...)``. Open sockets keep working, and families
        other than IPv4 and IPv6 stay the kernel's. Names that modules imported from `socket`
        earlier are covered, and so is the class `socket.socket` wherever it is held, but not
        classes derived from it. TLS (`ssl.SSLContext.wrap_socket`) and asyncio's stock event loop
        work as on the kernel's sockets; uvicorn's "auto" selects that loop. Functions of
        uvloop and pyzmq that open their own sockets raise `OffStackError`. Children started by
        Python (`os.fork`, multiprocessing) use the Stack, too.

        Args:
            strict: Refuse everything else in Python that would use the kernel's network: sockets
                of derived classes and of `_socket` (including AF_PACKET), the host's resolver
                (`OffStackError`), importing gevent, eventlet and other event loops (`ImportError`,
                so libraries with a choice choose another); and, on Linux, IPv4 and IPv6 sockets
                in programs that the block starts (EACCES). C libraries in this process ask the
                kernel itself: `pystack run` refuses them, too. `pystack.outside` exempts a NIC's
                own traffic.

        Raises:
            OSError: EBADF, the Stack is closed.
        """
        return self.sockets.installed(strict=strict)

    @hinted
    def active(self, *, strict: bool = False) -> AbstractContextManager[None]:
        """As `installed`, for this thread or asyncio task and the tasks it starts, in a block.

        Other threads and tasks keep the kernel's sockets. Calls that the block's tasks pass to
        asyncio's thread pool (as `loop.getaddrinfo` does) belong to the block.

        Raises:
            OSError: EBADF, the Stack is closed.
        """
        return self.sockets.active(strict=strict)

    def __repr__(self) -> str:
        if self.closed:
            return "<Stack closed>"
        panic = self._handle.panic_text()
        if panic is not None:
            return f"<Stack panicked: {panic}>"
        name = "Stack"
        try:
            name += f" {' '.join(self.engine)}"
            return f"<{name} {self.interfaces!r}>"
        except (OSError, RuntimeError) as error:  # it has just ended
            return f"<{name}: {error}>"
