"""Makes a TAP in other namespaces, and hands its descriptor back.

    python inside.py SOCKET USER_NS NETWORK_NS NAME MTU MAC [ADDRESS PREFIX GATEWAY]

A program by itself: setns(2) lets nobody into a user namespace who has more than one thread, and
what it changes is for good. The namespaces are descriptors, USER_NS -1 where it is our own. Over
SOCKET goes one datagram: empty with the TAP's descriptor, or the error's text.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import socket
import struct
import sys

NEWUSER, NEWNET = 0x10000000, 0x40000000
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
TAP, NO_PI, VNET_HDR = 0x0002, 0x1000, 0x4000
CHECKSUM, TSO4, TSO6 = 1, 2, 4
VIRTIO_HEADER = 10
SIOCADDRT, SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR = 0x890B, 0x8913, 0x8914, 0x8916
SIOCSIFNETMASK, SIOCSIFMTU, SIOCSIFHWADDR = 0x891C, 0x8922, 0x8924
# Frames that wait for the gateway. The kernel's default, 1000, is full in a few hundredths of a
# second of small ones, and then the acknowledgements of every download are lost with them.
QUEUE_FRAMES = 4000
UP, ETHERNET = 1, 1
RTM_SETLINK, NLM_F_REQUEST, IFLA_TXQLEN = 19, 1, 13
ROUTE_UP, ROUTE_GATEWAY = 1, 2


def enter(namespace: int, kind: int) -> None:
    """Moves this process into a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, kind) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


def open_tap(name: str) -> int:
    """A new TAP that leaves checksums and segments to its reader, as far as this kernel does."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    request = struct.pack("=16sH22x", name.encode(), TAP | NO_PI | VNET_HDR)
    fcntl.ioctl(tap, TUNSETIFF, request)
    fcntl.ioctl(tap, TUNSETVNETHDRSZ, struct.pack("=i", VIRTIO_HEADER))
    for offloads in (CHECKSUM | TSO4 | TSO6, CHECKSUM | TSO4, CHECKSUM, 0):
        try:
            fcntl.ioctl(tap, TUNSETOFFLOAD, offloads)
            break
        except OSError:
            continue
    return tap


def lengthen_queue(name: str) -> None:
    """Gives a device its queue, by rtnetlink(7): ioctl(2) lets nobody in a user namespace.

    Where the kernel refuses that, it keeps the queue that it has.
    """
    link = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0)
    link += struct.pack("=HHI", 8, IFLA_TXQLEN, QUEUE_FRAMES)
    head = struct.pack("=IHHII", 16 + len(link), RTM_SETLINK, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(head + link)


def internet(address: str) -> bytes:
    """A struct sockaddr_in."""
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))


class Device:
    """A device of the namespace that this process is in (netdevice(7))."""

    def __init__(self, control: socket.socket, name: str) -> None:
        self._control, self._name = control, name.encode()

    def set(self, request: int, value: bytes) -> None:
        """Makes a request with its value."""
        fcntl.ioctl(self._control, request, struct.pack("=16s24s", self._name, value))

    def up(self) -> None:
        """Brings it up."""
        packed = struct.pack("=16s24x", self._name)
        (flags,) = struct.unpack_from("=h", fcntl.ioctl(self._control, SIOCGIFFLAGS, packed), 16)
        self.set(SIOCSIFFLAGS, struct.pack("=h", flags | UP))


def configure(name: str, mtu: int, mac: str, given: list[str]) -> None:
    """Sets the device up, and with addresses the loopback device and the default route too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        device = Device(control, name)
        device.set(SIOCSIFMTU, struct.pack("=i", mtu))
        lengthen_queue(name)
        if mac:
            octets = bytes.fromhex(mac.replace(":", ""))
            device.set(SIOCSIFHWADDR, struct.pack("=H6s", ETHERNET, octets))
        if not given:
            return
        address, prefix, gateway = given
        Device(control, "lo").up()
        device.set(SIOCSIFADDR, internet(address))
        mask = (0xFFFFFFFF << 32 - int(prefix)) & 0xFFFFFFFF
        device.set(SIOCSIFNETMASK, internet(socket.inet_ntoa(struct.pack(">I", mask))))
        device.up()
        nowhere = internet("0.0.0.0")
        # struct rtentry: the target, the gateway and the mask between two words of the machine's.
        route = struct.pack("@L", 0) + nowhere + internet(gateway) + nowhere
        route += struct.pack("@HhLPhPLLH", ROUTE_UP | ROUTE_GATEWAY, *[0] * 8)
        fcntl.ioctl(control, SIOCADDRT, route.ljust(128, b"\0"))


def main() -> None:
    """Does it, and tells how it went."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    user, network = int(sys.argv[2]), int(sys.argv[3])
    name, mtu, mac, *given = sys.argv[4:]
    try:
        if user >= 0:
            enter(user, NEWUSER)
        enter(network, NEWNET)
        tap = open_tap(name)
        configure(name, int(mtu), mac, given)
    except OSError as error:
        channel.send(str(error).encode())
        return
    rights = array.array("i", [tap]).tobytes()
    channel.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


if __name__ == "__main__":
    main()
