"""``pystack serve``: a folder over HTTP."""

from __future__ import annotations

import functools
from http.server import SimpleHTTPRequestHandler

import click
from rich.console import Console

from pystack.cli.http import HTTPServer
from pystack.cli.options import StackOptions, stack_options


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False), default=".")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="TCP port to listen on.",
)
@stack_options
def serve(directory: str, port: int, options: StackOptions) -> None:
    """Serves DIRECTORY over HTTP until Ctrl-C.

    Creates the TAP if it doesn't exist and this user may.
    """
    console = Console(highlight=False)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=directory)
    with options.stack() as (net, interface):
        wildcard = "::" if net.sockets.has_dualstack_ipv6() else "0.0.0.0"
        with HTTPServer(net, (wildcard, port), handler) as server:  # type: ignore[arg-type]
            options.advise(interface)
            for address in interface.addresses.list():
                host = f"[{address.ip}]" if address.ip.version == 6 else str(address.ip)
                console.print(f"Serving {directory} on http://{host}:{port}/", markup=False)
            server.serve_forever()
