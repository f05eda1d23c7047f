"""A frame in a line, for whoever reads what was found."""

from __future__ import annotations

import ipaddress
import struct

from adversary import wire

_NAMES = {wire.UDP: "UDP", wire.ICMP: "ICMP", wire.IGMP: "IGMP", wire.ICMP6: "ICMPv6", 44: "FRAG"}


def line(frame: bytes) -> str:
    """Addresses, and what matters of the rest."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and len(frame) >= 34:
        source, to = (str(ipaddress.ip_address(frame[at : at + 4])) for at in (26, 30))
        at, protocol = 14 + (frame[14] & 15) * 4, frame[23]
        fragment = struct.unpack_from("!H", frame, 20)[0] & 0x3FFF
        extra = f" fragment {fragment:#x}" if fragment else ""
    elif kind == b"\x86\xdd" and len(frame) >= 54:
        source, to = (str(ipaddress.ip_address(frame[at : at + 16])) for at in (22, 38))
        at, protocol, extra = 54, frame[20], ""
    else:
        return f"{kind.hex()} {frame[14:].hex()[:80]}"
    where = f"{source} > {to}{extra}"
    rest = frame[at:]
    if protocol == wire.TCP and len(rest) >= 20 and not extra:
        sport, dport, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", rest)
        names = "".join(
            n for n, bit in zip("FSRPAU", (1, 2, 4, 8, 16, 32), strict=True) if flags & bit
        )
        end = (offset >> 4) * 4
        return (
            f"{where} TCP {sport} > {dport} [{names}] seq {seq} ack {ack} win {window} "
            f"len {len(rest) - end} options {rest[20:end].hex()}"
        )
    return f"{where} {_NAMES.get(protocol, protocol)} {rest[:32].hex()} ({len(rest)} bytes)"
