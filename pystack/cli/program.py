"""A program as python(1) runs it, inside this process: `__main__` is the program's, to the end.

The module `__main__`, `sys.argv`, `sys.path[0]` and `sys.orig_argv` become what they would be had
the interpreter been started with the program, and stay so: threads, exit handlers and the processes
of multiprocessing look there long after its last line.
"""

from __future__ import annotations

import builtins
import io
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

__all__ = ["FILES", "run_code", "run_module", "run_path", "run_stdin"]

# Whose frames stand above the program's in a traceback.
FILES = (__file__, runpy.__file__, "<frozen runpy>")

_kept: list[ModuleType | None] = []  # modules that were `__main__`: their code still runs


def run_code(code: str, arguments: Sequence[str]) -> None:
    """As ``python -c CODE ARGUMENTS``."""
    main = _become(["-c", *arguments], ["-c", code, *arguments], "")
    exec(compile(code, "<string>", "exec", dont_inherit=True), vars(main))


def run_stdin(arguments: Sequence[str]) -> None:
    """As ``python - ARGUMENTS``: a script from standard input, which is read to its end first."""
    code = compile(sys.stdin.buffer.read(), "<stdin>", "exec", dont_inherit=True)
    main = _become(["-", *arguments], ["-", *arguments], "")
    main.__file__ = code.co_filename
    vars(main)["__cached__"] = None
    exec(code, vars(main))


def run_module(name: str, arguments: Sequence[str]) -> None:
    """As ``python -m NAME ARGUMENTS``.

    Raises:
        SystemExit: There is no such module; in Python's words.
    """
    _become(["-m", *arguments], ["-m", name, *arguments], str(Path.cwd()))
    _run_as_main(name, True)


def run_path(path: str, arguments: Sequence[str]) -> None:
    """As ``python PATH ARGUMENTS``: a script, compiled or not, or a folder or zip with `__main__`.

    Raises:
        OSError: It can't be read.
    """
    words, whole = [path, *arguments], str(Path(path).absolute())
    if pkgutil.get_importer(whole) is not None:
        _become(words, words, whole)
        _run_as_main("__main__", False)
        return
    code, loader = _code_of(whole)
    main = _become(words, words, str(Path(path).resolve().parent))
    main.__file__ = whole
    main.__loader__ = loader
    vars(main)["__cached__"] = None
    exec(code, vars(main))


def _run_as_main(name: str, is_module: bool) -> None:
    # What the interpreter itself calls for -m, folders and zips.
    run: Any = vars(runpy)["_run_module_as_main"]
    run(name, is_module)


def _code_of(path: str) -> tuple[CodeType, Any]:
    with io.open_code(path) as file:
        code = pkgutil.read_code(file)
    if code is not None:
        return code, SourcelessFileLoader("__main__", path)
    with io.open_code(path) as file:
        source = file.read()
    return compile(source, path, "exec", dont_inherit=True), SourceFileLoader("__main__", path)


def _become(argv: list[str], words: list[str], first: str) -> ModuleType:
    """Makes a fresh `__main__`, and has the interpreter look as if started with the program.

    Args:
        argv: `sys.argv`.
        words: The command's, after `python`: reloaders start the program again by them.
        first: `sys.path[0]`.
    """
    main = ModuleType("__main__")
    main.__loader__ = BuiltinImporter
    vars(main)["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        vars(main)["__annotations__"] = {}
    before = sys.modules.get("__main__")
    _kept.append(before)
    sys.modules["__main__"] = main
    for name, module in list(sys.modules.items()):
        if module is before:  # multiprocessing knows it as `__mp_main__`, too
            sys.modules[name] = main
    sys.argv = argv
    sys.orig_argv = [sys.executable, *words]
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = first  # in the place of this command's own
    return main
