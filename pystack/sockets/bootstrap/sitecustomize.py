"""Found first by each Python that a program under `pystack run` starts: joins the Stack.

A Python that has no pystack goes on without: what it asks the kernel for is then the matter of
`pystack run --strict`.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def _join() -> None:
    try:
        from pystack.sockets.joining import join_by_environment  # noqa: PLC0415
    except ImportError as error:
        if error.name != "pystack":
            print(f"pystack: this process can't join its Stack: {error}", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)
    else:
        join_by_environment()


def _go_on() -> None:
    """Executes the `sitecustomize` that would be found without this one."""
    paths = [path for path in sys.path if Path(path).resolve() != _HERE]
    spec = PathFinder.find_spec("sitecustomize", paths)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_join()
_go_on()
