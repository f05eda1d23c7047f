"""DNS by hand: lookups that a Stack makes, and the answers of a server that says anything."""

from __future__ import annotations

import socket
import struct
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack import services
from pystack._native import ffi, lib
from pystack.lab.packets import udp
from pystack.lab.tester import Tester

A, CNAME, AAAA = 1, 5, 28
ASKED = b"\xc0\x0c"  # a pointer to the name in the question
MOST = 128


def name(text: str) -> bytes:
    """A name as it stands in a message."""
    return b"".join(bytes((len(one),)) + one.encode() for one in text.split(".") if one) + b"\0"


def record(owner: bytes, kind: int, data: bytes, cls: int = 1) -> bytes:
    """A resource record of an hour."""
    return owner + struct.pack(">HHIH", kind, cls, 3600, len(data)) + data


def a(address: str, owner: bytes = ASKED) -> bytes:
    """An address record."""
    return record(owner, A, socket.inet_aton(address))


class Lookup:
    """A lookup under way on the lab's Stack.

    Args:
        lab: Of Host lwip.
        text: What is looked up.
        servers: The Stack's name servers.
    """

    def __init__(
        self, lab: Tester, text: str = "a.example.com", servers: tuple[str, ...] = ("192.0.2.1",)
    ) -> None:
        host: Any = lab.host
        self.lab = lab
        host.stack.nameservers[:] = list(servers)
        for server in servers:
            lab.own(server)
        self._handle = host.stack._handle
        self._id = lib.ps_resolve_start(self._handle.pointer, services._name(text), 4)
        assert self._id > 0
        self._out = ffi.new("struct ps_address[]", MOST)
        self.question: Packet | None = None

    def result(self) -> list[str] | int | None:
        """The addresses, an errno, or None: it has not ended."""
        found = lib.ps_resolve_wait(self._handle.pointer, self._id, self._out, MOST, 0)
        if found < 0:
            return None if found == -11 else -found
        return [str(services.from_c(self._out[i])) for i in range(found)]

    def asks(self, server: str, within_ms: float = 1000) -> Packet:
        """Waits for its question to a server, and answers this one from now on."""
        self.question = self.lab.expect(udp(dport=53), within_ms)
        assert self.question[IP].dst == server, self.question[IP].dst
        return self.question

    def message(
        self,
        *records: bytes,
        flags: int = 0x8180,
        questions: int = 1,
        answers: int | None = None,
        identifier: bytes | None = None,
        question: bytes | None = None,
    ) -> bytes:
        """An answer's bytes."""
        assert self.question is not None
        asked = bytes(self.question[UDP].payload)
        counts = (questions, len(records) if answers is None else answers, 0, 0)
        head = (asked[:2] if identifier is None else identifier) + struct.pack(
            ">H4H", flags, *counts
        )
        return head + (asked[12:] if question is None else question) + b"".join(records)

    def answer(self, message: bytes, port: int = 53, source: str = "", to_port: int = 0) -> None:
        """Sends a message to who asked."""
        assert self.question is not None
        asked = self.question
        self.lab.send(
            Ether(src=self.lab.tester_mac, dst=self.lab.host_mac)
            / IP(src=source or asked[IP].dst, dst=asked[IP].src)
            / UDP(sport=port, dport=to_port or asked[UDP].sport)
            / message
        )
        self.lab.run(20)
