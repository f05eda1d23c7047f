"""``pystack nic``: what wires this machine offers."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.group()
def nic() -> None:
    """Wires that a stack may be put on."""


def tuntap_state() -> str:
    """Whether TAP and TUN devices can be had here, and if not, why."""
    device = Path("/dev/net/tun")
    if not sys.platform.startswith("linux"):
        return "no: Linux only"
    if not device.exists():
        return f"no: {device} is missing (load the module tun)"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"no: {device} may not be opened by this user"
    if os.geteuid() != 0:
        return "only devices made for this user (ip tuntap add mode tap user NAME)"
    return "yes"


def packet_state() -> str:
    """Whether raw packet sockets can be had here."""
    if not hasattr(socket, "AF_PACKET"):
        return "no: Linux only"
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        return "no: needs CAP_NET_RAW"
    return "yes"


@nic.command("list")
def list_nics() -> None:
    """Lists the kinds of wire, and whether this user may have them here."""
    table = Table("wire", "what it is", "here")
    table.add_row("tap:NAME", "Ethernet frames to and from the kernel", tuntap_state())
    table.add_row("tun:NAME", "IP packets to and from the kernel", tuntap_state())
    for _index, device in socket.if_nameindex():
        table.add_row(f"packet:{device}", "raw frames on a device of the kernel's", packet_state())
    table.add_row("fd:N", "frames over an inherited datagram descriptor", "yes")
    table.add_row("fd:N,length16", "the same over a stream, behind 16-bit lengths", "yes")
    table.add_row("fd:N,length32", "the same, behind 32-bit lengths", "yes")
    Console().print(table)
