"""The table of how the library's own tests fare on a Stack, beside the kernel's sockets.

In two ways: "stack" has a Stack's sockets under the library's unchanged `socket.py`; "installed" is
what users do, `Stack.installed` over the library as it is. Each on lwip, and on another engine
that stands beside it.

``python tests/cpython/table.py [--way WAY]... [MODULE...]`` runs them and writes `table.json` anew,
with the reasons that stand in it kept; a difference without a reason gets "?", which the tests
refuse.
"""

from __future__ import annotations

import argparse
import errno
import json
import sys
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from runner import Outcomes, run

TABLE = Path(__file__).with_name("table.json")

WAYS = ("stack", "installed", "stack linux-7.2")

# What the machine's kernel has and the release of an engine has no more, by a part of the tests'
# names, with the errno that they end in: no difference of ours, and counted by itself.
ABSENT = {"stack linux-7.2": {"UDPLITE": errno.EPROTONOSUPPORT}}

MODULES = (
    "test_socket",
    "test_selectors",
    "test_select",
    "test_poll",
    "test_epoll",
    "test_timeout",
    "test_socketserver",
    "test_httplib",
    "test_httpservers",
    "test_urllib2_localnet",
    "test_ftplib",
    "test_smtplib",
    "test_poplib",
    "test_imaplib",
    "test_nntplib",
    "test_telnetlib",
    "test_xmlrpc",
    "test_wsgiref",
    "test_robotparser",
    "test_logging",
    "test_docxmlrpc",
    "test_asyncore",
    "test_asynchat",
    "test_ssl",
    "test_asyncio.test_sock_lowlevel",
    "test_asyncio.test_streams",
    "test_asyncio.test_server",
    "test_asyncio.test_events",
    "test_asyncio.test_sslproto",
    "test_asyncio.test_buffered_proto",
)


def is_absent(way: str, name: str, outcome: tuple[str, str]) -> bool:
    """Whether a test fails for want of what its way's engine doesn't have."""
    return outcome[0] == "fail" and any(
        part in name and f"[Errno {number}]" in outcome[1]
        for part, number in ABSENT.get(way, {}).items()
    )


def differences(way: str, kernel: Outcomes, stack: Outcomes) -> dict[str, str]:
    """The tests that pass on the kernel's sockets and don't on a Stack's, and what came instead."""
    came = {name: stack.get(name, ("not run", "")) for name in kernel}
    return {
        name: f"{came[name][0]}: {came[name][1].strip()}"
        for name, (outcome, _why) in kernel.items()
        if outcome == "pass" and came[name][0] != "pass" and not is_absent(way, name, came[name])
    }


def kernels_alone(way: str, kernel: Outcomes, stack: Outcomes) -> set[str]:
    """The tests that pass on the kernel's sockets, and whose protocol the engine doesn't have."""
    return {
        name
        for name, (outcome, _why) in kernel.items()
        if outcome == "pass" and is_absent(way, name, stack.get(name, ("", "")))
    }


@cache
def on_the_kernel(module: str) -> Outcomes:
    """A module's outcomes on the kernel's sockets: the same for each of `WAYS`."""
    return run("kernel", module)


def run_both(way: str, module: str, expected: Collection[str] = ()) -> tuple[Outcomes, Outcomes]:
    """A module's outcomes on the kernel's sockets, and in one of `WAYS` on a Stack's.

    Some tests race (a peer that closes as another writes), and lose on either: what differs and
    is not expected to is tried four times more, alone, and counts only if it never passes.
    """
    with ThreadPoolExecutor() as both:  # each waits most of the time
        reference = both.submit(on_the_kernel, module)
        stack = both.submit(run, way, module).result()
        kernel = reference.result()
    for _ in range(4):
        lost = set(differences(way, kernel, stack)) - set(expected)
        if not lost:
            break
        again = run(way, module, only=sorted(lost))
        for name, outcome in again.items():
            if outcome[0] == "pass":
                stack[name] = outcome
    return kernel, stack


def read() -> dict[str, Any]:
    """The table as it stands."""
    found: dict[str, Any] = json.loads(TABLE.read_text("utf-8"))
    return found


def count(outcomes: Outcomes, word: str) -> int:
    """How many had an outcome."""
    return sum(outcome == word for outcome, _why in outcomes.values())


def main() -> None:
    """Runs the command line."""
    table: dict[str, Any] = read() if TABLE.exists() else {"modules": {}}
    table["python"] = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser = argparse.ArgumentParser()
    parser.add_argument("--way", action="append", choices=WAYS, default=[])
    parser.add_argument("modules", nargs="*", metavar="MODULE", default=MODULES)
    chosen = parser.parse_args()
    for module in chosen.modules:
        old = table["modules"].get(module, {})
        row: dict[str, Any] = dict(old)
        for way in chosen.way or WAYS:
            reasons = old.get(way, {}).get("differences", {})
            kernel, stack = run_both(way, module, reasons)
            found = differences(way, kernel, stack)
            row.update({"tests": len(kernel), "kernel passes": count(kernel, "pass")})
            row[way] = {
                "passes": count(stack, "pass"),
                "skipped": count(stack, "skip"),
                "absent": len(kernels_alone(way, kernel, stack)),
                "differences": {name: reasons.get(name, "?") for name in sorted(found)},
            }
            print(module, way, count(kernel, "pass"), count(stack, "pass"), flush=True)
            for name, why in found.items():
                if row[way]["differences"][name] == "?":
                    print("  ?", name, why.splitlines()[-1][:150], flush=True)
        table["modules"][module] = row
        TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
