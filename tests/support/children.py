"""Children that `os.fork` makes, and what becomes of what they do."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest

HERE = "127.0.0.1"
# Of tests in which other processes use a Stack.
MARKS = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # fork beside threads
    pytest.mark.skipif(sys.platform != "linux", reason="Linux's packets in sequence"),
]


def connected(sockets: Any) -> tuple[Any, Any]:
    """Two sockets of a module `socket` with a connection between them."""
    with sockets.create_server((HERE, 0)) as listener:
        client = sockets.create_connection(listener.getsockname())
        return client, listener.accept()[0]


class Child:
    """A child process that does one thing; what that gives or raises comes back by a pipe."""

    def __init__(self, action: Callable[[], Any]) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(reader)
                try:
                    outcome = (True, action())
                except BaseException as error:
                    error.add_note(traceback.format_exc()) if hasattr(error, "add_note") else None
                    outcome = (False, error)
                with os.fdopen(writer, "wb") as pipe:
                    pickle.dump(outcome, pipe)
            finally:
                os._exit(0)
        os.close(writer)
        self._reader = reader

    def result(self) -> Any:
        """What the action gave; raises what it raised."""
        with os.fdopen(self._reader, "rb") as pipe:
            data = pipe.read()
        _pid, status = os.waitpid(self.pid, 0)
        assert data, f"the child ended with status {status}"
        good, value = pickle.loads(data)
        if not good:
            raise value
        return value

    def kill(self) -> None:
        """Ends it by SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._reader)


def in_child(action: Callable[[], Any]) -> Any:
    """What an action gives, or raises, in a child process."""
    return Child(action).result()
