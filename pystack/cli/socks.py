"""``pystack socks``: a SOCKS5 and HTTP CONNECT server whose connections leave through a stack."""

from __future__ import annotations

import asyncio

import click

from pystack.cli.options import StackOptions, stack_options
from pystack.cli.proxy import room_for, until_stopped
from pystack.embed.socks import SocksServer

__all__ = ["socks"]


@click.command()
@stack_options
@click.option(
    "--listen",
    default="127.0.0.1",
    show_default=True,
    help="The kernel's address to listen at. Anyone who can reach it uses the stack's network.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=1080,
    show_default=True,
    help="TCP port to listen on; 0: any.",
)
@click.option("--user", help="The user that clients have to name.")
@click.option(
    "--password", envvar="PYSTACK_SOCKS_PASSWORD", show_envvar=True, help="The user's password."
)
@click.option(
    "--clients",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    help="Maximum number of clients at once.",
)
@click.option(
    "--per-address",
    type=click.IntRange(min=1),
    help="Maximum number of them at one address; default: fewer than there are places left.",
)
def socks(
    listen: str,
    port: int,
    user: str | None,
    password: str | None,
    clients: int,
    per_address: int | None,
    options: StackOptions,
) -> None:
    """Serves SOCKS5 and HTTP CONNECT until Ctrl-C; connections leave through the stack.

    Names are resolved by the stack's name servers (--nameserver, or DHCP's).
    """
    if (user is None) != (password is None):
        raise click.UsageError("give both --user and --password, or neither")
    clients = room_for(clients, each=2)  # one that asks for datagrams has another socket
    with options.stack() as (net, interface):
        options.advise(interface, lasting=True)
        server = SocksServer(
            net, listen, port,
            user=user, password=password, clients=clients, per_address=per_address,
        )  # fmt: skip
        asyncio.run(until_stopped(_serve(server)))


async def _serve(server: SocksServer) -> None:
    async with server:
        where, number = server.address
        shown = f"[{where}]" if ":" in where else where
        click.echo(f"SOCKS5 and HTTP CONNECT on {shown}:{number}", err=True)
        await asyncio.get_running_loop().create_future()
