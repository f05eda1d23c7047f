"""What any engine has to pass: these tests run on each that is built, and on those named.

`pytest tests/engines --engine PATH` adds the library of an engine of one's own.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from engine_exceptions import EXCEPTIONS
from quick import representatives, slow

from pystack._native.engines import SUFFIXES, engine_path

KNOWN = ("lwip", "gvisor", "linux")
QUICK = ("lwip", "linux")  # the others are left to CI, unless named


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take engines by their files; known only where this folder is named on the command line."""
    parser.addoption(
        "--engine",
        action="append",
        default=[],
        metavar="PATH",
        help="run tests/engines on this engine, a library or a name, and on no other",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let pystack find the libraries that are named."""
    for one in config.getoption("--engine", default=[]):
        path = Path(one)
        if path.suffix not in SUFFIXES:
            continue
        if not path.is_file():
            raise pytest.UsageError(f"--engine: there is no file {path}")
        folders = os.environ.get("PYSTACK_ENGINES")
        folder = str(path.resolve().parent)
        os.environ["PYSTACK_ENGINES"] = os.pathsep.join([folder, folders] if folders else [folder])


def chosen(config: pytest.Config) -> list[str]:
    """The names of the engines to test."""
    return [Path(one).stem if Path(one).suffix in SUFFIXES else one
            for one in config.getoption("--engine", default=[])] or list(KNOWN)  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`engine` is each in turn, `engines` each beside itself and on either side of lwip."""
    named = metafunc.config.getoption("--engine", default=[])
    names = chosen(metafunc.config)
    quick = [name for name in names if named or name in QUICK]
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", representatives(names, quick))
    if "engines" in metafunc.fixturenames:
        pairs = [(name, other) for name in names for other in dict.fromkeys((name, "lwip"))]
        pairs += [("lwip", name) for name in names if name != "lwip"]
        values = [pair if set(pair) <= {*quick} else slow(pair) for pair in pairs]
        metafunc.parametrize("engines", values, ids="-".join)


def _absent(name: str) -> str | None:
    """Why an engine can't be tested here; None: it can."""
    try:
        engine_path(name)
    except OSError as error:
        return str(error.strerror)
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips engines that are not built; of the declared exceptions each has to fail."""
    for item in items:
        if item.path.parent != Path(__file__).parent or not isinstance(item, pytest.Function):
            continue
        values = item.callspec.params if hasattr(item, "callspec") else {}
        names = {values["engine"]} if "engine" in values else set(values.get("engines", ()))
        for name in sorted(names):
            if reason := _absent(name):
                item.add_marker(pytest.mark.skip(reason=reason))
                continue
            declared = EXCEPTIONS.get(name.partition("-")[0], {})
            # By the whole name, with the parameters, or for all parameters.
            if reason := declared.get(item.name) or declared.get(item.originalname):
                item.add_marker(pytest.mark.xfail(reason=f"{name}: {reason}", strict=True))
