"""What a port forward is, and how one is written."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, replace
from ipaddress import ip_address

__all__ = ["Forward", "parse_forward"]

_WRITTEN = re.compile(
    r"""(?:(?P<ip>\[[^\]]*\]|\d+(?:\.\d+){3}):)? (?P<port>\d+)
        (?: : (?:(?P<guest>\[[^\]]*\]|\d+(?:\.\d+){3}):)? (?P<inside>\d+))?
        (?: / (?P<protocol>tcp|udp))?""",
    re.VERBOSE,
)
_PORTS = range(1, 65536)


@dataclass(frozen=True)
class Forward:
    """A port of this machine's that leads to a guest.

    Attributes:
        port: Where this machine listens; 0: the kernel chooses.
        guest_port: The guest's; 0: the same.
        address: This machine's address; "0.0.0.0" or "::" for all of a family.
        protocol: "tcp" or "udp".
        guest: The guest's address; None: that of the guest that asked for its lease last.
        keep_source: Whether the guest sees the peer's address and port, as far as it could answer
            them: to it the gateway is the peer where that is this machine itself, has an address
            of the guest's network, or one of the other family.

    Raises:
        ValueError: A port, address or protocol that is none.
    """

    port: int
    guest_port: int = 0
    address: str = "127.0.0.1"
    protocol: str = "tcp"
    guest: str | None = None
    keep_source: bool = True

    def __post_init__(self) -> None:
        if self.protocol not in ("tcp", "udp"):
            raise ValueError(f"a forward's protocol is tcp or udp, not {self.protocol!r}")
        for port in (self.port, self.guest_port):
            if port != 0 and port not in _PORTS:
                raise ValueError(f"a port is from 1 to 65535, not {port}")
        if self.port == self.guest_port == 0:
            raise ValueError("a forward needs the guest's port")
        for address in (self.address, self.guest):
            if address is not None:
                ip_address(address)

    @property
    def inside(self) -> int:
        """The guest's port."""
        return self.guest_port or self.port

    @property
    def family(self) -> int:
        """The socket's family."""
        six = ip_address(self.address).version == 6
        return int(socket.AF_INET6 if six else socket.AF_INET)

    @property
    def kind(self) -> int:
        """The socket's kind."""
        return int(socket.SOCK_STREAM if self.protocol == "tcp" else socket.SOCK_DGRAM)

    def on(self, port: int) -> Forward:
        """The same, of the port that the kernel has chosen."""
        return replace(self, port=port, guest_port=self.inside)

    def __str__(self) -> str:
        def text(address: str) -> str:
            return f"[{address}]" if ":" in address else address

        guest = "" if self.guest is None else f"{text(self.guest)}:"
        return f"{text(self.address)}:{self.port}:{guest}{self.inside}/{self.protocol}"


def parse_forward(text: str) -> Forward:
    """A forward as Docker and Podman write it: ``[ADDRESS:]PORT[:[GUEST:]PORT][/tcp|udp]``.

    Without an address it listens on 127.0.0.1, not on all: say "0.0.0.0:8080:80" for that. IPv6
    addresses stand in brackets.

    Raises:
        ValueError: It isn't written so.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"{text!r} is no forward: write [ADDRESS:]PORT[:[GUEST:]PORT][/tcp|udp], such as "
            "127.0.0.1:8080:80/tcp"
        )
    guest = found["guest"]
    return Forward(
        port=int(found["port"]),
        guest_port=int(found["inside"] or 0),
        address=(found["ip"] or "127.0.0.1").strip("[]"),
        protocol=found["protocol"] or "tcp",
        guest=None if guest is None else guest.strip("[]"),
    )
