"""NICs on the kernel's devices: TAP, TUN (Linux: tun(4)), packet sockets (packet(7))."""

from __future__ import annotations

import errno
import os
from typing import Any

from pystack._native import ffi, lib
from pystack.nic.base import Layer, Nic, made, valid_mtu

_TUNTAP_MESSAGES = {
    errno.ENOENT: (
        "no /dev/net/tun: load the kernel module tun (modprobe tun), pass the device into the "
        "container, or use an in-memory wire (pystack.nic.wire)"
    ),
    errno.ENODEV: "the kernel has no TUN/TAP driver: load the module tun (modprobe tun)",
    errno.EBUSY: "another program uses this device, or it is of the other kind (TAP, TUN)",
    errno.EINVAL: (
        "this device doesn't match. It may be of the other kind (TAP or TUN). It may have several "
        "queues where `queues` is 1, or a single one where it isn't. Others may share it with a "
        "different number of `queues`"
    ),
    errno.EUSERS: "`queues` Stacks share this device already",
    errno.EOPNOTSUPP: "TAP and TUN devices are available on Linux only; see pystack.nic.Descriptor",
}

_PACKET_MESSAGES = {
    errno.EPERM: "a packet socket needs CAP_NET_RAW: be root, or use a TAP created for you",
    errno.EACCES: "`pystack run` refuses packet sockets; --no-strict allows them",
    errno.EOPNOTSUPP: "packet sockets are available on Linux only",
}


# Per device; each Stack that shares it has one.
_MOST_QUEUES = 64


def encoded_name(name: str) -> bytes:
    """A device's name for the kernel.

    Raises:
        ValueError: It is too long, or has a slash or a null byte.
    """
    encoded = name.encode()
    if len(encoded) > 15 or b"/" in encoded or b"\0" in encoded:
        raise ValueError(f"a device's name has at most 15 bytes and no slash: {name!r}")
    return encoded


def _tuntap_messages(layer: Layer, name: str) -> dict[int, str]:
    mode = "tun" if layer is Layer.IP else "tap"
    user = os.environ.get("USER") or (os.getuid() if hasattr(os, "getuid") else "YOU")
    remedy = f"ip tuntap add dev {name or f'{mode}0'} mode {mode} user {user}"
    return {
        **_TUNTAP_MESSAGES,
        errno.EPERM: (
            "creating a TAP or TUN needs root (CAP_NET_ADMIN), or this one is another user's; root "
            f"can create one for you: {remedy}"
        ),
        errno.EACCES: (
            "this user may not open /dev/net/tun: root has to allow it, and to create "
            f"a device for you: {remedy}"
        ),
    }


class _TunTap(Nic):
    def __init__(
        self, layer: Layer, name: str, mtu: int | None, offload: bool, queues: int
    ) -> None:
        buffer = ffi.new("char[16]", encoded_name(name))
        error = ffi.new("int *")
        wanted = 0 if mtu is None else valid_mtu(mtu)
        if not 1 <= queues <= _MOST_QUEUES:
            raise ValueError(f"a device has from 1 to {_MOST_QUEUES} queues, not {queues}")
        pointer = lib.ps_nic_tuntap(buffer, layer.value, wanted, offload, queues, error)
        super().__init__(made(pointer, error, _tuntap_messages(layer, name)))
        self._name = str(ffi.string(buffer).decode())

    @property
    def name(self) -> str:
        """The device's name."""
        return self._name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name} mtu={self.mtu}>"


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


class Tun(_TunTap):
    """A TUN device: IP packets to and from this machine's kernel; otherwise like `Tap`."""

    def __init__(
        self, name: str = "", mtu: int | None = None, *, offload: bool = True, queues: int = 1
    ) -> None:
        super().__init__(Layer.IP, name, mtu, offload, queues)


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
        nowhere = f"no such device: {device!r}; `ip link` lists them"
        messages = {**_PACKET_MESSAGES, errno.ENODEV: nowhere}
        super().__init__(made(pointer, error, messages))
        self.name = device
