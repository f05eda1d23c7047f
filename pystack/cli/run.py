"""``pystack run``: a whole Python program on a stack."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import click

from pystack.cli.options import StackOptions, stack_options


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("-m", "module", help="Run a module, as `python -m` does.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@stack_options
def run(module: str | None, words: tuple[str, ...], options: StackOptions) -> None:
    """Runs a Python program whose sockets are a stack's.

    ``pystack run --nic tap:tap0 --address 10.0.0.2/24 -- script.py ARGUMENTS``, or
    ``-- -m MODULE ARGUMENTS``. The program sees the module `socket`, TLS and asyncio as ever; the
    Internet's families are the stack's, all others the kernel's.
    """
    if module is None and words[:1] == ("-m",):
        module, words = words[1] if len(words) > 1 else None, words[2:]
    if module is None and not words:
        raise click.UsageError("say which script to run, or which module with -m")
    with options.stack() as (net, _interface), net.installed():
        if module is not None:
            sys.argv = [module, *words]
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            script = Path(words[0])
            if not script.exists():
                raise click.UsageError(f"there is no script {script}")
            sys.argv = list(words)
            sys.path.insert(0, str(script.resolve().parent))
            runpy.run_path(str(script), run_name="__main__")
