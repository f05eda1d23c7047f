"""``pystack get``: fetch a URL."""

from __future__ import annotations

import shutil
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import click

from pystack.cli.options import OUTPUT, StackOptions, stack_options
from pystack.cli.values import Number


@click.command()
@stack_options
@click.argument("url")
@click.option("--output", "-o", type=OUTPUT, help="File to write; default: standard output.")
@click.option(
    "--timeout",
    type=Number(0.001),
    default=30.0,
    show_default=True,
    help="Time to wait for the server, seconds.",
)
def get(url: str, output: Path | None, timeout: float, options: StackOptions) -> None:
    """Fetches URL (http or https) through a stack of its own.

    Redirections are followed; proxy settings are ignored.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.UsageError(f"{url!r} is not an http:// or https:// URL")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with options.stack() as (net, interface):
        options.advise(interface)
        with net.installed():
            try:
                with opener.open(url, timeout=timeout) as response:
                    _write(response, output)
            except HTTPError as error:
                raise click.ClickException(f"{url}: {error.code} {error.reason}") from error
            except URLError as error:
                raise click.ClickException(f"{url}: {error.reason}") from error
            except HTTPException as error:
                raise click.ClickException(f"{url}: bad HTTP response: {error!r}") from error


def _write(response: Any, output: Path | None) -> None:
    """Writes the body.

    Raises:
        HTTPException: It ended before its length, which `read` with a size doesn't tell.
    """
    if output is None:
        shutil.copyfileobj(response, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    else:
        with output.open("wb") as file:
            shutil.copyfileobj(response, file)
    if response.length:
        raise HTTPException(f"the body ended {response.length} bytes early")
