"""``pystack get``: fetch a URL."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from pystack.cli.http import HTTPConnection
from pystack.cli.options import StackOptions, stack_options


@click.command()
@click.argument("url")
@click.option("--output", "-o", help="The file to write; without it, standard output.")
@click.option("--timeout", type=click.FloatRange(0.001), default=30.0, show_default=True)
@stack_options
def get(url: str, output: str | None, timeout: float, options: StackOptions) -> None:
    """Fetches URL (http only) through a stack of its own."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise click.UsageError(f"{url!r} is not an http:// URL")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with options.stack() as (net, _interface):
        connection = HTTPConnection(net, parts.hostname, parts.port or 80, timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            if output is None:
                shutil.copyfileobj(response, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            else:
                with Path(output).open("wb") as file:
                    shutil.copyfileobj(response, file)
        finally:
            connection.close()
    if response.status >= 400:
        raise click.ClickException(f"{url}: {response.status} {response.reason}")
