"""Configurations as wg(8) and wg-quick(8) have them."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pystack.nic.datagrams import LARGEST_DATAGRAM
from pystack.nic.wireguard.primitives import PrivateKey, key_bytes, private_bytes
from pystack.nic.wireguard.routes import Network

__all__ = ["LARGEST_MTU", "Config", "PeerConfig", "parse_config", "read_config"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
InterfaceAddress = ipaddress.IPv4Interface | ipaddress.IPv6Interface

# Of wg-quick(8), without a meaning for a Stack: they are about the machine's own network.
_IGNORED = {"preup", "postup", "predown", "postdown", "saveconfig", "table", "fwmark"}
_MOST_SECONDS = 65535
_LEAST_MTU = 68  # RFC 791
LARGEST_MTU = LARGEST_DATAGRAM - 32
"""What a datagram has room for, less WireGuard's header and tag."""


@dataclass(frozen=True)
class PeerConfig:
    """A peer as a file names it.

    Attributes:
        public_key: 32 bytes, or base64.
        allowed_ips: The networks behind it: what is sent there goes to it, and only from there may
            what it sends come.
        endpoint: Its host, an address or a name, and its port; None: it is learned when it calls.
        preshared_key: 32 bytes, or base64; None: there is none.
        persistent_keepalive: Seconds after which it is sent something at least, for NATs; 0: never.
        source: What errors about its endpoint's name begin with, as "wg0.conf, line 9: Endpoint".

    Raises:
        ValueError: A key, a network, a port or a time that is none.
    """

    public_key: bytes | str
    allowed_ips: Sequence[Network | str] = ()
    endpoint: tuple[str, int] | None = None
    preshared_key: bytes | str | None = field(default=None, repr=False)
    persistent_keepalive: int = 0
    source: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        networks = tuple(ipaddress.ip_network(one, strict=False) for one in self.allowed_ips)
        object.__setattr__(self, "public_key", key_bytes(self.public_key))
        object.__setattr__(self, "allowed_ips", networks)
        if self.preshared_key is not None:
            object.__setattr__(self, "preshared_key", key_bytes(self.preshared_key))
        if self.endpoint is not None and not 1 <= self.endpoint[1] <= 65535:
            raise ValueError(f"an endpoint's port is from 1 to 65535, not {self.endpoint[1]}")
        if not 0 <= self.persistent_keepalive <= _MOST_SECONDS:
            raise ValueError(
                f"persistent_keepalive is from 0 to {_MOST_SECONDS} s, "
                f"not {self.persistent_keepalive}"
            )


@dataclass(frozen=True)
class Config:
    """An interface and its peers.

    Attributes:
        private_key: 32 bytes.
        listen_port: 0: the kernel chooses one.
        addresses: The interface's, with their networks.
        dns: Name servers.
        search: Domains to look names up in.
        mtu: Bytes of IP packet; None: not said.
        peers: The peers.
        ignored: What the file has and a Stack no use for, as "wg0.conf, line 7: PostUp".
    """

    private_key: bytes = field(repr=False)
    listen_port: int = 0
    addresses: tuple[InterfaceAddress, ...] = ()
    dns: tuple[Address, ...] = ()
    search: tuple[str, ...] = ()
    mtu: int | None = None
    peers: tuple[PeerConfig, ...] = ()
    ignored: tuple[str, ...] = ()


def _endpoint(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address stands in brackets: [2001:db8::1]:51820")
    if not colon or not host or not _is_number(port) or not 1 <= int(port) <= 65535:
        raise ValueError("an endpoint is HOST:PORT, the port from 1 to 65535")
    if ":" in host:
        ipaddress.IPv6Address(host)
        return host, int(port)
    return _name(host), int(port)


def _name(text: str) -> str:
    """A name of DNS (RFC 1035 2.3.4), or an address."""
    try:
        labels = text.removesuffix(".").encode("idna").split(b".")
    except UnicodeError:
        labels = [b""]
    if not all(labels) or not all(32 < one < 127 for one in b"".join(labels)):
        raise ValueError(f"{text!r} is no name of a host: its labels have 1 to 63 characters")
    if sum(len(one) + 1 for one in labels) > 254:
        raise ValueError(f"{text!r} is no name of a host: one has up to 253 characters")
    return text


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _number(text: str, most: int, least: int = 0) -> int:
    if not _is_number(text) or not least <= int(text) <= most:
        raise ValueError(f"a number from {least} to {most}, not {text!r}")
    return int(text)


def _seconds(text: str) -> int:
    return 0 if text.lower() == "off" else _number(text, _MOST_SECONDS)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _servers(text: str) -> tuple[list[Address], list[str]]:
    servers: list[Address] = []
    domains: list[str] = []
    for word in _words(text):
        try:
            servers.append(ipaddress.ip_address(word))
        except ValueError:
            domains.append(_name(word))
    return servers, domains


@dataclass
class _Interface:
    """The section as far as it is read."""

    private_key: bytes | None = None
    rest: dict[str, Any] = field(default_factory=dict)
    addresses: list[InterfaceAddress] = field(default_factory=list)
    dns: list[Address] = field(default_factory=list)
    search: list[str] = field(default_factory=list)

    def read(self, key: str, value: str) -> bool:
        """Takes a line; whether there is such a key."""
        if key == "privatekey":
            self.private_key = private_bytes(value)
        elif key == "listenport":
            self.rest["listen_port"] = _number(value, 65535)
        elif key == "mtu":
            self.rest["mtu"] = _number(value, LARGEST_MTU, _LEAST_MTU)
        elif key == "address":
            self.addresses += [ipaddress.ip_interface(word) for word in _words(value)]
        elif key == "dns":
            servers, domains = _servers(value)
            self.dns += servers
            self.search += domains
        else:
            return False
        return True


def _read_peer(peer: dict[str, Any], key: str, value: str) -> bool:
    if key == "publickey":
        peer["public_key"] = key_bytes(value)
    elif key == "presharedkey":
        peer["preshared_key"] = key_bytes(value)
    elif key == "allowedips":
        networks = [ipaddress.ip_network(word, strict=False) for word in _words(value)]
        peer.setdefault("allowed_ips", []).extend(networks)
    elif key == "endpoint":
        peer["endpoint"] = _endpoint(value)
    elif key == "persistentkeepalive":
        peer["persistent_keepalive"] = _seconds(value)
    else:
        return False
    return True


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.partition("#")[0].strip()
        if stripped:
            yield number, stripped


def parse_config(text: str, name: str = "the configuration") -> Config:
    """Understands a configuration.

    Args:
        text: Its lines.
        name: What errors call it.

    Raises:
        ValueError: It has a line that isn't understood, which the message names; or lacks a key.
    """
    interface, peers, ignored = _Interface(), list[tuple[int, dict[str, Any]]](), list[str]()
    public_lines: dict[int, str] = {}  # by that of the [Peer]
    section, seen = "", False
    for number, line in _lines(text.removeprefix("\ufeff")):
        where = f"{name}, line {number}"
        if line.startswith("["):
            section = line.lower()
            if section == "[peer]":
                peers.append((number, {}))
            elif section != "[interface]":
                raise ValueError(f"{where}: {line} is no section: [Interface] or [Peer]")
            elif seen:
                raise ValueError(f"{where}: there is one [Interface] only")
            seen = seen or section == "[interface]"
            continue
        shown, equals, value = (part.strip() for part in line.partition("="))
        key = shown.lower()
        if not equals or not section:
            raise ValueError(f"{where}: expected KEY = VALUE in a section, not {shown!r}")
        if section == "[interface]" and key in _IGNORED:
            if (key, value.lower()) not in (("table", "off"), ("saveconfig", "false")):
                ignored.append(f"{where}: {shown}")
            continue
        try:
            if section == "[peer]":
                begun, peer = peers[-1]
                known = _read_peer(peer, key, value)
                if key == "endpoint":
                    peer["source"] = f"{where}: {shown}"
                elif key == "publickey":
                    public_lines[begun] = f"{where}: {shown}"
            else:
                known = interface.read(key, value)
        except ValueError as error:
            raise ValueError(f"{where}: {shown}: {error}") from None
        if not known:
            raise ValueError(f"{where}: no such key in {section}: {shown}")
    if interface.private_key is None:
        raise ValueError(f"{name}: [Interface] has no PrivateKey")
    for number, peer in peers:
        if "public_key" not in peer:
            raise ValueError(f"{name}, line {number}: this [Peer] has no PublicKey")
    _check_keys(
        PrivateKey(interface.private_key),
        [(public_lines[number], peer["public_key"]) for number, peer in peers],
    )
    config = Config(
        interface.private_key,
        addresses=tuple(interface.addresses),
        dns=tuple(interface.dns),
        search=tuple(interface.search),
        peers=tuple(PeerConfig(**peer) for _number, peer in peers),
        ignored=tuple(ignored),
    )
    return replace(config, **interface.rest)


def _check_keys(own: PrivateKey, peers: Sequence[tuple[str, bytes]]) -> None:
    """Checks the peers' public keys, each behind where it is written.

    Raises:
        ValueError: One is the interface's, is another peer's as well, or gives no secret.
    """
    before: dict[bytes, str] = {}
    for where, public in peers:
        if public == own.public:
            raise ValueError(f"{where}: the peer's public key is this interface's")
        if public in before:
            raise ValueError(f"{where}: another peer has this key: {before[public]}")
        try:
            own.exchange(public)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        before[public] = where


def read_config(path: str | os.PathLike[str]) -> Config:
    """Reads a file; see `parse_config`.

    Raises:
        ValueError: It isn't understood.
        OSError: It can't be read.
    """
    place = Path(path)
    try:
        text = place.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{place} is no text: {error}") from None
    return parse_config(text, str(place))
