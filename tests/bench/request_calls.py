"""System calls and switches of a web server for each request, on the kernel and on a Stack.

``.venv/bin/python tests/bench/request_calls.py [--seconds N]``, as root: wrk asks over 16
connections, as in `pystack bench http`, and perf counts what the server's process enters. What else
the machine does has little say in counts, and much in processor time. Most virtual machines can't
count instructions: for those of the user's side run a server under callgrind.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pystack.bench import http, ways
from pystack.bench.http import SERVERS

CALLS = (
    "epoll_wait", "recvfrom", "sendto", "readv", "writev", "newfstatat", "newfstat", "epoll_ctl",
    "ppoll", "futex", "getpid",
)  # fmt: skip
SWITCHES = "context-switches"
ATTACH_S = 0.5  # perf doesn't say when it has begun


def _count(process: int, out: Path) -> subprocess.Popen[bytes]:
    known = [
        name
        for name in CALLS
        if Path(f"/sys/kernel/tracing/events/syscalls/sys_enter_{name}").exists()
    ]
    events = ",".join([*(f"syscalls:sys_enter_{name}" for name in known), SWITCHES])
    command = ["perf", "stat", "-x", ";", "-o", str(out), "-e", events, "-p", str(process)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _read(out: Path) -> dict[str, int]:
    found = {}
    for line in out.read_text("utf-8").splitlines():
        fields = line.split(";")
        if len(fields) > 2 and fields[0].isdigit():
            found[fields[2].removeprefix("syscalls:sys_enter_")] = int(fields[0])
    return found


def measure(network: ways.Network, name: str, seconds: int) -> dict[str, float]:
    """How often each, for a request."""
    client, server = network.one, network.two
    address = server.call(http._start, name)
    client.call(http._wrk, address, 1.0)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        perf = _count(server.pid, out)
        time.sleep(ATTACH_S)
        client.tell(http._wrk, address, float(seconds))
        requests, _rate, _asking = client.answer(seconds + 60.0)
        perf.send_signal(signal.SIGINT)
        perf.wait()
        counts = _read(out)
    server.call(http._stop)
    return {event: count / requests for event, count in counts.items()}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=2)
    arguments = parser.parse_args()
    if shutil.which("perf") is None or shutil.which("wrk") is None or os.geteuid() != 0:
        sys.exit("it takes perf, wrk and root")
    absent: dict[str, str] = {}
    with ways.opened({"veth", "TAP"}, absent) as networks:
        if absent:
            sys.exit("; ".join(f"{way}: {why}" for way, why in absent.items()))
        for name in SERVERS:
            if not http._is_installed(name):
                print(f"{name:18} not installed")
                continue
            kernel, stack = (
                measure(networks[way], name, arguments.seconds) for way in ("veth", "TAP")
            )
            print(f"{name:18} kernel  Stack")
            for event in (*CALLS, SWITCHES):
                if max(kernel.get(event, 0), stack.get(event, 0)) >= 0.005:
                    print(f"  {event:16} {kernel.get(event, 0):6.2f} {stack.get(event, 0):6.2f}")


if __name__ == "__main__":
    main()
