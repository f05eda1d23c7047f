"""NICs that carry frames in UDP as they are: `Udp`, and `Vxlan` (RFC 7348)."""

from __future__ import annotations

import ipaddress
import struct
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pystack._native.address import mac_to_bytes
from pystack._native.moments import NEVER
from pystack._native.values import hinted, several, whole
from pystack.nic.base import Layer, member_value, valid_mtu
from pystack.nic.datagrams import LARGEST_DATAGRAM, Datagrams, Endpoint, carrier
from pystack.nic.tunnel import Tunnel

__all__ = ["VXLAN_MTU", "VXLAN_PORT", "TunnelDrops", "Udp", "Vxlan"]

VXLAN_PORT = 4789
"""As IANA has it."""

# On a path of 1500 bytes: IPv6 and UDP.
_UDP_MTU = 1500 - 40 - 8
VXLAN_MTU = _UDP_MTU - 8 - 14
"""Of IP packets: less VXLAN's header, and the Ethernet header inside."""
_ETHERNET = 14
_VNI_GIVEN = 0x08000000
_HIGHEST_VNI = (1 << 24) - 1
_AGE_US = 300_000_000  # as the kernel's vxlan has it
_MOST_LEARNED = 4096

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _check_endpoint(given: object, what: str) -> None:
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str)):
        raise TypeError(f"{what} is a pair, such as ('192.0.2.1', 5000), not {given!r}")


@dataclass
class TunnelDrops:
    """What was dropped, and why.

    Attributes:
        malformed: Datagrams too short for a frame, or too long for the MTU; without VXLAN's flag.
        strangers: From an address that is no peer's.
        other_network: Of another VNI.
        no_peer: Frames to send, when there is no peer yet.
    """

    malformed: int = 0
    strangers: int = 0
    other_network: int = 0
    no_peer: int = 0


@hinted
class Udp(Tunnel):
    """Frames in UDP datagrams, one in each: a cable between two machines, or two programs.

    Nothing is sealed: who can send from the peer's address can send frames.

    Args:
        local: Address and port to receive at; an empty address: all, port 0: any.
        peer: Where the other end is, by address or name, and its port. None: it is learned from the
            first datagram, and follows the last one.
        layer: What frames begin with; both ends need the same.
        mtu: Bytes of IP packet; by default what fits into a path of 1500.
        transport: What carries the datagrams; None: the kernel's UDP.

    Raises:
        ValueError: The MTU.
        OSError: EADDRINUSE and the like; a `socket.gaierror`, the peer's name is unknown.
    """

    def __init__(
        self,
        local: Endpoint = ("", 0),
        peer: Endpoint | None = None,
        *,
        layer: Layer = Layer.ETHERNET,
        mtu: int | None = None,
        transport: Datagrams | None = None,
    ) -> None:
        member_value(Layer, "the layer", layer)
        header = _ETHERNET if layer is Layer.ETHERNET else 0
        most = valid_mtu(_UDP_MTU - header if mtu is None else mtu, LARGEST_DATAGRAM - header)
        self._most_bytes = most + header
        self._least_bytes = _ETHERNET if layer is Layer.ETHERNET else 20
        self._drops = TunnelDrops()
        self._learns = peer is None
        _check_endpoint(local, "local")
        if peer is not None:
            _check_endpoint(peer, "peer")
        with carrier(transport, *local) as datagrams:
            self._peer = None if peer is None else datagrams.resolve(*peer)
            super().__init__(datagrams, layer=layer, mtu=most)

    @property
    def peer(self) -> Endpoint | None:
        """Where the other end is; None: not known yet."""
        return self._peer

    def drops(self) -> TunnelDrops:
        """What was dropped so far, by reason; a snapshot."""
        with self._lock:
            return replace(self._drops)

    def _encapsulate(self, frames: Sequence[memoryview], now_us: int) -> int:
        if self._peer is None:
            self._drops.no_peer += len(frames)
        else:
            self._post(frames, self._peer)
        return NEVER

    def _decapsulate(
        self, datagrams: Sequence[bytes | memoryview], source: Endpoint, now_us: int
    ) -> Sequence[bytes | memoryview]:
        least, most = self._least_bytes, self._most_bytes
        if not self._learns and source != self._peer:
            self._drops.strangers += len(datagrams)
            return ()
        frames = [one for one in datagrams if least <= len(one) <= most]
        self._drops.malformed += len(datagrams) - len(frames)
        if self._learns and frames:
            self._peer = source
        return frames


@hinted
class Vxlan(Tunnel):
    """Ethernet over UDP between any number of machines (VXLAN, RFC 7348).

    Frames for a MAC that was seen go to the peer that it was seen from; all others (broadcast,
    multicast, unknown) go to each of `peers`. Nothing is sealed.

    Args:
        vni: The network's number, up to 24 bits.
        peers: The other ends: addresses or names, with their ports or without (4789). None: each
            that sends something is one from then on.
        local: Address and port to receive at; an empty address: all.
        static: Where MACs are that never change; these ends are peers, too.
        learn: Whether MACs are learned from what comes.
        mtu: Bytes of IP packet; by default what fits into a path of 1500.
        transport: What carries the datagrams; None: the kernel's UDP.

    Raises:
        ValueError: The VNI, the MTU, a MAC.
        OSError: EADDRINUSE and the like; a `socket.gaierror`, a peer's name is unknown.
    """

    def __init__(
        self,
        vni: int,
        peers: Iterable[Endpoint | str] | None = (),
        *,
        local: Endpoint = ("", VXLAN_PORT),
        static: Mapping[str, Endpoint | str] | None = None,
        learn: bool = True,
        mtu: int = VXLAN_MTU,
        transport: Datagrams | None = None,
    ) -> None:
        whole(vni, "a VNI", 0, _HIGHEST_VNI)
        _check_endpoint(local, "local")
        several(peers, "peers")
        self.vni = vni
        self._header = struct.pack("!II", _VNI_GIVEN, vni << 8)
        self._learns = learn
        self._most_bytes = valid_mtu(mtu, LARGEST_DATAGRAM - 26) + _ETHERNET + 4  # a VLAN's tag
        self._drops = TunnelDrops()
        self._takes_all = peers is None
        self._learned: OrderedDict[bytes, tuple[Endpoint, int]] = OrderedDict()
        with carrier(transport, *local) as datagrams:
            self._peers = [self._place(datagrams, one) for one in peers or ()]
            self._static = {
                mac_to_bytes(mac): self._place(datagrams, one)
                for mac, one in (static or {}).items()
            }
            self._peers += [one for one in self._static.values() if one not in self._peers]
            self._hosts = {host for host, _port in self._peers}
            super().__init__(datagrams, layer=Layer.ETHERNET, mtu=mtu)

    @staticmethod
    def _place(datagrams: Datagrams, peer: Endpoint | str) -> Endpoint:
        if not isinstance(peer, str):
            _check_endpoint(peer, "a peer")
        return datagrams.resolve(*((peer, VXLAN_PORT) if isinstance(peer, str) else peer))

    @property
    def peers(self) -> list[Endpoint]:
        """The other ends."""
        with self._lock:
            return list(self._peers)

    def learned(self) -> dict[str, Endpoint]:
        """Where MACs were seen."""
        with self._lock:
            return {mac.hex(":"): place for mac, (place, _at) in self._learned.items()}

    def drops(self) -> TunnelDrops:
        """What was dropped so far, by reason; a snapshot."""
        with self._lock:
            return replace(self._drops)

    def _where(self, mac: bytes, now_us: int) -> Endpoint | None:
        place = self._static.get(mac)
        if place is not None:
            return place
        found = self._learned.get(mac)
        if found is None:
            return None
        place, seen_us = found
        if now_us - seen_us >= _AGE_US:
            del self._learned[mac]
            return None
        return place

    def _encapsulate(self, frames: Sequence[memoryview], now_us: int) -> int:
        mac = bytes(frames[0][:6])  # that of all, which were one packet
        place = None if mac[0] & 1 else self._where(mac, now_us)
        places = self._peers if place is None else [place]
        if not places:
            self._drops.no_peer += len(frames)
        run = [self._header + frame for frame in frames]
        for one in places:
            self._post(run, one)
        return NEVER

    def _decapsulate(
        self, datagrams: Sequence[bytes | memoryview], source: Endpoint, now_us: int
    ) -> Sequence[bytes | memoryview]:
        drops, frames = self._drops, []
        known = source[0] in self._hosts
        if not known and not self._takes_all:
            drops.strangers += len(datagrams)
            return ()
        for one in datagrams:
            if not 8 + _ETHERNET <= len(one) <= 8 + self._most_bytes or not one[0] & 0x08:
                drops.malformed += 1
            elif bytes(one[4:7]) != self._header[4:7]:
                drops.other_network += 1
            else:
                frames.append(one[8:])
        if frames and not known:
            self._welcome(source)
        if self._learns and frames:
            place = self._receives_at(source)
            for mac in {bytes(frame[6:12]) for frame in frames}:
                self._learn(mac, place, now_us)
        return frames

    def _welcome(self, source: Endpoint) -> None:
        """Its answers go to the port of VXLAN, or the one we use: what it sends from is another."""
        if len(self._peers) < _MOST_LEARNED:
            self._peers.append((source[0], self._transport.local[1]))
            self._hosts.add(source[0])

    def _receives_at(self, source: Endpoint) -> Endpoint:
        """A source port is chosen by flow (section 5): the peer's own port is where it receives."""
        if source in self._peers:
            return source
        return next((one for one in self._peers if one[0] == source[0]), source)

    def _learn(self, mac: bytes, place: Endpoint, now_us: int) -> None:
        if mac[0] & 1 or mac in self._static:
            return
        self._learned.pop(mac, None)
        self._learned[mac] = place, now_us
        if len(self._learned) > _MOST_LEARNED:
            self._learned.popitem(last=False)
