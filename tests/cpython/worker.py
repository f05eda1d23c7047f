"""Runs tests of the standard library's own test package, one line of JSON for each.

``worker.py KIND MODULE FIRST [TEST...]``: KIND is "kernel", "stack" (a Stack's sockets under the
library's socket.py) or "installed" (`Stack.installed` over the library as it is); the tests of
``test.MODULE``, or those named, from the FIRSTth on, in an order that is always the same. Runs in a
network namespace of its own, with loopback up; a parent watches the time. The Stack's engine is
$PYSTACK_ENGINE.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys
import time
import unittest
from typing import Any

# What is imported afresh on top of the stand-in.
ABOVE = ("socket", "selectors", "ssl", "asyncio", "socketserver", "http", "urllib", "ftplib",
         "smtplib", "poplib", "imaplib", "nntplib", "telnetlib", "xmlrpc", "asyncore", "asynchat",
         "wsgiref", "multiprocessing", "concurrent", "logging", "test")  # fmt: skip


def new_stack() -> Any:
    """A Stack whose ports are soon free again, if its engine lets that be chosen."""
    import pystack

    net = pystack.Stack()
    if "net.ipv4.tcp_msl_ms" in net.sysctl:
        net.sysctl["net.ipv4.tcp_msl_ms"] = 1000
    return net


def stand_in() -> Any:
    """Puts a Stack's sockets under the library's socket.py; gives the Stack."""
    from pystack.sockets.lowlevel import lowlevel, wrap_socket

    net = new_stack()
    for name in [name for name in sys.modules if name.split(".")[0] in ABOVE]:
        del sys.modules[name]
    sys.modules["_socket"] = lowlevel(net.sockets)
    globals()["kept"] = net
    import ssl

    ssl.SSLContext._wrap_socket = wrap_socket
    return net


def install() -> None:
    """Does what users do: puts a Stack's sockets into the library's place."""
    net = new_stack()
    block = net.installed()
    block.__enter__()
    globals()["kept"] = net, block


def tests_of(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    found: list[unittest.TestCase] = []
    for one in suite:
        found += tests_of(one) if isinstance(one, unittest.TestSuite) else [one]
    return sorted(found, key=lambda test: test.id())


class Reporter(unittest.TestResult):
    """Writes each outcome as it comes."""

    def __init__(self, out: Any) -> None:
        super().__init__()
        self.out = out

    def report(self, test: Any, outcome: str, why: str = "") -> None:
        seconds = round(time.monotonic() - getattr(self, "started", time.monotonic()), 3)
        line = {"test": test.id(), "outcome": outcome, "why": why, "seconds": seconds}
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()

    def startTest(self, test: Any) -> None:  # noqa: N802
        super().startTest(test)
        self.started = time.monotonic()
        self.failed = False

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        self.report(test, "pass")

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        self.report(test, "skip", reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self.report(test, "pass", "expected failure")

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        self.report(test, "fail", "unexpected success")

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self.report(test, "fail", self._exc_info_to_string(err, test)[-1500:])

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self.report(test, "fail", self._exc_info_to_string(err, test)[-1500:])

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.report(test, "fail", self._exc_info_to_string(err, test)[-1500:])


def main() -> None:
    kind, name, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what tests print is not for the parent
    faulthandler.enable()
    if kind == "stack":
        stand_in()
    elif kind == "installed":
        install()
    from test import support

    support.use_resources = ["network"]  # of which there is none but loopback
    module = importlib.import_module(f"test.{name}")
    if hasattr(module, "setUpModule"):
        module.setUpModule()
    suite = unittest.TestLoader().loadTestsFromModule(module)
    only = set(sys.argv[4:])
    wanted = [test for test in tests_of(suite) if not only or test.id() in only]
    out.write(json.dumps({"tests": [test.id() for test in wanted]}) + "\n")
    out.flush()
    reporter = Reporter(out)
    unittest.TestSuite(wanted[first:]).run(reporter)
    out.write(json.dumps({"end": True}) + "\n")
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
