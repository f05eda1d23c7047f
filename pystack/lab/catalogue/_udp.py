"""What cases with a datagram socket share."""

from __future__ import annotations

import socket
from typing import Any

from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.host import HostSocket
from pystack.lab.tester import Tester

__all__ = ["bound", "expect_datagram", "expect_no_datagram", "family_of", "sum_is_right"]


def family_of(family: int) -> socket.AddressFamily:
    """AF_INET of 4, AF_INET6 of 6."""
    return socket.AF_INET if family == 4 else socket.AF_INET6


def bound(lab: Tester, *, family: int = 4, address: str | None = None) -> tuple[HostSocket, int]:
    """A datagram socket of the Host's program, bound; and its port.

    Args:
        lab: The case's tester.
        family: 4 or 6.
        address: Where; default: the Host's address on the first wire. "": any.
    """
    lab.meet(family)
    sock = lab.socket(family_of(family), socket.SOCK_DGRAM)
    own = lab.host4 if family == 4 else lab.host6
    sock.bind((own if address is None else address, 0))
    return sock, int(sock.getsockname()[1])


def expect_datagram(lab: Tester, sock: HostSocket, data: bytes, within_ms: float = 1000) -> Any:
    """Makes sure that the program receives this, and gives whom it is told it came from."""
    got, sender = lab.until(
        lambda: sock.recvfrom(65535), within_ms, "the program to receive the datagram"
    )
    lab.check(
        got == data, f"{len(data)} bytes of data for the program", f"{len(got)}: {got[:32]!r}"
    )
    return sender


def expect_no_datagram(lab: Tester, sock: HostSocket, for_ms: float = 300) -> None:
    """Makes sure that the program receives nothing."""
    lab.run(for_ms)
    try:
        got = sock.recv(65535)
    except BlockingIOError:
        return
    lab.check(False, "nothing for the program", f"{got[:32]!r}")


def sum_is_right(packet: Packet) -> bool:
    """Whether a datagram's checksum is right."""
    again: Packet = packet.copy()
    del again[UDP].chksum
    return bool(Ether(bytes(again))[UDP].chksum == packet[UDP].chksum)
