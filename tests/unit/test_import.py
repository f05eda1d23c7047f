"""What `import pystack` leaves for its first use: every program waits for what it imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVICE = """
with pystack.Stack() as net:
    net.attach(pystack.nic.wire()[0]).dhcp6(timeout=0)"""
NAME = """
with pystack.Stack() as net:
    net.sockets.getnameinfo(("192.0.2.1", 7), 0)"""


@pytest.mark.parametrize(
    ("module", "use"),
    [
        ("asyncio", "pystack.nic.Async"),
        ("importlib.metadata", "pystack.__version__"),
        ("platformdirs", "pystack._native.engines.cache_folder()"),
        ("pystack.names", NAME),
        ("pystack.serving.scheduler", SERVICE),
    ],
)
def test_imported_with_its_first_use(module: str, use: str) -> None:
    program = f"""
import sys, pystack
assert {module!r} not in sys.modules
{use}
assert {module!r} in sys.modules"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd="/")
