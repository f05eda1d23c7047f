"""``pystack ping``."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from pystack.cli.options import StackOptions, stack_options


@click.command()
@click.argument("destination")
@click.option("--count", "-c", type=click.IntRange(1), default=4, show_default=True)
@click.option("--size", "-s", type=click.IntRange(0, 65507), default=56, show_default=True)
@click.option("--interval", "-i", type=click.FloatRange(0), default=1.0, show_default=True)
@click.option("--timeout", "-W", type=click.FloatRange(0), default=1.0, show_default=True)
@stack_options
def ping(
    destination: str,
    count: int,
    size: int,
    interval: float,
    timeout: float,
    options: StackOptions,
) -> None:
    """Sends echo requests to DESTINATION from a stack of its own."""
    console = Console(highlight=False)
    with options.stack() as (net, _interface):
        result = net.ping(destination, count=count, size=size, interval=interval, timeout=timeout)
    for reply in result.replies:
        console.print(str(reply))
    console.print(str(result))
    sys.exit(0 if result.received else 1)
