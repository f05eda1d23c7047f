"""``pystack nic``: the wires that this machine offers."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.group()
def nic() -> None:
    """Wires that a stack can be attached to."""


def tuntap_state() -> str:
    """Whether TAP and TUN devices are available, and if not, why."""
    device = Path("/dev/net/tun")
    if not sys.platform.startswith("linux"):
        return "no: Linux only"
    if not device.exists():
        return f"no: {device} is missing (load the module tun)"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"no: this user may not open {device}"
    if os.geteuid() != 0:
        return "only devices made for this user (ip tuntap add mode tap user NAME)"
    return "yes"


def packet_state() -> str:
    """Whether raw packet sockets are available."""
    if not hasattr(socket, "AF_PACKET"):
        return "no: Linux only"
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        return "no: needs CAP_NET_RAW"
    return "yes"


def wireguard_state() -> str:
    """Whether the package that WireGuard needs is here."""
    if importlib.util.find_spec("cryptography") is None:
        return "no: pip install 'pystack-lwip[wireguard]'"
    return "yes"


def wires() -> list[tuple[str, str, str]]:
    """Each kind of wire: how it is named, what it is, and whether this user may use it here."""
    return [
        ("tap:NAME", "Ethernet frames to and from the kernel", tuntap_state()),
        ("tun:NAME", "IP packets to and from the kernel", tuntap_state()),
        *(
            (f"packet:{device}", "raw frames on a device of the kernel's", packet_state())
            for _index, device in socket.if_nameindex()
        ),
        ("fd:N", "frames over an inherited datagram descriptor", "yes"),
        ("fd:N,length16", "the same over a stream, behind 16-bit lengths", "yes"),
        ("fd:N,length32", "the same, behind 32-bit lengths", "yes"),
        ("wg:FILE", "WireGuard, as a file of wg-quick says", wireguard_state()),
        ("udp:[HOST]:PORT,peer=HOST:PORT", "frames over the kernel's UDP", "yes"),
        ("vxlan:VNI,peer=HOST", "Ethernet over UDP among several (RFC 7348)", "yes"),
    ]


@nic.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_nics(as_json: bool) -> None:
    """Lists the kinds of wire, and whether this user may use them here."""
    if as_json:
        rows = [{"wire": name, "about": about, "here": here} for name, about, here in wires()]
        click.echo(json.dumps(rows, indent=1))
        return
    table = Table("wire", "what it is", "here")
    for row in wires():
        table.add_row(*row)
    Console().print(table)
