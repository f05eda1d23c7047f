"""``pystack run``: a whole Python program on a stack."""

from __future__ import annotations

import errno
import functools
import importlib.util
import itertools
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from pystack.cli import program
from pystack.cli.confine import confine
from pystack.cli.ending import conduct, end_last
from pystack.cli.options import StackOptions, stack_options
from pystack.cli.values import Number
from pystack.sockets.joining import share_by_environment
from pystack.stack import LINGER

_PROGRAM = ("-m", "-c")  # names a module, or is the code
_DESCRIPTORS = 65536  # more would slow programs that loop over all of them


def _raise_descriptor_limit() -> None:
    """Raises the soft limit: a polled socket takes two descriptors."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _has_module(name: str) -> bool:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
    finally:
        del sys.path[0]


def _no_script(word: str) -> click.UsageError:
    """Says what the word might have meant."""
    text = f"there is no script {word}"
    if _has_module(word):
        text += f"; there is a module of that name: `-- -m {word}`"
    elif (found := shutil.which(word)) is not None:
        text += f"; if {found} is a Python script, name it by that path"
    return click.UsageError(text)


def _check_script(word: str) -> None:
    """Refuses a script that isn't there, or that this user may not read."""
    try:
        Path(word).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise _no_script(word) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise click.UsageError(f"can't read the script {word}: {reason}") from None
    if not os.access(word, os.R_OK):
        raise click.UsageError(f"can't read the script {word}: {os.strerror(errno.EACCES)}")


class _Run(click.Command):
    """A command whose own options end with the program's name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuses an unknown option before -m or -c; those after are the program's."""
        own = list(
            itertools.takewhile(lambda word: word != "--" and word[:2] not in _PROGRAM, args)
        )
        if len(own) < len(args) and args[len(own)] != "--":
            ctx.ignore_unknown_options = False
            self.make_parser(ctx).parse_args(own)
            ctx.ignore_unknown_options = True
        return super().parse_args(ctx, args)


def _begin_with_a_script(
    ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuses an unknown option where a script should stand; those after it are the program's."""
    chosen = ctx.params.get("module") is not None or ctx.params.get("code") is not None
    first = words[0] if words else ""
    if (
        chosen
        or first == "-"
        or first in _PROGRAM
        or not first.startswith("-")
        or Path(first).exists()
    ):
        return words
    known = [name for one in ctx.command.params for name in (*one.opts, *one.secondary_opts)]
    raise click.NoSuchOption(first.partition("=")[0], possibilities=known, ctx=ctx)


def _program(module: str | None, code: str | None, words: tuple[str, ...]) -> Callable[[], Any]:
    """The function that runs the program on the command line.

    Raises:
        click.UsageError: There is no program, more than one, or no such script.
    """
    if module is None and code is None and words and words[0] in _PROGRAM:
        option, first, words = words[0], words[1] if len(words) > 1 else None, words[2:]
        module, code = (first, None) if option == "-m" else (None, first)
    if module is not None and code is not None:
        raise click.UsageError("a module with -m or code with -c, not both")
    if module is not None:
        return functools.partial(program.run_module, module, words)
    if code is not None:
        return functools.partial(program.run_code, code, words)
    if not words:
        raise click.UsageError(
            "name a script to run, - for standard input, a module with -m, or code with -c"
        )
    if words[0] == "-":
        return functools.partial(program.run_stdin, words[1:])
    _check_script(words[0])
    return functools.partial(program.run_path, words[0], words[1:])


@click.command(cls=_Run, context_settings={"ignore_unknown_options": True})
@stack_options
@click.option("-m", "module", help="Run a module, as `python -m` does.")
@click.option("-c", "code", help="Run this code, as `python -c` does.")
@click.option(
    "--strict/--no-strict",
    default=True,
    help="Refuse all use of the kernel's IPv4 and IPv6, also by child programs (default).",
)
@click.option(
    "--linger",
    type=Number(0),
    default=LINGER,
    show_default=True,
    help="At exit, seconds without progress before undelivered data is given up.",
)
@click.argument(
    "words",
    nargs=-1,
    metavar="[--] SCRIPT [ARGUMENTS]...",
    type=click.UNPROCESSED,
    callback=_begin_with_a_script,
)
def run(
    module: str | None,
    code: str | None,
    strict: bool,
    linger: float,
    words: tuple[str, ...],
    options: StackOptions,
) -> None:
    """Runs a Python program on a stack's sockets.

    \b
    pystack run --nic tap:tap0 --address 10.0.0.2/24 -- script.py ARGUMENTS
    pystack run --nic tap:tap0 --address 10.0.0.2/24 -- -m MODULE ARGUMENTS
    pystack run --nic tap:tap0 --address 10.0.0.2/24 -- -c CODE ARGUMENTS

    The script - is read from standard input. The program uses socket, TLS and asyncio as usual:
    IPv4 and IPv6 sockets, those on 127.0.0.1 included, are the stack's; sockets of other families
    are the kernel's. An uncaught exception is printed and the status is 1, as under python(1). C
    libraries and child programs that ask the kernel for IPv4 or IPv6 sockets are refused, with a
    message. However the program ends, data that its sockets had accepted is delivered first.
    """  # noqa: D301 - click's mark, not a backslash
    start = _program(module, code, words)
    _raise_descriptor_limit()
    with ExitStack() as started:
        net, interface = started.enter_context(options.stack())
        options.advise(interface)
        net.linger = linger
        started.enter_context(net.installed(strict=strict))
        lasting = started.pop_all()  # left at the very end: ending.py
    end_last(lasting.close)
    share_by_environment(net.sockets, strict)
    if strict:
        confine()
    conduct(start, (__file__, functools.__file__, *program.FILES))
