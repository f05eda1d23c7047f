"""The command ``pystack``."""

from __future__ import annotations

import codecs
import importlib
import os
import sys

import click

# Substitutes for terminals that can't show these.
_PLAIN = {"\u00b5": "u", "\u00d7": "x", "\u2026": "...", "\u2192": "->", "\u2013": "-"}
# Of `pystack.cli`: a command is imported when it is asked for. A program that `pystack run` runs
# finds as few modules loaded as python(1) would have loaded, and starts sooner.
_PLACES = {
    "bench": "bench:bench",
    "demo": "demo:demo",
    "engine": "engine:engine",
    "gateway": "gateway:gateway",
    "get": "get:get",
    "lab": "lab:lab",
    "manual": "manual:manual",
    "nic": "nics:nic",
    "ping": "ping:ping",
    "proxy": "proxy:proxy",
    "replay": "replay:replay",
    "run": "run:run",
    "serve": "serve:serve",
    "socks": "socks:socks",
    "traceroute": "traceroute:traceroute",
}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(one, "?") for one in error.object[error.start : error.end]), error.end


def _write_plainly() -> None:
    """Has a terminal that isn't UTF-8's shown what it can, where printing would raise."""
    codecs.register_error("pystack.plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if not (stream.encoding or "").lower().startswith("utf"):
            stream.reconfigure(errors="pystack.plain")  # type: ignore[union-attr]


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _PLACES:
            return None
        if cmd_name != "run":  # whose program has its streams as python(1) would give them
            _write_plainly()
        module, _, name = _PLACES[cmd_name].partition(":")
        found: click.Command = getattr(importlib.import_module(f"pystack.cli.{module}"), name)
        return found


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pystack-lwip")
def cli() -> None:
    """TCP/IP stacks inside this process: no kernel sockets and, on most wires, no root.

    `pystack manual` lists the pages of the manual.
    """


# Before click 8.2 a command without arguments prints its help by itself.
_HELP_INSTEAD: tuple[type[click.UsageError], ...] = tuple(
    one for one in [getattr(click.exceptions, "NoArgsIsHelpError", None)] if one is not None
)


def _fail(command: str, text: str) -> None:
    click.echo(f"{click.style(f'{command}:', fg='red')} {text}", err=True)


def _command(words: list[str]) -> str:
    """What the user has called, as `pystack lab run`: the words that name a command."""
    command: click.Command = cli
    path = "pystack"
    for word in words:
        found = None
        if isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
        if found is None:
            break
        command, path = found, f"{path} {word}"
    return path


def main() -> None:
    """Runs the command; errors of the system or the user are one line, not a traceback."""
    try:
        status = cli(standalone_mode=False, prog_name="pystack")
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except _HELP_INSTEAD as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        context = error.ctx
        command = _command(sys.argv[1:]) if context is None else context.command_path
        _fail(command, f"{error.format_message()} (see `{command} --help`)")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(_command(sys.argv[1:]), error.format_message())
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader has closed the pipe; at exit the interpreter would try to write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except (OSError, ValueError) as error:
        _fail(_command(sys.argv[1:]), str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
