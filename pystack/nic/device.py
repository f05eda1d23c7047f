"""NICs on the kernel's devices: TAP, TUN (Linux: tun(4)), packet sockets (packet(7))."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

from pystack._native import ffi, lib
from pystack._native.values import hinted, text, whole
from pystack.nic.base import Layer, Nic, valid_mtu

_PACKET_MESSAGES = {
    errno.EPERM: "a packet socket needs CAP_NET_RAW: be root, or use a TAP created for you",
    errno.EACCES: "`pystack run` refuses packet sockets; --no-strict allows them",
    errno.ENODEV: "no such device; `ip link` lists them",
    errno.ENETDOWN: "the device is down: `ip link set {device} up`",
    errno.EOPNOTSUPP: "packet sockets are available on Linux only",
}


# Per device; each Stack that shares it has one.
_MOST_QUEUES = 64


def encoded_name(name: str) -> bytes:
    """A device's name for the kernel.

    Raises:
        ValueError: It is too long, or has a slash or a null byte.
    """
    encoded = text(name, "a device's name", "tap0").encode()
    if len(encoded) > 15 or b"/" in encoded or b"\0" in encoded:
        raise ValueError(f"a device's name has at most 15 bytes and no slash: {name!r}")
    return encoded


# The flags of an open device (tun(4)), as /sys shows them.
_IFF_TUN, _IFF_MULTI_QUEUE = 0x1, 0x100


def _flags_of(name: str) -> int | None:
    """A device's flags, if it is a TAP or TUN and can be seen."""
    place = Path("/sys/class/net", name)
    try:
        if int((place / "ifindex").read_text()) != socket.if_nametoindex(name):
            return None  # /sys shows another network namespace
        return int((place / "tun_flags").read_text(), 16)
    except (OSError, ValueError):
        return None


def _exists(name: str) -> bool:
    try:
        return socket.if_nametoindex(name) != 0
    except OSError:
        return False


def _add(mode: str, name: str, queues: int, user: bool = False) -> str:
    """The command that makes the device that is wanted."""
    words = ["ip tuntap add dev", name or f"{mode}0", "mode", mode]
    if user:
        words += ["user", _user()]
    return " ".join([*words, *["multi_queue"][: queues - 1]])


def _user() -> str:
    if not hasattr(os, "getuid"):
        return "YOU"
    import pwd  # noqa: PLC0415 - not on every system

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _delete(mode: str, name: str, flags: int | None) -> str:
    words = f"ip tuntap delete dev {name} mode {mode}"
    return f"{words} multi_queue" if flags is not None and flags & _IFF_MULTI_QUEUE else words


def _misfit(mode: str, name: str, queues: int) -> str:
    """Why a device that exists is not the one that is wanted (EINVAL)."""
    flags, other = _flags_of(name), "tun" if mode == "tap" else "tap"
    if flags is None:
        return (
            f"it can't be opened as a {mode.upper()} with `queues` of {queues}: it is of another "
            f"kind, or has another number of queues (`ip -d link show {name}` says so); name "
            "another, or none for a new one"
        )
    there = other if bool(flags & _IFF_TUN) is (mode == "tap") else mode
    anew = f"make it anew: {_delete(there, name, flags)}; {_add(mode, name, queues)}"
    if there == other:
        kind = other.capitalize()
        return f"it is a {other.upper()}: open it by nic.{kind} (--nic {other}:{name}), or {anew}"
    if flags & _IFF_MULTI_QUEUE and queues == 1:
        return f"it has several queues, and `queues` is 1: give their number, or {anew}"
    if not flags & _IFF_MULTI_QUEUE and queues > 1:
        return f"it has one queue, and `queues` is {queues}: leave it out, or {anew}"
    return f"others share it with another number of queues than {queues}: all give the same"


def _tuntap_message(code: int, layer: Layer, name: str, queues: int) -> str:
    """What an errno says of opening a TAP or TUN, and what to do."""
    mode = "tun" if layer is Layer.IP else "tap"
    mine = _add(mode, name, queues, user=True)
    if code == errno.EPERM and name and _exists(name):
        mine = f"{_delete(mode, name, _flags_of(name))}; {mine}"
    messages = {
        errno.ENOENT: (
            "no /dev/net/tun: load the kernel module tun (modprobe tun), pass the device into the "
            "container, or use an in-memory wire (pystack.nic.wire)"
        ),
        errno.ENODEV: "the kernel has no TUN/TAP driver: load the module tun (modprobe tun)",
        errno.EBUSY: (
            "another program has it open (`ip -d tuntap` says which): end that, or name another "
            "device"
        ),
        errno.EUSERS: f"all {queues} `queues` of it are taken: end a program that has one",
        errno.EOPNOTSUPP: "there are TAPs and TUNs on Linux only; see pystack.nic.Descriptor",
        errno.EACCES: (
            "this user may not open /dev/net/tun: root has to allow it, and to create "
            f"a device for you: {mine}"
        ),
        errno.EPERM: (
            f"it is another user's; root can make it yours: {mine}"
            if name and _exists(name)
            else f"creating it needs root (CAP_NET_ADMIN); root can create one for you: {mine}"
        ),
    }
    if code == errno.EINVAL:
        messages[code] = _misfit(mode, name, queues)
    return f"{name or f'a new {mode.upper()}'}: {messages.get(code) or os.strerror(code)}"


class _TunTap(Nic):
    def __init__(
        self, layer: Layer, name: str, mtu: int | None, offload: bool, queues: int
    ) -> None:
        buffer = ffi.new("char[16]", encoded_name(name))
        error = ffi.new("int *")
        wanted = 0 if mtu is None else valid_mtu(mtu)
        whole(queues, "queues", 1, _MOST_QUEUES)
        pointer = lib.ps_nic_tuntap(buffer, layer.value, wanted, offload, queues, error)
        if pointer == ffi.NULL:
            code = int(error[0])
            raise OSError(code, _tuntap_message(code, layer, name, queues))
        super().__init__(pointer)
        self._name = str(ffi.string(buffer).decode())

    @property
    def name(self) -> str:
        """The device's name."""
        return self._name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name} mtu={self.mtu}>"


@hinted
class Tap(_TunTap):
    """A TAP device: Ethernet frames to and from this machine's kernel (tun(4)).

    Opens the device if it exists and is free, else creates it, which needs root; a created device
    is removed when it is closed. Configure the kernel's side with the usual tools, as
    `ip address add`.

    Args:
        name: The device; empty: the kernel chooses a name.
        mtu: Bytes of IP packet; default: the device's.
        offload: Let the kernel complete checksums and segment long TCP packets, both ways, as far
            as it can; `offloads` says how far. NICs around this one, and Python code that inspects
            frames, see ordinary ones all the same.
        queues: How many Stacks may share the device, in as many processes as you like; up to 64.
            All of them pass the same number, and have the same addresses. Each connection belongs
            to one Stack: an incoming one to the listening Stack that the kernel chooses (so let
            all listen), an outgoing one to the Stack that opened it. Requests (ARP, neighbour
            solicitation, ping) are answered once, and answers reach every Stack. Each Stack
            chooses its ports from its own part of the range: attaching narrows its sysctls
            "net.ipv4.ip_local_port_first" and "_last". Frames arrive only on queues that a Stack
            holds.

    Raises:
        ValueError: The name, the MTU, or the number of queues.
        PermissionError: Neither root nor the device's user.
        FileNotFoundError: The kernel has no TAP.
        OSError: EBUSY, another program uses it; EUSERS, `queues` Stacks share it already; EINVAL,
            it has one queue and several are wanted, or the other way round, or others share it
            with another number; EOPNOTSUPP, not on this system.
    """

    def __init__(
        self, name: str = "", mtu: int | None = None, *, offload: bool = True, queues: int = 1
    ) -> None:
        super().__init__(Layer.ETHERNET, name, mtu, offload, queues)


@hinted
class Tun(_TunTap):
    """A TUN device: IP packets to and from this machine's kernel; otherwise like `Tap`."""

    def __init__(
        self, name: str = "", mtu: int | None = None, *, offload: bool = True, queues: int = 1
    ) -> None:
        super().__init__(Layer.IP, name, mtu, offload, queues)


@hinted
class Packet(Nic):
    """Raw frames on one of the kernel's devices (packet(7)), beside the kernel itself.

    The kernel sees the same frames, and may answer them too: use an address and a MAC that the
    kernel doesn't have.

    Args:
        device: The device's name.
        promiscuous: Also receive frames for other MACs than the device's, as a Stack with its own
            MAC needs.

    Raises:
        PermissionError: Without CAP_NET_RAW.
        OSError: ENODEV, no such device.
    """

    def __init__(self, device: str, *, promiscuous: bool = False) -> None:
        error = ffi.new("int *")
        name = ffi.new("char[]", encoded_name(device))
        pointer: Any = lib.ps_nic_packet(name, promiscuous, error)
        if pointer == ffi.NULL:
            code = int(error[0])
            told = _PACKET_MESSAGES.get(code) or os.strerror(code)
            raise OSError(code, f"{device!r}: {told.format(device=device)}")
        super().__init__(pointer)
        self.name = device
