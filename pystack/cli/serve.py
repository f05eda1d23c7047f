"""``pystack serve``: a folder over HTTP."""

from __future__ import annotations

import functools
import ipaddress
from http.server import SimpleHTTPRequestHandler

import click
from rich.console import Console

from pystack.cli.http import HTTPServer
from pystack.cli.options import StackOptions, device_of, stack_options


def url_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address, zone: str | None) -> str:
    """An address as it stands in a URL, for a program of this machine's.

    A link-local one needs its zone (RFC 6874 2): the device that the program reaches the Stack by.

    Args:
        address: The Stack's.
        zone: The name of the kernel's device; None: it is not known.
    """
    if address.version == 4:
        return str(address)
    if address.is_link_local and zone is not None:
        return f"[{address}%25{zone}]"
    return f"[{address}]"


@click.command()
@stack_options
@click.argument("directory", type=click.Path(exists=True, file_okay=False), default=".")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="TCP port to listen on.",
)
def serve(directory: str, port: int, options: StackOptions) -> None:
    """Serves DIRECTORY over HTTP until Ctrl-C.

    Creates the TAP if it doesn't exist and this user may.
    """
    console = Console(highlight=False)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=directory)
    with options.stack() as (net, interface):
        wildcard = "::" if net.sockets.has_dualstack_ipv6() else "0.0.0.0"
        with HTTPServer(net, (wildcard, port), handler) as server:  # type: ignore[arg-type]
            options.advise(interface, lasting=True)
            zone = device_of(interface)
            for address in interface.addresses.list():
                host = url_host(address.ip, zone)
                console.print(f"Serving {directory} on http://{host}:{port}/", markup=False)
            server.serve_forever()
