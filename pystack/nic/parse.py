"""NICs from the command line's words."""

from __future__ import annotations

from pystack.nic.base import Layer, Nic
from pystack.nic.descriptor import Descriptor, Framing
from pystack.nic.device import Packet, Tap, Tun

_FORMS = "tap:NAME, tun:NAME, packet:DEVICE, fd:N[,length16|length32][,ip][,mtu=BYTES]"


def _descriptor(words: list[str]) -> Nic:
    framing, layer, mtu = Framing.DATAGRAM, Layer.ETHERNET, 1500
    for word in words[1:]:
        if word in ("length16", "length32"):
            framing = Framing[word.upper()]
        elif word == "ip":
            layer = Layer.IP
        elif word.startswith("mtu=") and word[4:].isdecimal():
            mtu = int(word[4:])
        else:
            raise ValueError(f"{word!r} is not understood; a NIC is one of {_FORMS}")
    return Descriptor(int(words[0]), framing=framing, layer=layer, mtu=mtu)


def parse(text: str) -> Nic:
    """Opens the NIC that a text names, as "tap:tap0" or "fd:3,length32".

    Raises:
        ValueError: Not one of the forms.
        OSError: As the NIC itself.
    """
    kind, colon, rest = text.partition(":")
    words = rest.split(",")
    if colon and kind == "tap" and len(words) == 1:
        return Tap(rest)
    if colon and kind == "tun" and len(words) == 1:
        return Tun(rest)
    if colon and kind == "packet" and rest and len(words) == 1:
        return Packet(rest, promiscuous=True)
    if colon and kind == "fd" and words[0].isdecimal():
        return _descriptor(words)
    raise ValueError(f"{text!r} is not a NIC; it is one of {_FORMS}")
