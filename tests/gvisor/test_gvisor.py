"""What is netstack's alone: one image of Go for all Stacks, built on demand, no services."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile

import pytest

import pystack
from pystack._native.engines import engine_path


@pytest.fixture
def built() -> None:
    """Skips a test where the engine has not been built."""
    try:
        engine_path("gvisor")
    except OSError as error:
        pytest.skip(str(error.strerror))


@pytest.mark.usefixtures("built")
def test_after_fork_the_engine_is_refused() -> None:
    program = """
import os, pystack, warnings
warnings.simplefilter("ignore")
net = pystack.Stack(engine="gvisor", threaded=False)
child = os.fork()
if child == 0:
    try:
        net.connections()
    except OSError as error:
        inherited = error.errno
    try:
        pystack.Stack(engine="gvisor")
    except OSError as error:
        os._exit(0 if (inherited, error.errno) == (130, 130) and "fork" in str(error) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
net.close()
"""
    assert errno.EOWNERDEAD == 130
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False,
        cwd=tempfile.gettempdir(),  # not in the source tree, which is not built
    )  # fmt: skip
    assert done.stdout.strip() == "0", done.stderr


def test_it_has_to_be_built_first(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PYSTACK_ENGINES", raising=False)
    with pytest.raises(OSError, match="pystack engine build gvisor") as caught:
        pystack.Stack(engine="gvisor")
    assert caught.value.errno == errno.ENOENT


@pytest.mark.usefixtures("built")
def test_a_snapshot_is_refused_and_harms_nothing() -> None:
    with pystack.Stack(engine="gvisor", threaded=False) as net:
        with pytest.raises(OSError, match="the state of all its Stacks") as refused:
            net.snapshot()
        assert refused.value.errno == errno.EOPNOTSUPP
        assert net.ping("127.0.0.1")
