"""NICs on what the kernel has: TAP, TUN (Linux: tun(4)), packet sockets (packet(7))."""

from __future__ import annotations

import errno
from typing import Any

from pystack._native import ffi, lib
from pystack.nic.base import Layer, Nic, made, valid_mtu

_TUNTAP_MESSAGES = {
    errno.ENOENT: (
        "no /dev/net/tun here: load the kernel's module tun (modprobe tun), pass the device into "
        "the container, or use an in-memory wire (pystack.nic.wire)"
    ),
    errno.ENODEV: "the kernel has no TUN/TAP driver: load its module tun (modprobe tun)",
    errno.EPERM: (
        "a TAP or TUN is made by root (CAP_NET_ADMIN); root can make one for you: "
        "ip tuntap add dev NAME mode tap user YOU"
    ),
    errno.EACCES: "/dev/net/tun may not be opened by this user",
    errno.EBUSY: "another program has this device, or it is of the other kind (TAP, TUN)",
    errno.EINVAL: (
        "this device is of the other kind (TAP, TUN), or it has several queues and was asked for "
        "without `queues`, or one and with; or others share it by another number of `queues`"
    ),
    errno.EUSERS: "as many share this device already as `queues` says",
    errno.EOPNOTSUPP: "TAP and TUN devices can be had on Linux only; see pystack.nic.Descriptor",
}

_PACKET_MESSAGES = {
    errno.EPERM: "a packet socket needs CAP_NET_RAW: run as root, or use a TAP made for this user",
    errno.EACCES: "`pystack run` keeps programs from packet sockets; with --no-strict it does not",
    errno.ENODEV: "there is no such device; `ip link` lists them",
    errno.EOPNOTSUPP: "packet sockets can be had on Linux only",
}


# Of one device; each who shares it has one.
_MOST_QUEUES = 64


def _name(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) > 15 or b"/" in encoded or b"\0" in encoded:
        raise ValueError(f"a device's name has at most 15 bytes, and no slash: {name!r}")
    return encoded


class _TunTap(Nic):
    def __init__(
        self, layer: Layer, name: str, mtu: int | None, offload: bool, queues: int
    ) -> None:
        buffer = ffi.new("char[16]", _name(name))
        error = ffi.new("int *")
        wanted = 0 if mtu is None else valid_mtu(mtu)
        if not 1 <= queues <= _MOST_QUEUES:
            raise ValueError(f"a device has from 1 to {_MOST_QUEUES} queues, not {queues}")
        pointer = lib.ps_nic_tuntap(buffer, layer.value, wanted, offload, queues, error)
        super().__init__(made(pointer, error, _TUNTAP_MESSAGES))
        self._name = str(ffi.string(buffer).decode())

    @property
    def name(self) -> str:
        """The device's name."""
        return self._name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name} mtu={self.mtu}>"


class Tap(_TunTap):
    """A TAP device: Ethernet frames to and from this machine's kernel (tun(4)).

    Opened if it is there and free, else made, which needs root; one that was made goes when it
    is closed. The kernel's side is configured with ordinary tools, as `ip address add`.

    Args:
        name: The device; empty: the kernel finds a name.
        mtu: Bytes of IP packet; default: the device's.
        offload: Let the kernel finish checksums and cut long TCP packets into segments, both
            ways, as far as it does; `offloads` says how far. A NIC around this one, and Python
            that looks at frames, sees ordinary ones all the same.
        queues: How many Stacks may share the device, in as many processes as you like; up to 64.
            All who do say the same number, and give their Stacks the same addresses. Each
            connection is one Stack's: an incoming one goes to whom the kernel chooses, if it
            listens (so let all listen), and an outgoing one is its maker's. Questions (ARP,
            neighbour solicitation, ping) are answered once, and answers reach everybody.
            Each Stack chooses its own ports from a part of the range of its own: attaching it
            narrows its sysctls "net.ipv4.ip_local_port_first" and "_last". Frames come to a
            queue that a Stack has, and to no other.

    Raises:
        ValueError: The name, the MTU, or the number of queues.
        PermissionError: Neither root nor the device's user.
        FileNotFoundError: The kernel offers no TAP.
        OSError: EBUSY, another program has it; EUSERS, so many share it already; EINVAL, it has
            one queue and several are asked for, or the other way round, or others share it by
            another number; EOPNOTSUPP, not on this system.
    """

    def __init__(
        self, name: str = "", mtu: int | None = None, *, offload: bool = True, queues: int = 1
    ) -> None:
        super().__init__(Layer.ETHERNET, name, mtu, offload, queues)


class Tun(_TunTap):
    """A TUN device: IP packets to and from this machine's kernel; else as `Tap`."""

    def __init__(
        self, name: str = "", mtu: int | None = None, *, offload: bool = True, queues: int = 1
    ) -> None:
        super().__init__(Layer.IP, name, mtu, offload, queues)


class Packet(Nic):
    """Raw frames on an existing device of the kernel's (packet(7)), beside the kernel itself.

    The kernel sees the same frames, and may answer them too: give the Stack an address and a
    MAC that the kernel has not.

    Args:
        device: The device's name.
        promiscuous: Take frames to other MACs than the device's; a Stack with a MAC of its own
            needs that.

    Raises:
        PermissionError: Without CAP_NET_RAW.
        OSError: ENODEV, no such device.
    """

    def __init__(self, device: str, *, promiscuous: bool = False) -> None:
        error = ffi.new("int *")
        name = ffi.new("char[]", _name(device))
        pointer: Any = lib.ps_nic_packet(name, promiscuous, error)
        super().__init__(made(pointer, error, _PACKET_MESSAGES))
        self.name = device
