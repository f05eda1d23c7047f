"""A process that holds one end of a way, or both, and does as it is told over a pipe."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from pystack._native.closing import Closing
from pystack.bench.workloads import WORKLOADS, Ends

__all__ = ["Here", "Worker", "WorkerError"]

START_S = 60.0
STOP_S = 5.0


class WorkerError(Exception):
    """What was asked of a worker didn't succeed, or took too long."""


class Here:
    """What a worker holds.

    Attributes:
        server: The end whose sockets listen.
        client: The end whose sockets connect; the same one, unless both ends are here.
        cleanup: To be closed at the end.
        kept: Whatever one function keeps for the next.
    """

    def __init__(self) -> None:
        self.server: Ends | None = None
        self.client: Ends | None = None
        self.cleanup = contextlib.ExitStack()
        self.kept: Any = None
        self._listener: Any = None

    def control(self, congestion: str) -> None:
        """Has the kernel's sockets take this congestion control."""
        if self.server is not None:
            self.server = replace(self.server, congestion=congestion)
        if self.client is not None:
            self.client = replace(self.client, congestion=congestion)

    def open(self, workload: str) -> Any:
        """Makes the server's socket of a workload; gives its address."""
        if self.server is None:
            raise ValueError("no end is open here")
        self._listener = WORKLOADS[workload].open(self.server)
        return self._listener.getsockname()

    def serve(self, workload: str, seconds: float) -> dict[str, float]:
        """Does the server's half."""
        with self._listener:
            return WORKLOADS[workload].serve(self._listener, seconds)

    def ask(self, workload: str, address: Any, seconds: float) -> dict[str, float]:
        """Does the client's half."""
        if self.client is None:
            raise ValueError("no end is open here")
        return WORKLOADS[workload].ask(self.client, address, seconds)

    def both(self, workload: str, seconds: float) -> dict[str, float]:
        """Does both halves, in two threads."""
        address = self.open(workload)
        found: dict[str, float] = {}
        thread = threading.Thread(target=lambda: found.update(self.serve(workload, seconds)))
        thread.start()
        asked = self.ask(workload, address, seconds)
        thread.join()
        return found | asked


def _main(pipe: Connection) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    here = Here()
    with here.cleanup, contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            function, arguments = pipe.recv()
            try:
                answer = (True, function(here, *arguments))
            except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
                answer = (False, f"{type(error).__name__}: {error}")
            pipe.send(answer)


class Worker(Closing):
    """A worker process; a context manager.

    Attributes:
        process: It.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_main, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid or 0

    def tell(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Begins a function of a `Here` and the arguments; `answer` has to be asked next."""
        self._pipe.send((function, arguments))

    def answer(self, within_s: float = START_S) -> Any:
        """What came of it.

        Raises:
            WorkerError: It failed, or there is no answer in time.
        """
        try:
            if not self._pipe.poll(within_s):
                raise WorkerError(f"no answer within {within_s:.0f} s")
            succeeded, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise WorkerError(f"the process is gone, with code {self.process.exitcode}") from error
        if not succeeded:
            raise WorkerError(value)
        return value

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Both of the above."""
        self.tell(function, *arguments)
        return self.answer()

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self.process.join(STOP_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
