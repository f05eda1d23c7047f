"""``pystack serve``: a folder over HTTP."""

from __future__ import annotations

import functools
import ipaddress
from http.server import SimpleHTTPRequestHandler

import click
from rich.console import Console

import pystack
from pystack.cli.http import HTTPServer
from pystack.cli.options import StackOptions, stack_options


def neighbour_of(address: str) -> str:
    """An address for the other side of the wire: the first of the network that isn't ours."""
    interface = ipaddress.ip_interface(address)
    other = next(host for host in interface.network.hosts() if host != interface.ip)
    return f"{other}/{interface.network.prefixlen}"


def advise(console: Console, interface: pystack.Interface, addresses: tuple[str, ...]) -> None:
    """Says what the kernel's side of a TAP or TUN still needs; nothing is changed there."""
    device = getattr(interface.nic, "name", None)
    if device is None:
        return
    console.print(f"The other side is the device {device}. To reach this stack from the kernel:")
    for address in addresses:
        console.print(f"  ip address add {neighbour_of(address)} dev {device}")
    console.print(f"  ip link set {device} up")


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False), default=".")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@stack_options
def serve(directory: str, port: int, options: StackOptions) -> None:
    """Serves DIRECTORY over HTTP until Ctrl-C.

    The TAP is made if it is not there and this user may.
    """
    console = Console(highlight=False)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=directory)
    with options.stack() as (net, interface):
        wildcard = "::" if net.sockets.has_dualstack_ipv6() else "0.0.0.0"
        with HTTPServer(net, (wildcard, port), handler) as server:  # type: ignore[arg-type]
            advise(console, interface, options.addresses)
            for address in interface.addresses.list():
                host = f"[{address.ip}]" if address.ip.version == 6 else str(address.ip)
                console.print(f"Serving {directory} on http://{host}:{port}/", markup=False)
            server.serve_forever()
