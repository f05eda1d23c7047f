"""NICs by name, for the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable

from pystack.nic.base import Layer, Nic, valid_mtu
from pystack.nic.descriptor import Descriptor, Framing
from pystack.nic.device import Packet, Tap, Tun, encoded_name

_FORMS = "tap:NAME, tun:NAME, packet:DEVICE, fd:N[,length16|length32][,ip][,mtu=BYTES]"
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


def opener(text: str) -> Callable[[], Nic]:
    """What opens the NIC of that name; the name is checked now, and nothing opened.

    Raises:
        ValueError: Not a NIC's name.
    """
    kind, colon, rest = text.partition(":")
    words = rest.split(",")
    if colon and kind == "fd" and words[0].isdecimal():
        return _descriptor(words)
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
