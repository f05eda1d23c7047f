"""``pystack proxy``: what is routed into a TUN or TAP leaves by the kernel's sockets or a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import Coroutine
from typing import Any

import click

import pystack
from pystack.cli.circles import Circles
from pystack.cli.options import StackOptions, device_of, say, stack_options
from pystack.cli.values import NOT_NEGATIVE, UPSTREAM
from pystack.embed.descriptors import descriptor_limit, raise_descriptor_limit
from pystack.embed.proxy import Forwarder, Upstream, parse_upstream
from pystack.embed.proxy.forwarder import UDP_ROOM

__all__ = ["proxy", "room_for", "until_stopped"]

_DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}
_OTHERS = 256  # descriptors that are no flow's


def _existing(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuses a device that isn't there: each flow would fail."""
    if value is not None:
        try:
            socket.if_nametoindex(value)
        except OSError:
            text = f"there is no device {value!r}; `ip link` lists them"
            raise click.BadParameter(text, ctx, param) from None
    return value


@click.command()
@stack_options
@click.option(
    "--upstream",
    type=UPSTREAM,
    default="direct",
    show_default=True,
    envvar="PYSTACK_UPSTREAM",
    show_envvar=True,
    help="Where flows leave: direct, socks5://[user:password@]host:port or http://host:port.",
)
@click.option(
    "--device",
    callback=_existing,
    help="The kernel's device that flows leave by; default: as its routes say. Needed where the "
    "default route leads into the wire itself.",
)
@click.option(
    "--connect-timeout",
    type=NOT_NEGATIVE,
    default=30.0,
    show_default=True,
    help="Time to connect upstream, seconds; after that the SYN stays unanswered.",
)
@click.option(
    "--udp-idle",
    type=NOT_NEGATIVE,
    default=120.0,
    show_default=True,
    help="Time after which a quiet UDP flow is forgotten, seconds.",
)
@click.option(
    "--flows",
    type=click.IntRange(min=1),
    default=65536,
    show_default=True,
    help="Maximum number of open flows; each has a descriptor (ulimit -n).",
)
@click.option(
    "--udp-room",
    type=click.IntRange(min=1),
    default=UDP_ROOM,
    show_default=True,
    help="Bytes of datagrams that may wait at all UDP flows together.",
)
def proxy(
    upstream: str,
    device: str | None,
    connect_timeout: float,
    udp_idle: float,
    flows: int,
    udp_room: int,
    options: StackOptions,
) -> None:
    """Forwards whatever is routed into the wire, until Ctrl-C.

    A connection is accepted once it is established upstream, and refused as it was refused there.
    The stack needs no address on a TUN; on a TAP give it the one that the kernel's routes name as
    their gateway.
    """
    flows = room_for(flows)
    with options.stack(addressed=False) as (net, interface):
        _need_a_way_back(net, interface, options.gateway)
        options.advise(interface, lasting=True)
        way = parse_upstream(upstream, device)
        own = device_of(interface)
        to = None if own is None or device is not None else Circles(own, _address_of(way), say)
        forwarder = Forwarder(
            net,
            way,
            to=to,
            connect_timeout=connect_timeout,
            udp_idle=udp_idle,
            udp_room=udp_room,
        )
        wire = own or options.nic
        told = f"Proxying what is routed into {wire} by {way!r}"
        asyncio.run(until_stopped(_forward(forwarder, flows, told)))


def _address_of(way: Upstream) -> str | None:
    """A proxy's address; its name is resolved as connections to it will."""
    host = getattr(way, "host", None)
    if host is None:
        return None
    try:
        return str(socket.getaddrinfo(host, None)[0][4][0])
    except OSError:
        return None  # each flow will say so


async def _forward(forwarder: Forwarder, flows: int, told: str) -> None:
    click.echo(told, err=True)
    await forwarder.run(open=flows)


def _need_a_way_back(net: pystack.Stack, interface: pystack.Interface, gateway: str | None) -> None:
    """Routes answers to whatever source into the wire that the flow came by."""
    routed = {ipaddress.ip_address(gateway).version} if gateway is not None else set()
    for version, network in _DEFAULTS.items():
        if version not in routed:
            with contextlib.suppress(FileExistsError):  # DHCP gave one
                net.routes.add(network, interface=interface)


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine to its end, or until SIGTERM or Ctrl-C: then it ends in order.

    Raises:
        KeyboardInterrupt: After Ctrl-C.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    came: list[int] = []

    def stop(number: int) -> None:
        came.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    if signal.SIGINT in came:
        raise KeyboardInterrupt


def room_for(wanted: int, each: int = 1) -> int:
    """So many flows, or as many as there may be descriptors for; raises the soft limit."""
    raise_descriptor_limit()
    limit = descriptor_limit()
    return min(wanted, max(1, (limit - min(_OTHERS, limit // 4)) // each))
