"""The command ``pystack``."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from pystack.cli.bench import bench
from pystack.cli.demo import demo
from pystack.cli.get import get
from pystack.cli.lab import lab
from pystack.cli.nics import nic
from pystack.cli.ping import ping
from pystack.cli.run import run
from pystack.cli.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pystack-lwip")
def cli() -> None:
    """A TCP/IP stack inside this process: no kernel sockets, and mostly no root."""


for command in (bench, demo, get, lab, nic, ping, run, serve):
    cli.add_command(command)


def main() -> None:
    """Runs the command; what the system or the user got wrong is one line, not a traceback."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (OSError, ValueError) as error:
        Console(stderr=True, highlight=False).print(f"[red]pystack:[/] {error}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
