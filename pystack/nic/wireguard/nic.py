"""`WireGuard`: a NIC whose far end are peers across the internet."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pystack.nic.base import Layer, valid_mtu
from pystack.nic.datagrams import Datagrams, Endpoint, StackUdp, carrier
from pystack.nic.tunnel import Tunnel
from pystack.nic.wireguard.config import (
    LARGEST_MTU,
    Address,
    Config,
    InterfaceAddress,
    PeerConfig,
    read_config,
)
from pystack.nic.wireguard.device import Device, Drops
from pystack.nic.wireguard.peer import Peer
from pystack.nic.wireguard.primitives import key_bytes, key_text, private_bytes
from pystack.nic.wireguard.routes import Network

__all__ = ["MTU", "PeerStatus", "WireGuard"]

MTU = 1420
"""What fits into a path of 1500 bytes, by either family."""

_SECOND_US = 1_000_000
_W = TypeVar("_W", bound="WireGuard")


@dataclass(frozen=True)
class PeerStatus:
    """A peer as `wg show` has it; a snapshot.

    Attributes:
        public_key: Base64.
        endpoint: Where it is, by the last authentic datagram; None: not known yet.
        allowed_ips: Its networks.
        latest_handshake: When a handshake was last completed, in seconds since 1970, by the Stack's
            clock; None: never.
        received_bytes: UDP payload that came from it, authentic.
        sent_bytes: That was sent to it.
        persistent_keepalive: Seconds; 0: off.
        has_preshared_key: Whether there is one.
    """

    public_key: str
    endpoint: Endpoint | None
    allowed_ips: tuple[Network, ...]
    latest_handshake: float | None
    received_bytes: int
    sent_bytes: int
    persistent_keepalive: int
    has_preshared_key: bool


class WireGuard(Tunnel):
    """WireGuard (whitepaper of 2020-06-01): IP packets to peers, sealed, over UDP.

    The protocol runs here: no kernel module, no root, and none of the machine's routes are changed.
    Its timers keep the Stack's clock, virtual or not. Needs the package `cryptography`.

    Args:
        private_key: 32 bytes, or base64 as `wg genkey` prints it.
        peers: The peers.
        listen_port: The UDP port to receive at; 0: any. Not used with a `transport`.
        mtu: Bytes of IP packet; all ends of a tunnel should have the same.
        addresses: Of the interface, for `up`.
        dns: Name servers, for `up`.
        transport: What carries the datagrams; None: the kernel's UDP (`KernelUdp`).
        epoch: The wall's time in seconds since 1970 at 0 of the Stack's clock; None: as it is when
            a Stack's clock is first seen. A peer takes no handshake that is older than the last.

    Raises:
        ValueError: A key, an MTU, an endpoint that is no name, or a peer that is given twice.
        ImportError: Without `cryptography`.
        OSError: EADDRINUSE, the port is taken; a `socket.gaierror`, an endpoint's name is unknown.
    """

    def __init__(
        self,
        private_key: bytes | str,
        peers: Iterable[PeerConfig] = (),
        *,
        listen_port: int = 0,
        mtu: int = MTU,
        addresses: Sequence[InterfaceAddress | str] = (),
        dns: Sequence[Address | str] = (),
        transport: Datagrams | None = None,
        epoch: float | None = None,
    ) -> None:
        self._device = Device(private_bytes(private_key), mtu=valid_mtu(mtu, LARGEST_MTU))
        self._epoch = epoch
        self._has_begun = False
        self.addresses = tuple(addresses)
        self.dns = tuple(dns)
        with carrier(transport, "", listen_port) as datagrams:
            # Before there is a NIC, which would keep its descriptors until it is collected.
            for peer in peers:
                self._admit(peer, self._endpoint_of(peer, datagrams))
            super().__init__(datagrams, layer=Layer.IP, mtu=mtu, pad_to=mtu)
        self._wake()

    @classmethod
    def from_config(cls: type[_W], config: str | os.PathLike[str] | Config, **options: Any) -> _W:
        """One as a file of `wg-quick` says, or a `Config`.

        What a file says to the machine (PostUp, Table, FwMark and the like) is not done: a
        `UserWarning` names it. An unknown key is an error.

        Args:
            config: The file's path, or what `read_config` made of it.
            options: As the constructor has them; they take the place of the file's.

        Raises:
            ValueError: The file isn't understood; the message names the line.
            OSError: It can't be read; and as the constructor raises.
        """
        if not isinstance(config, Config):
            config = read_config(config)
        for what in config.ignored:
            warnings.warn(
                f"{what} is ignored: it is about this machine's network, which a Stack "
                "leaves alone",
                stacklevel=2,
            )
        given: dict[str, Any] = {
            "peers": config.peers,
            "listen_port": config.listen_port,
            "mtu": MTU if config.mtu is None else config.mtu,
            "addresses": config.addresses,
            "dns": config.dns,
        }
        return cls(config.private_key, **{**given, **options})

    # --- peers ---------------------------------------------------------------------------------

    def add_peer(self, peer: PeerConfig) -> None:
        """Adds a peer, and looks its endpoint's name up; a network it shares becomes its.

        Raises:
            ValueError: It is there already, it is this interface itself, or its endpoint is no
                name.
            OSError: Its endpoint's name is unknown.
        """
        endpoint = self._endpoint_of(peer, self._transport)
        with self._lock:
            self._admit(peer, endpoint)
        self._wake()

    @staticmethod
    def _endpoint_of(peer: PeerConfig, datagrams: Datagrams) -> Endpoint | None:
        """Looks a peer's endpoint up; may wait.

        Raises:
            ValueError: It is no name.
            OSError: It is unknown.
        """
        if peer.endpoint is None:
            return None
        what = f"{peer.source}: " if peer.source else ""
        what += f"the endpoint {peer.endpoint[0]!r}"
        try:
            return datagrams.resolve(*peer.endpoint)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
        except OSError as error:
            raise type(error)(error.errno, f"{what}: {error.strerror}") from None

    def _admit(self, peer: PeerConfig, endpoint: Endpoint | None) -> None:
        preshared = peer.preshared_key
        self._device.add_peer(
            key_bytes(peer.public_key),
            [network for network in peer.allowed_ips if not isinstance(network, str)],
            preshared=bytes(32) if preshared is None else key_bytes(preshared),
            endpoint=endpoint,
            persistent_us=peer.persistent_keepalive * _SECOND_US,
        )

    def remove_peer(self, public_key: bytes | str) -> None:
        """Removes a peer, with its sessions.

        Raises:
            KeyError: It isn't there.
        """
        key = key_bytes(public_key)
        with self._lock:
            if key not in self._device.peers:
                raise KeyError(key_text(key))
            self._device.remove_peer(key)

    @property
    def public_key(self) -> str:
        """Its public key, as base64: what its peers have to know."""
        return key_text(self._device.keys.public)

    def peers(self) -> list[PeerStatus]:
        """Its peers, as `wg show` has them."""
        with self._lock:
            return [self._status(peer) for peer in self._device.peers.values()]

    def _status(self, peer: Peer) -> PeerStatus:
        at_us = peer.handshake_us
        return PeerStatus(
            key_text(peer.public),
            peer.endpoint,
            self._device.routes.of(peer),
            None if at_us is None else (self._device.epoch_us + at_us) / _SECOND_US,
            peer.received_bytes,
            peer.sent_bytes,
            peer.persistent_us // _SECOND_US,
            any(peer.preshared),
        )

    def drops(self) -> Drops:
        """What was dropped so far, by reason; a snapshot."""
        with self._lock:
            return self._device.snapshot()

    # --- on a Stack ----------------------------------------------------------------------------

    def up(
        self,
        net: Any,
        wire: Any = None,
        *,
        addresses: Sequence[InterfaceAddress | str] | None = None,
        **how: Any,
    ) -> Any:
        """Does on a Stack what `wg-quick up` does on a machine.

        Attaches it with its addresses, lays a route to each peer's networks, and makes its name
        servers the Stack's.

        Args:
            net: The `Stack`.
            wire: What to attach instead: a NIC around this one, as a capture.
            addresses: Instead of its own.
            how: As `Stack.attach` has it: `gateway`, `name`, `mtu`.

        Returns:
            The `Interface`.

        Raises:
            ValueError: The Stack is the one whose UDP carries the datagrams.
            OSError: As `Stack.attach` and `routes.add` raise.
        """
        if isinstance(self._transport, StackUdp) and self._transport.net is net:
            raise ValueError("a Stack can't carry its own tunnel: attach it to another Stack")
        given = self.addresses if addresses is None else addresses
        interface = net.attach(self if wire is None else wire, *given, **how)
        own = [one.address.network for one in interface.addresses]
        for peer in self.peers():
            for network in peer.allowed_ips:
                if network not in own:
                    with contextlib.suppress(FileExistsError):  # `how` has a gateway for it
                        net.routes.add(network, interface=interface)
        if self.dns:
            net.nameservers[:] = list(self.dns)
        return interface

    def _begin(self, now_us: int) -> None:
        """Sets the Stack's clock beside the wall's, once."""
        if not self._has_begun:
            self._has_begun = True
            epoch = time.time() - now_us / _SECOND_US if self._epoch is None else self._epoch
            self._device.epoch_us = round(epoch * _SECOND_US)

    def _emit(self) -> int:
        device = self._device
        if device.outbox:
            for endpoint, datagrams in device.outbox:
                self._post(datagrams, endpoint)
            device.outbox.clear()
        return device.due_us

    def _encapsulate(self, frames: Sequence[memoryview], now_us: int) -> int:
        self._begin(now_us)
        self._device.send(frames, now_us, alike=True)
        return self._emit()

    def _decapsulate(
        self, datagrams: Sequence[bytes | memoryview], source: Endpoint, now_us: int
    ) -> Sequence[bytes | memoryview]:
        self._begin(now_us)
        return self._device.receive(datagrams, source, now_us)

    def _run(self, now_us: int) -> int:
        self._begin(now_us)
        self._device.run(now_us)
        return self._emit()

    def __repr__(self) -> str:
        closed = " closed" if self._held is None else ""
        return f"<WireGuard{closed} {self.public_key} mtu={self.mtu}>"
