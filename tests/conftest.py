"""What all tests share: first of all, that they test a built pystack."""

import importlib.util
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Stop where `import pystack` would find the source tree and not a built package.

    `pytest` imports the installed package, but `python -m pytest` in the repository's root puts
    that root on `sys.path` first.
    """
    spec = importlib.util.find_spec("pystack")
    if spec is None or spec.origin is None:
        raise pytest.UsageError("pystack is not installed here: pip install '.[test]'")
    package = Path(spec.origin).parent
    if not any((package / "_native").glob("_host.*")):
        raise pytest.UsageError(
            f"{package} is not built. Run `pytest` rather than `python -m pytest`, or build in "
            "place (see README.md)"
        )
