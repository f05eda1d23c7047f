"""`Stack`: one running engine with its interfaces, sockets, tables and tunables."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random as SeededRandom
from random import SystemRandom
from types import TracebackType
from typing import Any, TypeVar

from pystack import nic as nics
from pystack._native import StackHandle, ffi, lib
from pystack._native.address import Address, mac_to_bytes
from pystack._native.address import Interface as AddressWithNetwork
from pystack._native.answers import Answers
from pystack._native.ending import LINGER, deliver_before
from pystack.hypercalls import Clock, FrameOut, Log, Memory, Panic, Random
from pystack.interface import Interface, gateways
from pystack.probe import PingResult, TracerouteResult, ping, traceroute
from pystack.services import StackServices
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

Self = TypeVar("Self", bound="Stack")

MEMORY_LIMIT = 256 << 20
LOOPBACK_INDEX = 1


@dataclass(frozen=True)
class ArenaStatistics:
    """The accounts of a Stack's memory.

    Attributes:
        limit_bytes: What it may use.
        used_bytes: What it uses, the arena's own headers included.
        peak_bytes: The most that it has used.
        allocations: Blocks given so far.
        frees: Blocks taken back so far.
        failures: Allocations that failed: at the limit, injected, or by the system.
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
    """The memory of one Stack: its limit, its accounts, its injected failures."""

    def __init__(self, handle: StackHandle) -> None:
        self._handle = handle

    def statistics(self) -> ArenaStatistics:
        """The accounts now; also of a closed Stack."""
        raw = ffi.new("struct ps_arena_statistics *")
        self._handle.check(lib.ps_stack_arena(self._handle.pointer, raw))
        return ArenaStatistics(
            *(int(getattr(raw, name)) for name in ArenaStatistics.__dataclass_fields__)
        )

    def __getattr__(self, name: str) -> int:
        if name not in ArenaStatistics.__dataclass_fields__:
            raise AttributeError(name)
        return int(getattr(self.statistics(), name))

    def set_limit(self, limit_bytes: int) -> None:
        """Changes how much memory the Stack may use; what it uses already stays."""
        self._handle.check(lib.ps_stack_arena_limit(self._handle.pointer, limit_bytes))

    def fail_allocations(self, *, after: int, count: int = 1) -> None:
        """Makes allocations fail, to see what becomes of it.

        Args:
            after: How many succeed before.
            count: How many then fail; 0 ends it.
        """
        self._handle.check(lib.ps_stack_arena_fail(self._handle.pointer, after, count))


class Stack(StackServices):
    """A complete TCP/IP stack in this process.

    It starts with a loopback interface (127.0.0.1, ::1); `attach` gives it others. Any number
    of threads may use it. A child that `os.fork` makes has all its sockets, as it would have the
    kernel's, and may make more; it can't change the Stack itself (`OSError`, EREMOTE), and has
    nothing when this process has ended (EOWNERDEAD).

    Args:
        engine: Which compiled stack: "lwip"; or "gvisor", gVisor's netstack, once it has been
            built on this machine (`pystack lab setup gvisor`). A child process can't make a
            Stack of an engine in Go that its parent has used.
        memory_limit: Bytes that it may use at most. An engine in Go has its memory from Go's
            own heap, and next to nothing of it here.
        seed: Makes its random numbers repeatable. None: the operating system's, as is needed
            wherever somebody else is on the wire.
        threaded: Whether a thread drives it. Without one it moves only in `step` and while
            a call waits.
        clock: Answers the hypercall for the time; see `pystack.hypercalls` for this and the
            following. None: the native answer.
        memory: Gives the arena its blocks.
        random: Gives random numbers; `seed` is not used then.
        frame_out: Sees each outgoing frame, and may keep it from the wire.
        log: Takes lines of text. None: warnings and worse go to stderr.
        panic: Is told when the engine fails.

    Attributes:
        arena: Its memory.
        sockets: The module `socket` on this Stack.
        neighbours: ARP and neighbour discovery's table.
        routes: The routing table of both families.
        sysctl: What can be tuned, by name.

    Raises:
        ValueError: No such engine.
        OSError: The engine can't be loaded or started; the message says why. ENOENT: it has to
            be built first.
    """

    def __init__(
        self,
        *,
        engine: str = "lwip",
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
        answers = Answers(
            clock=clock, memory=memory, random=random, frame_out=frame_out, log=log, panic=panic
        )
        handle = StackHandle(
            answers, engine=engine, memory_limit=memory_limit, seed=seed, threaded=threaded
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
        """Closes all sockets, delivers what they had accepted, and gives everything back.

        Sockets end as those of a process do that ends: what was accepted for sending is sent, and
        a FIN after it; one with unread data, or with SO_LINGER of 0 s, is reset. Calls that wait on
        the Stack end with EBADF, and so do later ones. It is over when peers have acknowledged
        all, or none of them takes any more. May be called again.

        Args:
            linger: Seconds without any progress after which the rest is given up; its peers get a
                reset, and the log a line. 0: at once. Default: the attribute. Under a clock that is
                turned by hand nothing is waited for: step the Stack before.
            abrupt: Vanish without a word.

        Raises:
            ValueError: `linger` is negative.
            OSError: EDEADLK, from inside one of its own hypercalls.
            KeyboardInterrupt: Ctrl-C; the Stack is closed all the same, what is left is given up.
        """
        if linger is not None:
            self.linger = linger
        nics_kept = list(self._handle.kept.values())
        self._handle.close(abrupt=abrupt)
        for nic in nics_kept:
            nic._listen_to(None)

    @property
    def closed(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._handle.closed

    @property
    def linger(self) -> float:
        """Seconds without progress after which `close`, or the interpreter's exit, gives up.

        Initially 60. Exit ends all Stacks that are open in this way, after exit handlers (atexit),
        threads and pools.

        Raises:
            ValueError: Set to less than 0.
        """
        return self._handle.linger

    @linger.setter
    def linger(self, seconds: float) -> None:
        self._handle.linger = seconds

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def engine(self) -> tuple[str, str]:
        """The engine's name and release, as ("lwip", "2.2.1")."""
        name, release = ffi.new("char const **"), ffi.new("char const **")
        if self.closed:
            raise OSError(errno.EBADF, "the Stack is closed")
        lib.ps_stack_engine(self._handle.pointer, name, release)
        return ffi.string(name[0]).decode(), ffi.string(release[0]).decode()

    def step(self, timeout: float = 0.0) -> float | None:
        """Moves a Stack without a driver's thread: frames that have come, timers that are due.

        Args:
            timeout: Seconds of real time to wait for something to be due.

        Returns:
            Seconds of the Stack's clock until its next timer; None: there is none.

        Raises:
            OSError: EBUSY, somebody else drives it.
        """
        until = ffi.new("uint64_t *")
        deadline = time.monotonic() + timeout
        left = timeout
        while True:
            result = lib.ps_stack_run(self._handle.pointer, round(left * 1e6), until)
            left = deadline - time.monotonic()
            if result != -errno.EINTR or left <= 0:
                break
        if result == -errno.EBUSY:
            raise OSError(errno.EBUSY, "somebody else drives this Stack: its thread, or a waiter")
        if result != -errno.EINTR:
            self._handle.check(result)
        return None if until[0] == 0xFFFFFFFFFFFFFFFF else until[0] / 1e6

    def fail(self, text: str = "failed on purpose") -> None:
        """Fails an assertion inside the engine, to see how a program takes it.

        Raises:
            StackPanic: Always; the Stack is lost.
        """
        encoded = ffi.new("char[]", text.encode())
        self._handle.check(lib.ps_stack_fail(self._handle.pointer, encoded))

    # --- interfaces ------------------------------------------------------------------------

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
        """Puts a NIC on the Stack.

        Args:
            nic: The wire's end; also any object with the protocol `nic.NicProtocol`.
            addresses: With their networks, as "10.0.0.2/24" or "fd00::2/64".
            gateway: The router for what is not on the wire; one for each family.
            name: Default: "eth0" or "tun0", and so on.
            mtu: Bytes of IP packet; default: the NIC's.
            mac: Default: the NIC's (those who share a device have one), or a random one of the
                locally administered kind.
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
            raise ValueError("one gateway a family")
        spec = self._interface_spec(wire, name, mtu, mac, up)
        index = lib.ps_attach(self._handle.pointer, wire._pointer, spec)
        if index == -errno.EBUSY:
            raise OSError(errno.EBUSY, "the NIC is in use: by a Stack, or inside another NIC")
        self._handle.check(index)
        self._handle.kept[index] = wire
        wire._listen_to(self._handle.answers)
        self._handle.remains.waits &= not any(wire._sinks())
        interface = Interface(self._handle, index, wire)
        try:
            self._share_ports(*wire.queue)
            for address in addresses:
                interface.addresses.add(address, detect=detect)
            for hop in hops:
                network = "0.0.0.0/0" if hop.version == 4 else "::/0"
                self.routes.add(network, gateway=hop, interface=interface)
        except BaseException:
            interface.detach()
            raise
        return interface

    def _share_ports(self, place: int, count: int) -> None:
        """Takes one of `count` parts of the range from which the Stack chooses its own ports.

        Stacks that share an address could choose the same port for the same peer else.
        """
        if count == 1:
            return
        first, last = (f"net.ipv4.ip_local_port_{end}" for end in ("first", "last"))
        begin = self.sysctl[first]
        each = (self.sysctl[last] + 1 - begin) // count
        if each > 0:
            self.sysctl[last] = begin + (place + 1) * each - 1
            self.sysctl[first] = begin + place * each

    def _interface_spec(
        self, wire: nics.Nic, name: str | None, mtu: int | None, mac: str | bytes | None, up: bool
    ) -> Any:
        spec = ffi.new("struct ps_interface *")
        spec.layer = wire.layer.value
        spec.mtu = wire.mtu if mtu is None else mtu
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
        if mac is None:  # any that is locally administered, and no group
            mac = b"\x02" + self._chance.randbytes(5)
        ffi.memmove(spec.mac, mac_to_bytes(mac), 6)
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

        They are the engine's own; lwIP's have 32 bits, and wrap. Besides the MIBs' there are
        "assertions" (inputs that led lwIP where its authors thought that none could: dropped, see
        `StackPanic`), "tcp.syncookies_sent", "_received" and "_failed", "tcp.listen_overflows"
        (handshakes that found the backlog full), "tcp.listen_drops" (SYNs and last ACKs that were
        dropped) and "tcp.answers_skipped" (not sent, for the limits of RFC 5961 7).
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

    def installed(self, *, strict: bool = False) -> AbstractContextManager[None]:
        """Puts this Stack's sockets into the module `socket`, for the whole process, in a block.

        ``with stack.installed(): requests.get(...)``. Sockets that are open keep working, and
        families other than the Internet's stay the kernel's. What modules took out of `socket`
        before is carried over: names, and the class `socket.socket` wherever it is held, but not
        classes that were derived from it. TLS (`ssl.SSLContext.wrap_socket`) and asyncio's stock
        event loop work as they do on the kernel's sockets; uvicorn's "auto" is that loop. uvloop
        and pyzmq, which open sockets of their own, raise `OffStackError` when asked for one.

        Args:
            strict: Refuse whatever else in Python would go by the kernel's network: sockets of
                derived classes and of `_socket` (AF_PACKET's too), the host's resolver
                (`OffStackError`), the import of gevent, eventlet and other event loops
                (`ImportError`, upon which libraries that have a choice choose otherwise). C
                libraries and child programs ask the kernel itself, see `pystack run`.
                `pystack.outside` is the way for a NIC's own traffic.
        """
        return self.sockets.installed(strict=strict)

    def active(self, *, strict: bool = False) -> AbstractContextManager[None]:
        """As `installed`, for this thread or asyncio task and the tasks it starts, in a block.

        Other threads and tasks keep the kernel's sockets; what the block's tasks give to asyncio's
        executor of threads (`loop.getaddrinfo` does) belongs to the block.
        """
        return self.sockets.active(strict=strict)

    def ping(
        self,
        destination: Address | str,
        *,
        count: int = 1,
        size: int = 56,
        interval: float = 1.0,
        timeout: float = 1.0,
        ttl: int | None = None,
    ) -> PingResult:
        """Sends echo requests and waits for the answers (RFC 792, RFC 4443 4).

        Args:
            destination: An address or a name.
            count: How many.
            size: Bytes of data in each.
            interval: Seconds between two.
            timeout: Seconds to wait for each answer.
            ttl: Time to live or hop limit; default: the sysctl's.

        Raises:
            socket.gaierror: There is no such name.
            OSError: ENETUNREACH, no route; EMSGSIZE, too large.
        """
        return ping(
            self.sockets,
            str(destination),
            count=count,
            size=size,
            interval=interval,
            timeout=timeout,
            ttl=ttl,
        )

    def traceroute(
        self,
        destination: Address | str,
        *,
        hops: int = 30,
        probes: int = 3,
        timeout: float = 1.0,
    ) -> TracerouteResult:
        """Finds the routers on the way, by echo requests of growing time to live.

        Args:
            destination: An address or a name.
            hops: The most routers to look for.
            probes: Requests to each.
            timeout: Seconds to wait for each answer.

        Raises:
            socket.gaierror: There is no such name.
            OSError: ENETUNREACH, no route.
        """
        return traceroute(self.sockets, str(destination), hops=hops, probes=probes, timeout=timeout)

    def __repr__(self) -> str:
        if self.closed:
            return "<Stack closed>"
        panic = self._handle.panic_text()
        if panic is not None:
            return f"<Stack panicked: {panic}>"
        try:
            return f"<Stack {' '.join(self.engine)} {self.interfaces!r}>"
        except OSError as error:
            return f"<Stack: {error}>"
