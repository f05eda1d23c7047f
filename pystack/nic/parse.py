"""NICs by name, for the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable

from pystack.nic.base import Layer, Nic, valid_mtu
from pystack.nic.descriptor import Descriptor, Framing
from pystack.nic.device import Packet, Tap, Tun, encoded_name

_FORMS = (
    "tap:NAME, tun:NAME, packet:DEVICE, fd:N[,length16|length32][,ip][,mtu=BYTES], wg:FILE, "
    "udp:[HOST]:PORT[,peer=HOST:PORT][,ip][,mtu=BYTES], "
    "vxlan:VNI[,peer=HOST[:PORT]]...[,local=[HOST]:PORT][,mtu=BYTES]"
)
_HIGHEST = 0x7FFFFFFF  # a descriptor is an int


def _descriptor(words: list[str]) -> Callable[[], Nic]:
    framing, layer, mtu = Framing.DATAGRAM, Layer.ETHERNET, 1500
    for word in words[1:]:
        if word in ("length16", "length32"):
            framing = Framing[word.upper()]
        elif word == "ip":
            layer = Layer.IP
        elif word.startswith("mtu=") and word[4:].isdecimal():
            mtu = valid_mtu(int(word[4:]))
        else:
            raise ValueError(f"unknown option {word!r}; a NIC is one of {_FORMS}")
    if int(words[0]) > _HIGHEST:
        raise ValueError(f"a descriptor is at most {_HIGHEST}, not {words[0]}")
    return functools.partial(Descriptor, int(words[0]), framing=framing, layer=layer, mtu=mtu)


def _endpoint(text: str, port: int | None = None) -> tuple[str, int]:
    """HOST:PORT, an IPv6 address in brackets; with a port to take where none is given."""
    host, colon, digits = text.rpartition(":")
    if port is not None and (not colon or text.endswith("]")):
        host, digits = text, str(port)
    elif not colon:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"an IPv6 address stands in brackets, as [2001:db8::1]:4789: {text!r}")
    if not digits.isdecimal() or int(digits) > 65535:
        raise ValueError(f"a port is from 0 to 65535, not {digits!r}")
    return host, int(digits)


def _options(words: list[str], known: tuple[str, ...]) -> list[tuple[str, str]]:
    """Words as "peer=HOST:PORT" or "ip", taken apart."""
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        if name not in known or bool(equals) != (name != "ip"):
            raise ValueError(f"unknown option {word!r}; a NIC is one of {_FORMS}")
        found.append((name, value))
    return found


def _mtu(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"an MTU is a number of bytes, not {text!r}")
    return valid_mtu(int(text))


def _udp(words: list[str]) -> Callable[[], Nic]:
    from pystack.nic.tunnels import Udp  # noqa: PLC0415 - not before it is used

    given = dict(_options(words[1:], ("peer", "ip", "mtu")))
    peer, mtu = given.get("peer"), given.get("mtu")
    return functools.partial(
        Udp,
        _endpoint(words[0]),
        None if peer is None else _endpoint(peer),
        layer=Layer.IP if "ip" in given else Layer.ETHERNET,
        mtu=None if mtu is None else _mtu(mtu),
    )


def _vxlan(words: list[str]) -> Callable[[], Nic]:
    from pystack.nic.tunnels import VXLAN_MTU, VXLAN_PORT, Vxlan  # noqa: PLC0415 - as above

    options = _options(words[1:], ("peer", "local", "mtu"))
    given = dict(options)
    peers = [_endpoint(value, VXLAN_PORT) for name, value in options if name == "peer"]
    mtu = _mtu(given["mtu"]) if "mtu" in given else VXLAN_MTU
    local = _endpoint(given["local"]) if "local" in given else ("", VXLAN_PORT)
    return functools.partial(Vxlan, int(words[0]), peers or None, local=local, mtu=mtu)


def _wireguard(path: str) -> Callable[[], Nic]:
    try:
        from pystack.nic.wireguard import WireGuard, read_config  # noqa: PLC0415 - as above
    except ImportError as error:
        raise ValueError(str(error)) from error
    try:
        config = read_config(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    return functools.partial(WireGuard.from_config, config)


def opener(text: str) -> Callable[[], Nic]:
    """What opens the NIC of that name; the name is checked now, and nothing opened.

    The file of a WireGuard is read now.

    Raises:
        ValueError: Not a NIC's name.
    """
    if not isinstance(text, str):
        raise TypeError(f"a NIC's name is a string, such as 'tap:tap0', not {text!r}")
    kind, colon, rest = text.partition(":")
    words = rest.split(",")
    if colon and kind == "fd" and words[0].isdecimal():
        return _descriptor(words)
    if kind == "wg" and rest:
        return _wireguard(rest)
    if kind == "udp" and words[0]:
        return _udp(words)
    if kind == "vxlan" and words[0].isdecimal():
        return _vxlan(words)
    if colon and kind in ("tap", "tun", "packet") and len(words) == 1:
        encoded_name(rest)
        if kind != "packet":
            return functools.partial(Tap if kind == "tap" else Tun, rest)
        if rest:
            return functools.partial(Packet, rest, promiscuous=True)
    raise ValueError(f"{text!r} is not a NIC; it is one of {_FORMS}")


def parse(text: str) -> Nic:
    """Opens a NIC by name, as "tap:tap0" or "fd:3,length32".

    Raises:
        ValueError: Not a NIC's name.
        OSError: From the NIC itself.
    """
    return opener(text)()
