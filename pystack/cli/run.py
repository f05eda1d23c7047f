"""``pystack run``: a whole Python program on a stack."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from pystack.cli.confine import confine
from pystack.cli.ending import conduct, end_last
from pystack.cli.options import StackOptions, stack_options
from pystack.sockets.joining import share_by_environment
from pystack.stack import LINGER

_DESCRIPTORS = 65536  # of which more than a program's loop over all would like


def _raise_descriptor_limit() -> None:
    """A socket that is watched takes two descriptors: what the kernel lets a process have."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _conduct(program: Callable[[], Any]) -> None:
    conduct(program, (__file__, runpy.__file__, "<frozen runpy>"))


def _run_code(code: str) -> None:
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("-m", "module", help="Run a module, as `python -m` does.")
@click.option("-c", "code", help="Run this code, as `python -c` does.")
@click.option(
    "--strict/--no-strict",
    default=True,
    help="Refuse what asks the kernel for the Internet's sockets, child programs too (default).",
)
@click.option(
    "--linger",
    type=click.FloatRange(min=0),
    default=LINGER,
    show_default=True,
    help="At the end: seconds without progress after which what peers do not take is given up.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@stack_options
def run(
    module: str | None,
    code: str | None,
    strict: bool,
    linger: float,
    words: tuple[str, ...],
    options: StackOptions,
) -> None:
    """Runs a Python program whose sockets are a stack's.

    ``pystack run --nic tap:tap0 --address 10.0.0.2/24 -- script.py ARGUMENTS``, or
    ``-- -m MODULE ARGUMENTS``, or ``-- -c CODE ARGUMENTS``. The program sees the module `socket`,
    TLS and asyncio as ever; the Internet's families are the stack's, all others the kernel's. What
    it raises and does not catch is printed and ends it with status 1, as by python(1). C libraries
    and child programs that ask the kernel for the Internet's sockets are refused, in words. However
    it ends, what its sockets had accepted for sending is delivered first.
    """
    if module is None and code is None and words[:1] == ("-m",):
        module, words = words[1] if len(words) > 1 else None, words[2:]
    elif module is None and code is None and words[:1] == ("-c",):
        code, words = words[1] if len(words) > 1 else None, words[2:]
    if module is not None and code is not None:
        raise click.UsageError("a module with -m or code with -c, not both")
    if module is None and code is None and not words:
        raise click.UsageError("say which script to run, which module with -m, or code with -c")
    script = Path(words[0]) if module is None and code is None else None
    if script is not None and not script.exists():
        raise click.UsageError(f"there is no script {script}")
    _raise_descriptor_limit()
    with ExitStack() as started:
        net, _interface = started.enter_context(options.stack())
        net.linger = linger
        started.enter_context(net.installed(strict=strict))
        lasting = started.pop_all()  # left at the very end: ending.py
    end_last(lasting.close)
    share_by_environment(net.sockets, strict)
    # As python(1) would have it: reloaders start the program again by this.
    option = ["-m", module] if module is not None else ["-c", code] if code is not None else []
    sys.orig_argv = [sys.executable, *map(str, option), *words]
    if strict:
        confine()
    if module is not None:
        sys.argv = [module, *words]
        sys.path.insert(0, str(Path.cwd()))
        name = module
        _conduct(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True))
    elif code is not None:
        sys.argv = ["-c", *words]
        sys.path.insert(0, "")
        text = code
        _conduct(lambda: _run_code(text))
    elif script is not None:
        sys.argv = list(words)
        sys.path.insert(0, str(script.resolve().parent))
        _conduct(lambda: runpy.run_path(str(script), run_name="__main__"))
