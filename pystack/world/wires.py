"""What a World's links are made of: memory, or TAP devices that the kernel bridges."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pystack._native import OUTSIDE_WORDS, WorldClock, check, ffi, lib
from pystack.nic import Layer, Nic, Tap
from pystack.sockets.early import kernel_socket

__all__ = ["PACES", "TapWires", "Wires", "choose_wires", "make_bridge", "paced", "plug"]

_CLONE_NEWNET = 0x40000000
# Linux's sockios.h, if.h.
_SIOCBRADDIF = 0x89A2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SIOCGIFINDEX = 0x8933
# rtnetlink.h, if_link.h.
_RTM_NEWLINK, _NEW = 16, 1 | 4 | 0x200 | 0x400  # a request, with an answer; new, or an error
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND, _IFLA_INFO_DATA = 3, 18, 1, 2
_IFLA_BR_MCAST_SNOOPING = 23
_REQUEST = "16s24s"  # struct ifreq, or struct ifreq with a union
_ROOT = (
    "TAP wires need root (CAP_SYS_ADMIN, CAP_NET_ADMIN), or a user namespace: "
    "unshare --map-root-user --net python ..."
)
_STREAMS = 1 << 64
PACES = ("virtual", "real", "tap")
_NO_IPV6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")


class Wires:
    """Links in memory."""

    def open(self) -> None:
        """Makes what all its links need, if that isn't there."""

    def make(
        self, clock: WorldClock, mtu: int, seed: int, settings: Any
    ) -> tuple[tuple[Nic, Nic], tuple[str, str] | None]:
        """A link's two ends, and the devices between them, if there are any.

        Args:
            clock: The World's.
            mtu: Bytes of IP packet.
            seed: What its chance follows: the left end's; the right end's is the next.
            settings: Two `struct ps_link`: of what the left end sends, and the right end.
        """
        return _pair(clock, mtu, seed, settings), None

    def namespace(self) -> str | None:
        """The network namespace where its devices are, as a path; None: it has none."""
        return None

    def close(self) -> None:
        """Removes all. May be called again."""


class TapWires(Wires):
    """Links over TAP devices, in a network namespace of their own.

    Each end of a link has a TAP, and the kernel bridges the two. What an end sends meets the link's
    conditions, and then goes through its TAP, the kernel and the other TAP to the other end.
    """

    def __init__(self) -> None:
        self._namespace = -1
        self._count = 0
        self._taps: list[Nic] = []
        self._bridges: list[Any] = []

    def open(self) -> None:
        """Makes the namespace.

        Raises:
            OSError: EPERM, the user may not; EOPNOTSUPP, the system is not Linux.
        """
        if self._namespace >= 0:
            return
        if sys.platform != "linux":
            raise OSError(errno.EOPNOTSUPP, "TAP wires are available on Linux only")
        with _namespace_of(None):
            # Or the kernel's own frames (RFC 4862, RFC 3810) are on the links.
            if _NO_IPV6.exists():  # else it has none
                _NO_IPV6.write_text("1")
            self._namespace = _own_namespace()

    def namespace(self) -> str | None:
        """The network namespace where its devices are, as a path; None: it has none yet."""
        if self._namespace < 0:
            return None
        return f"/proc/{os.getpid()}/fd/{self._namespace}"

    def make(
        self, clock: WorldClock, mtu: int, seed: int, settings: Any
    ) -> tuple[tuple[Nic, Nic], tuple[str, str] | None]:
        """See `Wires.make`.

        Raises:
            OSError: As `open` and `pystack.nic.Tap` do; EMFILE, there are 64 such links.
        """
        self.open()
        number, self._count = self._count, self._count + 1
        names = f"link{number}-left", f"link{number}-right"
        with _namespace_of(self._namespace):
            taps = [Tap(name, mtu) for name in names]
            self._taps += taps
            _join(f"link{number}", names)
        # From a TAP to its end nothing happens to a frame, and it isn't traced again. The ends have
        # the random numbers that they have in memory.
        plain = ffi.new("struct ps_link *", {"unseen": True, "queue": {"most_frames": 1}})[0]
        near, left = _pair(clock, mtu, seed - 1, (plain, settings[0]))
        right, far = _pair(clock, mtu, seed + 1, (settings[1], plain))
        for end, tap in ((near, taps[0]), (far, taps[1])):
            bridge = make_bridge(clock)
            self._bridges.append(bridge)
            plug(bridge, end)
            plug(bridge, tap)
        return (left, right), names

    def close(self) -> None:
        """Removes the devices and the namespace. May be called again."""
        bridges, self._bridges = self._bridges, []
        taps, self._taps = self._taps, []
        for bridge in bridges:
            ffi.release(bridge)
        for tap in taps:
            tap.close()
        if self._namespace >= 0:
            os.close(self._namespace)
            self._namespace = -1


def _pair(clock: WorldClock, mtu: int, seed: int, settings: Sequence[Any]) -> tuple[Nic, Nic]:
    both = ffi.new("struct ps_link[2]", list(settings))
    pointers = ffi.new("ps_nic *[2]")
    ethernet = Layer.ETHERNET.value
    check(lib.ps_link_create(clock.pointer, mtu, ethernet, seed % _STREAMS, both, pointers))
    return Nic(pointers[0]), Nic(pointers[1])


def make_bridge(clock: WorldClock) -> Any:
    """A switch in C, without ports."""
    out = ffi.new("ps_bridge **")
    check(lib.ps_bridge_create(clock.pointer, out))
    return ffi.gc(out[0], lib.ps_bridge_release)


def plug(bridge: Any, nic: Nic) -> None:
    """Makes a NIC the next port of a switch in C.

    Raises:
        OSError: EBUSY, the NIC is held; EOPNOTSUPP and EMFILE, as with `Switch.attach`.
    """
    code = -lib.ps_bridge_plug(bridge, nic._pointer)
    if code > 0:
        words = OUTSIDE_WORDS.get(code, "the NIC is in use")
        raise OSError(code, f"{os.strerror(code)}: {words}")


def choose_wires(time: str | None, wires: str) -> tuple[bool, Wires]:
    """Whether a World's time is real, and what its links are made of; see `World`.

    Raises:
        ValueError: There is no such time, or are no such wires; or they don't go together.
    """
    if time not in (None, "virtual", "real"):
        raise ValueError(f"a World's time is 'virtual' or 'real', not {time!r}")
    if wires not in ("memory", "tap"):
        raise ValueError(f"a World's wires are 'memory' or 'tap', not {wires!r}")
    if wires == "memory":
        return time == "real", Wires()
    if time == "virtual":
        raise ValueError("the kernel's TAP devices know no virtual time: World(wires='tap') alone")
    return True, TapWires()


def paced(pace: str) -> dict[str, Any]:
    """What a World is told for one of `PACES`: "tap" is real time with links over TAP devices.

    Raises:
        ValueError: It is none.
    """
    if pace not in PACES:
        raise ValueError(f"a World's pace is one of {', '.join(PACES)}, not {pace!r}")
    return {"wires": "tap"} if pace == "tap" else {"time": pace}


# --- the kernel's ------------------------------------------------------------------------------


def _own_namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _call(name: str, *arguments: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        code = ctypes.get_errno()
        words = _ROOT if code == errno.EPERM else name
        raise OSError(code, f"{os.strerror(code)}: {words}")


@contextmanager
def _namespace_of(descriptor: int | None) -> Iterator[None]:
    """In this block this thread is in a network namespace; None: in a new one."""
    own = _own_namespace()
    try:
        if descriptor is None:
            _call("unshare", _CLONE_NEWNET)
        else:
            _call("setns", descriptor, _CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", own, _CLONE_NEWNET)
    finally:
        os.close(own)


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _make_bridge(name: str) -> None:
    """By rtnetlink(7): an ioctl can't have it without snooping, for which it sends frames."""
    options = _attribute(_IFLA_INFO_DATA, _attribute(_IFLA_BR_MCAST_SNOOPING, b"\0"))
    info = _attribute(_IFLA_INFO_KIND, b"bridge\0") + options
    body = bytes(16) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
    body += _attribute(_IFLA_LINKINFO, info)
    head = struct.pack("=IHHII", 16 + len(body), _RTM_NEWLINK, _NEW, 1, 0)
    with closing(kernel_socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)) as sock:
        sock.send(head + body)
        code = -struct.unpack_from("=i", sock.recv(4096), 16)[0]
    if code:
        raise OSError(code, f"{os.strerror(code)}: the kernel makes no bridge {name!r}")


def _join(bridge: str, devices: Sequence[str]) -> None:
    """Has the kernel bridge devices of this thread's namespace, and brings all of them up."""
    _make_bridge(bridge)
    # Of any family; the kernel's own, also where a Stack is installed.
    with closing(kernel_socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
        for name in devices:
            asked = fcntl.ioctl(sock, _SIOCGIFINDEX, struct.pack(_REQUEST, name.encode(), b""))
            index = asked[16:20]
            fcntl.ioctl(sock, _SIOCBRADDIF, struct.pack("16s4s20x", bridge.encode(), index))
        for name in (*devices, bridge):
            asked = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack(_REQUEST, name.encode(), b""))
            flags = struct.unpack_from("=h", asked, 16)[0] | _IFF_UP
            fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("=16sh22x", name.encode(), flags))
